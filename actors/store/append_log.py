"""An append-only log of JSON rows: one file for each writer, no lock, a row committed once it is synced.

    <folder>/<kind>-<number>-<host>-<pid>-<random>.log    "<crc32> <json>" a line

A kill can damage at most a writer's last lines; readers skip lines whose checksum is wrong. A restarted
writer opens a new file with the next number, so a torn end is never overwritten and what was
written later is read later.
"""

import asyncio
import json
import os
import socket
import uuid
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from actors.notice import notify
from actors.store.files import naming, sync_folder
from rollout.text.counted import counted

Row = dict[str, Any]
_CHECKSUM = 9
"""Characters before a line's row: its checksum and a space."""


class AppendLog:
    """Appends rows of one kind; blocks until they are on disk. Each writer has an object of its own."""

    def __init__(self, folder: Path, kind: str):
        self._folder, self._kind = folder, kind
        self._is_broken = False
        self._open()

    def append(self, rows: Iterable[Row]) -> None:
        """Commit rows with a single sync. Raises OSError if they are not on disk; later rows go to a new file."""
        self.append_lines(b"".join(map(_line, rows)))

    def append_lines(self, lines: bytes) -> None:
        """Commit rows that are already encoded as lines."""
        data = memoryview(lines)
        if self._is_broken:
            self.close()
            self._open()
        self._is_broken = True
        with naming(self.path):
            while data:
                data = data[self._file.write(data) :]
            os.fsync(self._file.fileno())
        self._is_broken = False

    def close(self) -> None:
        self._file.close()

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        number = 1 + max(map(_number, log_paths(self._folder, self._kind)), default=0)
        name = f"{self._kind}-{number:06d}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.log"
        self.path = self._folder / name
        self._file = self.path.open("xb", buffering=0)  # unbuffered: a failed write leaves nothing to be written later
        sync_folder(self._folder)


class GroupCommit:
    """Commits the rows of concurrent callers together, with one sync for all that wait, in a thread."""

    def __init__(self, log: AppendLog):
        self._log = log
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def append(self, rows: Sequence[Row]) -> None:
        """Return once the rows are on disk. Raises OSError if they cannot be written."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((b"".join(map(_line, rows)), done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        await done

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            error: OSError | None = None
            try:
                await asyncio.to_thread(self._log.append_lines, b"".join(lines for lines, _ in batch))
            except OSError as caught:
                error = caught
            for _, done in batch:
                if not done.cancelled():
                    done.set_result(None) if error is None else done.set_exception(error)


def log_paths(folder: Path, kind: str) -> list[Path]:
    """Return the logs of a kind in the order they were opened."""
    return sorted(folder.glob(f"{kind}-*.log"))


def read_log(folder: Path, kind: str) -> Iterator[Row]:
    """Yield the committed rows of a kind in the order they were written."""
    for path in log_paths(folder, kind):
        for _, row in read_rows(path):
            yield row


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield the committed rows of one log, each with the byte offset of its line."""
    offset = 0
    with path.open("rb") as lines:
        for line in lines:
            row = parse_line(line)
            if row is not None:
                yield offset, row
            offset += len(line)


def tell_damaged(folder: Path, *kinds: str) -> None:
    """Tell the user how many lines of logs are left out since their checksums are wrong.

    An end without a line feed is none: a writer that was killed leaves it, and its rows count as not committed.
    """
    for kind in kinds:
        for path in log_paths(folder, kind):
            with path.open("rb") as lines:
                num_damaged = sum(line.endswith(b"\n") and not _is_whole(line) for line in lines)
            if num_damaged:
                notify(f"{path}: {counted(num_damaged, 'line')} with a wrong checksum, left out")


def parse_line(line: bytes) -> Row | None:
    """Return the row of a line; None if the line is torn or damaged."""
    return json.loads(line[_CHECKSUM:]) if _is_whole(line) else None


def _is_whole(line: bytes) -> bool:
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    return line.endswith(b"\n") and checksum == _checksum(text)


def _number(path: Path) -> int:
    """Return the number of a log; 0 if its name has none."""
    part = path.name.removesuffix(".log").split("-")[1]
    return int(part) if part.isdigit() else 0


def _line(row: Row) -> bytes:
    # A lone surrogate is valid in a policy's JSON: it must not stop the run here.
    text = json.dumps(row, ensure_ascii=False, default=_plain).encode("utf-8", "surrogatepass")
    return _checksum(text) + b" " + text + b"\n"


def _plain(value: object) -> object:
    """Return what JSON can hold: NumPy scalars and arrays as Python's, anything else as its repr."""
    return value.tolist() if hasattr(value, "tolist") else repr(value)


def _checksum(text: bytes) -> bytes:
    return b"%08x" % zlib.crc32(text)
