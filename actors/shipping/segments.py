"""A ledger's logs as segments of a bucket: immutable objects named by writer and number.

    <url>/ledgers/<run>/<log's name>/000001.log    the first whole lines of that log
    <url>/ledgers/<run>/<log's name>/000002.log    those that follow

The log's name says kind, host, process and a random number, so no two writers have one name. A segment is created
only if none of its name is there; put together in their order, a log's segments are its beginning, byte by byte.
"""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from actors.store.bucket import Bucket, BucketError
from actors.store.files import sync_folder, write_whole

MAX_BYTES = 32 * 2**20
"""Of a segment that is cut: what waited longer becomes several. A single longer line is a segment by itself."""
_NAME = re.compile(r"(?P<log>[^/]+)/(?P<number>\d{6})\.log")


@dataclass(frozen=True)
class Shipped:
    """How much of a log is in the bucket."""

    num_segments: int = 0
    num_bytes: int = 0


def ledger_prefix(run_dir: Path) -> str:
    """Return where a run's segments are in a bucket, by its folder as seen from the working folder, if below it.

    So it is the same on another machine on which the same command runs.

    >>> ledger_prefix(Path("runs/critic_grpo")), ledger_prefix(Path("/data/runs/a b"))
    ('ledgers/runs/critic_grpo/', 'ledgers/data/runs/a_b-8272f711/')
    """
    path, here = os.path.abspath(run_dir), os.path.join(os.getcwd(), "")
    name = path.removeprefix(here).strip("/")
    plain = re.sub(r"[^\w./=+-]", "_", name, flags=re.ASCII)
    return f"ledgers/{plain}{'' if plain == name else '-' + hashlib.sha256(name.encode()).hexdigest()[:8]}/"


def shipped(bucket: Bucket, prefix: str) -> dict[str, Shipped]:
    """Return what is in the bucket of each log, by its name. Raises BucketError, also where a segment is missing."""
    sizes: dict[str, dict[int, int]] = defaultdict(dict)
    for name, size in bucket.sizes(prefix).items():
        if match := _NAME.fullmatch(name.removeprefix(prefix)):
            sizes[match["log"]][int(match["number"])] = size
    for log, found in sizes.items():
        if missing := sorted(set(range(1, max(found) + 1)) - found.keys()):
            raise BucketError(f"{bucket.url}: {segment_name(prefix, log, missing[0])} was removed; put it back")
    return {log: Shipped(len(found), sum(found.values())) for log, found in sizes.items()}


def restore(bucket: Bucket, prefix: str, folder: Path) -> int:
    """Write the logs to a ledger's folder that it lacks, or of which it has less; return how many. Raises OSError."""
    num_restored = 0
    for log, there in sorted(shipped(bucket, prefix).items()):
        path = folder / f"{log}.log"
        if not path.exists() or path.stat().st_size < there.num_bytes:
            numbers = range(1, there.num_segments + 1)
            write_whole(path, b"".join(bucket.read(segment_name(prefix, log, number)) for number in numbers))
            sync_folder(folder)
            num_restored += 1
    return num_restored


def ship(bucket: Bucket, prefix: str, log: str, number: int, data: bytes) -> None:
    """Create a segment. Raises BucketError, also where another one of its name is there.

    An equal one is this one: its upload succeeded, and the answer was lost.
    """
    name = segment_name(prefix, log, number)
    if not bucket.create(name, data) and bucket.read(name) != data:
        raise BucketError(f"{bucket.url}: {name} holds other rows than the log on this disk")


def segment_name(prefix: str, log: str, number: int) -> str:
    """Return the name of a log's segment, counted from 1."""
    return f"{prefix}{log}/{number:06d}.log"


def cut(path: Path, offset: int) -> Iterator[bytes]:
    """Yield the whole lines of a log from an offset on, in pieces of at most `MAX_BYTES`."""
    with path.open("rb") as file:
        file.seek(offset)
        piece: list[bytes] = []
        size = 0
        for line in file:
            if not line.endswith(b"\n"):
                break  # it is being written, or a kill tore it
            if piece and size + len(line) > MAX_BYTES:
                yield b"".join(piece)
                piece, size = [], 0
            piece.append(line)
            size += len(line)
        if piece:
            yield b"".join(piece)
