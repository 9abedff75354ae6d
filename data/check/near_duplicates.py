"""Find images that look alike: 64-bit hashes that differ by a few bits, without comparing all pairs."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_DISTANCE = 3
"""Bits that may differ. At least one of four 16-bit bands is then equal, so sorting by each band finds all pairs."""
_BANDS = 4
_WINDOW = 64
"""Neighbours that each hash is compared with in a run of equal bands; longer runs are only sampled."""
_HASH = np.dtype([("hash", "<u8"), ("offset", "<u8")])


class NearDuplicates(NamedTuple):
    """What was found to look alike."""

    num_same: int
    """Images with the same hash as one before."""
    num_pairs: int
    """Pairs of hashes that differ by 1 to `MAX_DISTANCE` bits."""
    examples: tuple[tuple[int, int, int], ...]
    """(offset, later offset, bits that differ)."""


def difference_hash(image: Image.Image) -> int | None:
    """Return whether brightness rises from each of 8 x 8 cells to the next, as 64 bits; None for a flat image.

    dHash: https://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html. It survives
    scaling, compression and small changes of colour. All flat images would have the same hash.
    """
    small = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    if int(small.max()) - int(small.min()) < 4:
        return None
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


class HashLog:
    """Hashes of images on disk, by the images' offsets in an `ImageLog`."""

    def __init__(self, path: Path):
        self._path = path
        self._file = path.open("wb")
        self.num = 0

    def add(self, value: int, offset: int) -> None:
        self._file.write(np.array((value, offset), _HASH).tobytes())
        self.num += 1

    def alike(self, num_examples: int = 5) -> NearDuplicates:
        """Count the images that look the same as an earlier one, and the pairs of hashes that differ by a few bits.

        In a run of more than 64 hashes that share a band, each is compared with the next 64 in the order of the other
        bits: a few pairs may be missed, none is invented.
        """
        self._file.flush()
        if self.num == 0:
            return NearDuplicates(0, 0, ())
        rows = np.fromfile(self._path, _HASH)
        rows = rows[np.lexsort((rows["offset"], rows["hash"]))]
        is_first = np.r_[True, rows["hash"][1:] != rows["hash"][:-1]]
        firsts = rows[is_first]
        later = np.flatnonzero(~is_first)
        examples = [(int(rows["offset"][place - 1]), int(rows["offset"][place]), 0) for place in later[:num_examples]]
        num_pairs = 0
        for pair in _pairs(firsts):
            num_pairs += 1
            if len(examples) < num_examples:
                examples.append(pair)
        return NearDuplicates(len(later), num_pairs, tuple(examples))


def _pairs(rows: NDArray[np.void]) -> Iterator[tuple[int, int, int]]:
    """Yield (offset, later offset, bits that differ) for hashes within a few bits, each pair once."""
    for band in range(_BANDS):
        # Rotated so that the band leads and the rest orders the run.
        rotated = _rotated(rows["hash"], 16 * band)
        order = np.argsort(rotated, kind="stable")
        rotated, offsets = rotated[order], rows["offset"][order]
        for step in range(1, min(_WINDOW, len(rotated) - 1) + 1):
            differences = rotated[:-step] ^ rotated[step:]
            is_in_run = differences < 2**48  # the leading band is equal
            if not is_in_run.any():
                break
            is_near = is_in_run & (np.bitwise_count(differences) <= MAX_DISTANCE)
            for place in np.flatnonzero(is_near):
                difference = int(differences[place])
                if not _met_before(difference, band):
                    first, second = sorted((int(offsets[place]), int(offsets[place + step])))
                    yield first, second, difference.bit_count()


def _rotated(hashes: NDArray[np.uint64], bits: int) -> NDArray[np.uint64]:
    if bits == 0:
        return np.array(hashes)
    return (hashes << np.uint64(bits)) | (hashes >> np.uint64(64 - bits))


def _met_before(difference: int, band: int) -> bool:
    """Return whether two hashes, rotated left by `band` bands, already met in an earlier band's run."""
    return any((difference >> (16 * place)) & 0xFFFF == 0 for place in range(band))
