"""`interleave data check --deep`: decode every image once, however broken, on threads and with little memory."""

import os
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from actors.image_limit import MODEL_PIXELS
from actors.store.image_formats import why_unreadable
from actors.store.packed_images import open_image_file
from actors.store.pixels import UnclearImage, as_seen, oddities
from actors.store.store import FORMATS
from data.check.image_log import ImageLog, NamedImage
from data.check.near_duplicates import Look, LookLog, look_of
from data.check.statistics import Lengths
from data.errors import RecordError, shown
from data.records.on_bad import BadRecords

MAX_PIXELS = 32 * 2**20
"""Pixels of the largest image that is decoded: 96 MiB as RGB."""
_MOST_SIZES = 10_000
_EVERY = 200


@dataclass(frozen=True)
class DeepRules:
    """What the deep check looks at."""

    model: str = ""
    """Folder or hub id of the model whose tokenizer counts tokens; empty: no tokens are counted."""
    prompt: Path | None = None
    """The critic's prompt file, with which RL records are rendered to count their tokens."""
    largest_image: int = MAX_PIXELS
    """In pixels; a larger image is bad."""
    max_pixels: int = MODEL_PIXELS
    """A model is shown larger images scaled down to so many pixels, which tells their tokens."""


@dataclass
class DeepSummary:
    """What the deep check found."""

    num_images: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Images by (width, height); after 10,000 sizes, further ones are counted under (0, 0)."""
    oddities: Counter[str] = field(default_factory=Counter)
    """Images that viewers show differently from their raw values, by reason (`actors.store.pixels`)."""
    num_flat: int = 0
    """Images of one brightness, which are not compared."""
    num_same: int = 0
    """Images with the hash and the colours of an earlier one."""
    num_alike: int = 0
    """Pairs of like colours whose hashes differ by a few bits."""
    examples: list[tuple[NamedImage, NamedImage, int]] = field(default_factory=list)
    """Two images and the number of bits that differ."""
    tokens: dict[str, Lengths] = field(default_factory=dict)


class InspectedImage(NamedTuple):
    """What was found in one image."""

    size: tuple[int, int] | None
    look: Look | None
    fault: RecordError | None
    oddities: Sequence[str] = ()
    """Why viewers show it differently from its raw values (`actors.store.pixels`)."""


def scan_images(
    images: ImageLog,
    max_pixels: int,
    bad: BadRecords,
    where: Callable[[int], str],
    progress: Callable[[str, float, int], None],
) -> DeepSummary:
    """Decode each image once; count the broken ones in `bad`, by the first record that names them."""
    summary = DeepSummary()
    num_images, names = images.distinct()
    looks = LookLog(images.folder / "looks")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # such an image is rejected and counted
        for named, seen in _on_threads(names, max_pixels):
            summary.num_images += 1
            if summary.num_images % _EVERY == 0:
                progress("looking at images", summary.num_images / num_images, summary.num_images)
            if seen.fault is not None:
                bad.add(seen.fault.at(where(named.number)))
                continue
            assert seen.size is not None
            summary.oddities.update(seen.oddities)
            is_counted = seen.size in summary.sizes or len(summary.sizes) < _MOST_SIZES
            summary.sizes[seen.size if is_counted else (0, 0)] += 1
            if seen.look is None:
                summary.num_flat += 1
            else:
                looks.add(seen.look, named.offset)
    alike = looks.alike()
    summary.num_same, summary.num_alike = alike.num_same, alike.num_pairs
    summary.examples = [(images.at(first), images.at(later), bits) for first, later, bits in alike.examples]
    progress("looking at images", 1.0, summary.num_images)
    return summary


def inspect_image(path: str, max_pixels: int = MAX_PIXELS) -> InspectedImage:
    """Open an image, and decode it if the size in its header is allowed."""
    try:
        with open_image_file(path) as file, Image.open(file, formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                return InspectedImage(None, None, _too_large(path, f"{width:,} x {height:,} pixels", max_pixels))
            image.load()
            seen = as_seen(image)
            return InspectedImage(seen.size, look_of(seen), None, oddities(image))
    except Image.DecompressionBombError:
        return InspectedImage(None, None, _too_large(path, "far more pixels", max_pixels))
    except UnclearImage as error:
        return InspectedImage(
            None, None, RecordError("image_unclear", f"the image {shown(path)} cannot be shown: {error}")
        )
    except Exception as error:  # on broken data decoders raise anything
        text = f"the image {shown(path)} cannot be decoded ({_why(path, error)})"
        return InspectedImage(None, None, RecordError("image_broken", text))


def _why(path: str, error: Exception) -> str:
    if not isinstance(error, UnidentifiedImageError):
        return f"{type(error).__name__}: {str(error)[:100]}"
    with open_image_file(path) as file:
        return why_unreadable(file, error, FORMATS)


def _too_large(path: str, size: str, max_pixels: int) -> RecordError:
    return RecordError("image_too_large", f"the image {shown(path)} has {size}, expected at most {max_pixels:,} in all")


def _on_threads(names: Iterator[NamedImage], max_pixels: int) -> Iterator[tuple[NamedImage, InspectedImage]]:
    """Inspect images on a few threads (Pillow releases the GIL to decode), in order."""
    num_threads = min(8, os.cpu_count() or 1)
    waiting: deque[tuple[NamedImage, Future[InspectedImage]]] = deque()
    with ThreadPoolExecutor(num_threads) as threads:
        for named in names:
            waiting.append((named, threads.submit(inspect_image, named.path, max_pixels)))
            if len(waiting) > 2 * num_threads:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()
