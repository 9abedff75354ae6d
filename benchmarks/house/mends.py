"""What mending faults added: the change in statements of the commits that did it, as git knows them."""

import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.house.source import is_counted, num_statements

LIST = Path(__file__).with_name("mends.txt")


@dataclass(frozen=True)
class Mend:
    """A commit that mended faults."""

    commit: str
    subject: str
    num_added: int


def listed() -> list[str]:
    """Return the commits of the list beside this file: one a line, and its subject."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return [line.split()[0] for line in lines if line and not line.startswith("#")]


def mends(root: Path, ranges: Iterable[str]) -> list[Mend] | None:
    """Return the commits of these ranges (`A..B`, or a commit alone), merges left out; None where git knows nothing.

    Raises ValueError for a range that git does not know.
    """
    try:
        _git(root, "rev-parse", "--verify", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return None
    commits: dict[str, None] = {}
    for named in ranges:
        try:
            told = _git(root, "rev-list", "--no-merges", "--reverse", *([] if ".." in named else ["-1"]), named, "--")
        except subprocess.CalledProcessError as error:
            raise ValueError(f"mends: git knows no {named}: {error.stderr.decode().strip()}") from error
        commits |= dict.fromkeys(told.decode().split())
    return [_mend(root, commit) for commit in commits]


def _mend(root: Path, commit: str) -> Mend:
    subject = _git(root, "show", "--no-patch", "--format=%s", commit).decode().strip()
    changed = _git(root, "diff-tree", "--root", "--no-commit-id", "-r", "--no-renames", "-z", commit).decode()
    words = changed.rstrip("\0").split("\0") if changed else []
    num_added = 0
    for told, name in zip(words[::2], words[1::2], strict=True):
        if is_counted(name):
            _, _, before, after, _ = told.split()
            with suppress(SyntaxError):  # a file that could not be run once: its change says nothing
                num_added += _num_in(root, after) - _num_in(root, before)
    return Mend(commit[:9], subject, num_added)


def _num_in(root: Path, blob: str) -> int:
    return num_statements(_git(root, "cat-file", "blob", blob).decode()) if blob.strip("0") else 0


def _git(root: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=True).stdout
