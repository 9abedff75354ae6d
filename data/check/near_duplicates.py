"""Find images that look alike, by 64-bit hashes and coarse colours, without comparing all pairs."""

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
MAX_COLOUR_DISTANCE = 8
"""That the mean blue or red difference of a quarter of the image may differ, in [0, 255]: compression moves it less."""
_ROW = np.dtype([("hash", "<u8"), ("offset", "<u8"), ("colours", "i2", 8)])


class NearDuplicates(NamedTuple):
    """What was found to look alike."""

    num_same: int
    """Images with the hash and the colours of one before."""
    num_pairs: int
    """Pairs of like colours whose hashes differ by 1 to `MAX_DISTANCE` bits."""
    examples: tuple[tuple[int, int, int], ...]
    """(offset, later offset, bits that differ)."""


class Look(NamedTuple):
    """What is compared of an image."""

    hash: int
    """Whether brightness rises from each of 8 x 8 cells to the next, as 64 bits."""
    colours: tuple[int, ...] = (0,) * 8
    """Mean blue and red difference (Cb, Cr) of the four quarters, in [0, 255]."""


def look_of(image: Image.Image) -> Look | None:
    """Return the look of an image of any mode; None where its brightness is flat: all such have the same hash.

    The hash is dHash (https://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html), which survives
    scaling, compression and small changes of colour. By it alone a red and a blue circle look the same.
    """
    small = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    if int(small.max()) - int(small.min()) < 4:
        return None
    quarters = image.convert("RGB").resize((2, 2), Image.Resampling.BOX).convert("YCbCr")
    colours = np.asarray(quarters)[:, :, 1:].ravel()
    return Look(int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big"), tuple(colours.tolist()))


class LookLog:
    """Looks of images on disk, by the images' offsets in an `ImageLog`."""

    def __init__(self, path: Path):
        self._path = path
        self._file = path.open("wb")
        self.num = 0

    def add(self, look: Look, offset: int) -> None:
        self._file.write(np.array((look.hash, offset, look.colours), _ROW).tobytes())
        self.num += 1

    def alike(self, num_examples: int = 5) -> NearDuplicates:
        """Count the images that look the same as an earlier one, and the pairs whose hashes differ by a few bits.

        In a run of more than 64 hashes that are the same, or share a band, each is compared with the next 64, in the
        order of their offsets or of the other bits: a few pairs may be missed, none is invented.
        """
        self._file.flush()
        if self.num == 0:
            return NearDuplicates(0, 0, ())
        rows = np.fromfile(self._path, _ROW)
        rows = rows[np.lexsort((rows["offset"], rows["hash"]))]
        earlier = _earlier(rows)
        later = np.flatnonzero(earlier >= 0)
        offsets = rows["offset"]
        examples = [(int(offsets[earlier[place]]), int(offsets[place]), 0) for place in later[:num_examples]]
        num_pairs = 0
        for pair in _pairs(rows[earlier < 0]):
            num_pairs += 1
            if len(examples) < num_examples:
                examples.append(pair)
        return NearDuplicates(len(later), num_pairs, tuple(examples))


def _earlier(rows: NDArray[np.void]) -> NDArray[np.intp]:
    """Return for each of the sorted rows the place of one before with its hash and like colours, or -1."""
    places = np.full(len(rows), -1)
    for step in range(1, min(_WINDOW, len(rows) - 1) + 1):
        is_open = (rows["hash"][step:] == rows["hash"][:-step]) & (places[step:] < 0)
        if not is_open.any():
            break
        found = np.flatnonzero(is_open & _have_like_colours(rows[:-step], rows[step:]))
        places[found + step] = found
    return places


def _have_like_colours(first: NDArray[np.void], second: NDArray[np.void]) -> NDArray[np.bool_]:
    distances: NDArray[np.int16] = np.abs(first["colours"] - second["colours"])
    are_like: NDArray[np.bool_] = distances.max(axis=1, initial=0) <= MAX_COLOUR_DISTANCE
    return are_like


def _pairs(rows: NDArray[np.void]) -> Iterator[tuple[int, int, int]]:
    """Yield (offset, later offset, bits that differ) for like colours with hashes within a few bits, each pair once."""
    for band in range(_BANDS):
        # Rotated so that the band leads and the rest orders the run.
        rotated = _rotated(rows["hash"], 16 * band)
        order = np.argsort(rotated, kind="stable")
        rotated, ordered = rotated[order], rows[order]
        for step in range(1, min(_WINDOW, len(rotated) - 1) + 1):
            differences = rotated[:-step] ^ rotated[step:]
            is_in_run = differences < 2**48  # the leading band is equal
            if not is_in_run.any():
                break
            is_near = is_in_run & (differences > 0) & (np.bitwise_count(differences) <= MAX_DISTANCE)
            near = np.flatnonzero(is_near)
            for place in near[_have_like_colours(ordered[near], ordered[near + step])]:
                difference = int(differences[place])
                if not _met_before(difference, band):
                    first, second = sorted(int(ordered["offset"][at]) for at in (place, place + step))
                    yield first, second, difference.bit_count()


def _rotated(hashes: NDArray[np.uint64], bits: int) -> NDArray[np.uint64]:
    if bits == 0:
        return np.array(hashes)
    return (hashes << np.uint64(bits)) | (hashes >> np.uint64(64 - bits))


def _met_before(difference: int, band: int) -> bool:
    """Return whether two hashes, rotated left by `band` bands, already met in an earlier band's run."""
    return any((difference >> (16 * place)) & 0xFFFF == 0 for place in range(band))
