"""SIGKILL a build of data again and again: `python -m benchmarks.build_kills [--kills 10] [--requests 12] [--seed 0]`.

A real build of the shapes world, its teachers behind a real HTTP endpoint, is killed at random points of its work
(of its calls and trajectories on disk, and one time in four while it starts) and started again by the same command.
Its sets must end byte for byte like those of a build that was left alone, and no call whose answer was on disk at
a kill may be made again, by the build's own bill and by what the endpoint was asked. Exit code 1 otherwise.
"""

import argparse
import base64
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from PIL import Image

from actors.metered.usage_ledger import ANSWER
from actors.store.append_log import log_paths, read_rows
from actors.store.ledger import CALLS
from benchmarks.ending import run_main
from recipes.shapes import teacher
from recipes.shapes.requests import write_requests
from rollout.text.critique import format_critique
from rollout.text.plan import format_plan

REPO = Path(__file__).resolve().parent.parent
SETS = ("planner_sft", "critic_sft", "critic_rl", "sequences")
_CRITIC = re.compile(r"instruction: (.*)\nprompt: (.*)")


class Endpoint(ThreadingHTTPServer):
    """The shapes world's teachers as an OpenAI-compatible endpoint; equal questions get equal answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: Counter[bytes] = Counter()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked[body] += 1
        content = json.loads(body)["messages"][-1]["content"]
        message = {"role": "assistant", "content": answer(content, zlib.crc32(body))}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        reply = {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": "x",
            "choices": [choice],
            "usage": usage,
        }
        data = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


def answer(content: list[dict[str, Any]], seed: int) -> str:
    """Return what the shapes world's teachers say to a message."""
    text = "".join(part["text"] for part in content if part["type"] == "text")
    images = [_image(part["image_url"]["url"]) for part in content if part["type"] == "image_url"]
    asked = _CRITIC.search(text)
    if asked is None:
        return format_plan(teacher.plan(text.removeprefix("request: ").strip(), images, seed))
    before, after = images
    is_canvas = before.getextrema() == ((255, 255),) * 3
    return format_critique(teacher.critique(None if is_canvas else before, after, *asked.groups(), seed))


def _image(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")


def start(folder: Path, requests: Path, url: str) -> subprocess.Popen[bytes]:
    """Start the build in `folder`, or go on with it."""
    settings = {"run_dir": folder, "store": folder / "store", "requests.file": requests}
    for role in ("planner", "critic"):
        settings |= {f"{role}.fn": "''", f"{role}.ask.model": "teacher", f"{role}.ask.base_url": url}
        settings |= {f"{role}.ask.num_replicas": 0, f"{role}.ask.api_key_env": "NO_KEY"}
    command = [sys.executable, "-m", "rl.cli.main", "data", "build", "recipes/build_shapes.yaml"]
    command += [f"{key}={value}" for key, value in settings.items()]
    environment = {**os.environ, "NO_KEY": "none", "PYTHONPATH": str(REPO), "NO_PROXY": "127.0.0.1"}
    with (folder.parent / f"{folder.name}.txt").open("ab") as output:
        return subprocess.Popen(command, cwd=REPO, env=environment, stdout=output, stderr=subprocess.STDOUT)


def progress_of(folder: Path) -> int:
    """Return how many bytes of calls and trajectories are on disk."""
    return sum(path.stat().st_size for path in folder.glob("*/*.log"))


def answered(folder: Path) -> list[tuple[str, str]]:
    """Return (log, key) of each call that was answered, by the bill."""
    paths = log_paths(folder / "ledger", CALLS)
    return [(path.name, row["key"]) for path in paths for _, row in read_rows(path) if row["outcome"] == ANSWER]


def committed(folder: Path) -> set[str]:
    """Return the keys of the calls whose answers are on disk."""
    return {path.stem for path in (folder / "store/calls").glob("*/*.json")}


def paid_again(folder: Path, at_kills: list[tuple[set[str], set[str]]]) -> set[str]:
    """Return the keys that were answered in a log that came after a kill, though committed before it."""
    return {key for logs, keys in at_kills for log, key in answered(folder) if log not in logs and key in keys}


def files_of(folder: Path) -> dict[str, bytes]:
    paths = [path for name in SETS for path in (folder / name).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def kill_build(
    folder: Path, requests: Path, url: str, whole: tuple[int, float], kills: int, dice: random.Random
) -> list:
    """Kill a build `kills` times, then let it end; return what was on disk at each kill. `whole`: bytes and seconds."""
    num_bytes, seconds = whole
    folder.mkdir()
    at_kills: list[tuple[set[str], set[str]]] = []
    for number in range(kills):
        process = start(folder, requests, url)
        if dice.random() < 0.25:
            _wait(process, time.monotonic() + dice.uniform(0, seconds / 3), lambda: False)
        else:
            # The work left is shared among the kills left, so that none comes when all is done.
            left = max(0, num_bytes - progress_of(folder)) / (kills - number + 1)
            goal = progress_of(folder) + dice.uniform(0.2, 1.4) * left
            _wait(process, float("inf"), lambda goal=goal: progress_of(folder) >= goal)
            time.sleep(dice.uniform(0, 0.3))
        has_ended = process.poll() is not None
        process.send_signal(signal.SIGKILL)
        process.wait()
        at_kills.append(({path.name for path in (folder / "ledger").glob("*.log")}, committed(folder)))
        ended = "had ended" if has_ended else "killed"
        print(
            f"kill {number + 1}: {ended} at {progress_of(folder):,} bytes, {len(at_kills[-1][1])} answers", flush=True
        )
    return at_kills


def _wait(process: subprocess.Popen[bytes], until: float, is_there: Any) -> None:
    while process.poll() is None and time.monotonic() < until and not is_there():
        time.sleep(0.02)


def main(arguments: list[str] | None = None) -> int:
    """Print what was killed and found; return 1 on any difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--requests", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    endpoint, dice = Endpoint(), random.Random(chosen.seed)
    with tempfile.TemporaryDirectory(prefix="build-kills-") as name:
        folder = Path(name)
        requests = write_requests(folder / "requests", chosen.seed, chosen.requests)
        alone, killed = folder / "alone", folder / "killed"
        began = time.monotonic()
        if start(alone, requests, endpoint.url).wait():
            print((folder / "alone.txt").read_text())
            return 1
        whole = progress_of(alone), time.monotonic() - began
        num_alone = endpoint.asked.total()
        print(f"left alone: {whole[1]:.0f} s, {len(answered(alone))} calls, {num_alone} of them asked", flush=True)
        at_kills = kill_build(killed, requests, endpoint.url, whole, chosen.kills, dice)
        if start(killed, requests, endpoint.url).wait():
            print((folder / "killed.txt").read_text())
            return 1
        expected, found = files_of(alone), files_of(killed)
        again = paid_again(killed, at_kills)
        differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        print(f"asked over HTTP: {num_alone} alone, {endpoint.asked.total() - num_alone} in {chosen.kills + 1} starts")
        print(f"{len(expected)} files of sets, {sum(map(len, expected.values())):,} bytes: {len(differing)} differ")
        print(f"{len(committed(killed))} calls committed, {len(again)} of them made again after their commit")
        for text in [*differing[:10], *sorted(again)[:10]]:
            print(f"  {text}")
        return 1 if differing or again or not expected else 0


if __name__ == "__main__":
    run_main(main)
