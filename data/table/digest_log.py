"""Digests of record contents, and a log of them on disk that finds duplicates in constant memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from actors.store.files import naming
from data.records.sft import SftRecord
from rollout.types import Task

_ROW = np.dtype([("digest", "<u8"), ("number", "<u8")])
_BUFFER = 2**16
"""Numbers buffered in memory, two per row."""
_PART = 2**19
"""Rows sorted at once: 8 MiB."""


def digest_of(*parts: str) -> int:
    """Return 64 bits of XXH3 over the parts, equal in all processes; two of a million collide with probability 3e-8.

    >>> digest_of("a", "b") == digest_of("a", "b") != digest_of("ab")
    True
    """
    return xxhash.xxh3_64_intdigest("\x1f".join(parts).encode(errors="surrogatepass"))


def content_of(record: Task | SftRecord) -> int:
    """Return the digest of a record's content, without its id."""
    if isinstance(record, Task):
        scores = record.scores
        verdict = f"{record.is_success} {scores.semantics!r} {scores.quality!r}"
        return digest_of(record.instruction, record.prompt, record.before or "", record.after, verdict)
    return digest_of(*(f"{turn.role}\x1e{turn.content}" for turn in record.messages), *map(str, record.images))


@dataclass(frozen=True, slots=True)
class Repeats:
    """How many digests are repeated, and how often."""

    num_distinct: int
    num_later: int
    """Rows whose digest appeared before."""
    most: int
    """Number of rows with the most frequent digest."""
    examples: tuple[tuple[int, int], ...]
    """A few (first number, later number), by number."""


class DigestLog:
    """(digest, number) rows in a file."""

    def __init__(self, path: Path):
        self._path = path
        self._buffer = array("Q")
        self._num_rows = 0
        path.write_bytes(b"")

    def __len__(self) -> int:
        return self._num_rows

    def add(self, digest: int, number: int) -> None:
        self._buffer.append(digest)
        self._buffer.append(number)
        self._num_rows += 1
        if len(self._buffer) >= _BUFFER:
            self._flush()

    def extend(self, digests: NDArray[np.uint64], numbers: NDArray[np.integer]) -> None:
        """Add many rows at once."""
        self._flush()
        rows = np.empty(len(digests), _ROW)
        rows["digest"], rows["number"] = digests, numbers
        self._append(rows.tobytes())
        self._num_rows += len(rows)

    def repeats(self, num_examples: int = 3) -> Repeats:
        """Count the digests that appear more than once."""
        num_distinct = num_later = most = 0
        examples: list[tuple[int, int]] = []
        for rows in self._parts():
            firsts = np.flatnonzero(np.r_[True, rows["digest"][1:] != rows["digest"][:-1]])
            sizes = np.diff(np.r_[firsts, len(rows)])
            num_distinct += len(firsts)
            num_later += len(rows) - len(firsts)
            most = max(most, int(sizes.max()))
            repeated = firsts[sizes > 1]
            numbers = rows["number"]
            found = [(int(numbers[place]), int(numbers[place + 1])) for place in repeated[:1000]]
            examples = sorted(examples + found)[:num_examples]
        return Repeats(num_distinct, num_later, most, tuple(examples))

    def later(self) -> Iterator[NDArray[np.uint64]]:
        """Yield the numbers of rows whose digest also appears with a lower number, in parts."""
        for rows in self._parts():
            yield rows["number"][1:][rows["digest"][1:] == rows["digest"][:-1]]

    def repeated(self) -> Iterator[NDArray[np.uint64]]:
        """Yield the numbers of rows whose digest appears more than once, in parts."""
        for rows in self._parts():
            is_same = rows["digest"][1:] == rows["digest"][:-1]
            yield rows["number"][np.r_[is_same, False] | np.r_[False, is_same]]

    def first(self) -> Iterator[NDArray[np.uint64]]:
        """Yield the lowest number of each digest, in parts."""
        for rows in self._parts():
            yield rows["number"][np.r_[True, rows["digest"][1:] != rows["digest"][:-1]]]

    def shared_with(self, other: DigestLog, num_examples: int = 3) -> tuple[int, list[tuple[int, int]]]:
        """Return how many rows have a digest that `other` has, and examples (own number, number in `other`)."""
        num_shared = 0
        examples: list[tuple[int, int]] = []
        num_parts = max(self._num_parts(), other._num_parts())
        for part in range(num_parts):
            ours, theirs = self._part(part, num_parts), other._part(part, num_parts)
            if not len(ours) or not len(theirs):
                continue
            places = np.searchsorted(theirs["digest"], ours["digest"]).clip(max=len(theirs) - 1)
            is_shared = theirs["digest"][places] == ours["digest"]
            num_shared += int(is_shared.sum())
            pairs = zip(ours["number"][is_shared][:1000], theirs["number"][places[is_shared]][:1000], strict=True)
            examples = sorted(examples + [(int(own), int(their)) for own, their in pairs])[:num_examples]
        return num_shared, examples

    def _parts(self) -> Iterator[NDArray[np.void]]:
        """Yield the rows in parts, sorted by digest and number; equal digests are in one part."""
        num_parts = self._num_parts()
        for part in range(num_parts):
            rows = self._part(part, num_parts)
            if len(rows):
                yield rows

    def _num_parts(self) -> int:
        """Return the number of digest ranges that the rows are cut into, a power of two."""
        return 1 << max(0, (self._num_rows - 1) // _PART).bit_length()

    def _part(self, part: int, num_parts: int) -> NDArray[np.void]:
        """Read the rows of one range of digests, sorted."""
        self._flush()
        path = self._path
        if num_parts > 1:
            # Named by the number of rows: after more are added, the old cut is not used.
            folder = path.with_name(f"{path.name}.{num_parts}_of_{self._num_rows}")
            if not folder.exists():
                self._cut(folder, num_parts)
            path = folder / str(part)
        rows = np.fromfile(path, _ROW) if path.exists() else np.empty(0, _ROW)
        sorted_rows: NDArray[np.void] = rows[np.lexsort((rows["number"], rows["digest"]))]
        return sorted_rows

    def _cut(self, folder: Path, num_parts: int) -> None:
        """Write each range of digests to a file of its own, in one pass."""
        folder.mkdir()
        # A digest's top bits are the number of its range.
        shift = np.uint64(64 - num_parts.bit_length() + 1)
        rows = np.memmap(self._path, _ROW, mode="r")
        for start in range(0, len(rows), _PART):
            block = rows[start : start + _PART]
            parts = block["digest"] >> shift
            block = block[np.argsort(parts, kind="stable")]
            ends = np.cumsum(np.bincount(parts.astype(np.int64), minlength=num_parts))
            for part, (begin, end) in enumerate(zip(np.r_[0, ends[:-1]], ends, strict=True)):
                if begin < end:
                    with naming(folder / str(part)), (folder / str(part)).open("ab") as file:
                        file.write(block[begin:end].tobytes())

    def _flush(self) -> None:
        if self._buffer:
            self._append(self._buffer.tobytes())
            self._buffer = array("Q")

    def _append(self, rows: bytes) -> None:
        # Not `tofile`: its error on a full disk has no number.
        with naming(self._path), self._path.open("ab") as file:
            file.write(rows)
