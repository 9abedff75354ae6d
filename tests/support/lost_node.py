"""A node that pays for answers and is lost, and another one that goes on from the bucket."""

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from actors.shipping.segments import shipped
from actors.store.append_log import parse_line, read_log
from actors.store.bucket import Bucket
from actors.store.place import CACHE_VARIABLE
from actors.store.store import call_key
from tests.support.source_tree import REPO


@dataclass(frozen=True)
class LostNode:
    """What was paid for, what was shipped, and what the other node made of it."""

    num_paid: int
    num_shipped: int
    """Rows in the sealed segment."""
    paid_again: list[int]
    rows: dict[int, int]
    """In the end: how often each answer is on the bill."""
    last_said: str


def lose_a_node(url: str, folder: Path, *, num_calls: int, segment_rows: int, with_disk: bool = True) -> LostNode:
    """Kill a node that has paid for `num_calls` answers, one segment of them shipped, and have another one go on.

    `with_disk`: the other one has an empty disk; else it is the same node.
    """
    first = folder / "first"
    first.mkdir()
    with _node(url, first, -num_calls, segment_rows) as node:
        shipped_rows = _settled(url, segment_rows)
        (first / "go").touch()
        assert node.stdout is not None
        for line in node.stdout:
            if line.strip() == f"answered {num_calls - 1}":
                break
        node.kill()
    paid = _paid(first)
    second = folder / "second" if with_disk else first
    if with_disk:
        shutil.rmtree(first)
        second.mkdir()
    with _node(url, second, num_calls, segment_rows) as other:
        said, _ = other.communicate()
    again = _paid(second) if with_disk else _paid(second)[len(paid) :]
    numbers = {call_key(number=number): number for number in range(num_calls)}
    rows = [row for row in read_log(second / "run" / "ledger", "calls") if row["outcome"] == "answer"]
    return LostNode(
        len(paid), len(shipped_rows), again, Counter(numbers[row["key"]] for row in rows), said.splitlines()[-1]
    )


def _node(url: str, folder: Path, num_calls: int, segment_rows: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.paying_child", url, str(folder), str(num_calls), str(segment_rows)]
    environment = os.environ | {CACHE_VARIABLE: str(folder / "cache")}
    return subprocess.Popen(command, cwd=REPO, env=environment, stdout=subprocess.PIPE, text=True)


def _settled(url: str, least: int) -> list[str]:
    """Wait until `least` rows and all of their answers are in the bucket; return the keys of the rows."""
    bucket, until = Bucket(url), time.monotonic() + 120
    while time.monotonic() < until:
        keys = []
        for log, there in shipped(bucket, "ledgers/run/").items():
            for number in range(1, there.num_segments + 1):
                lines = bucket.read(f"ledgers/run/{log}/{number:06d}.log").splitlines(keepends=True)
                keys += [row["key"] for row in map(parse_line, lines) if row is not None]
        answers = {Path(name).stem for name in bucket.sizes("calls/")}
        if len(keys) >= least and answers == set(keys):
            return keys
        time.sleep(0.1)
    raise AssertionError("the segments were not shipped within 120 s")


def _paid(folder: Path) -> list[int]:
    noted = folder / "paid.txt"
    return sorted(map(int, noted.read_text().split())) if noted.exists() else []
