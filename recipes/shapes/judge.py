"""The judge of the shapes world: it reads pictures by segmentation, without anything learned.

Each wished thing earns for being there, for its colour and for its shape, so that every right word of
a prompt pays by itself; every other place has to stay as it was before.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy import ndimage

from recipes.shapes.world import COLOURS, PLACES, RADIUS, SHAPES, SIZE, WHITE, Scene, Thing, parse, stencil
from rollout.types import Scores

SUCCESS_SEMANTICS = 9.0
"""A step succeeded if its semantics and quality reach these."""
SUCCESS_QUALITY = 5.0

MAX_SHIFT = 3
MIN_AREA = 60
"""Pixels; the smallest shape covers 160."""
INK = 90
"""How far from white (Euclidean, 0-255 RGB) a pixel must be to count as drawn on."""
COLOUR_TOLERANCE = 75
"""How far from a colour of the world a thing's median colour may be; the nearest two are 180 apart."""
MAX_MISFIT = 0.4
"""How much of a shape may disagree with the best stencil, as a share of the stencil's area."""
ERROR_OF_ZERO_QUALITY = 30.0
"""Mean absolute error (0-255) around the things at which quality is 0."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What is seen at one place; a colour or shape that cannot be told is None."""

    colour: str | None
    shape: str | None

    def __str__(self) -> str:
        return f"{self.colour or 'unclear'} {self.shape or 'unclear'}"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a picture shows: place -> what is seen there, and how clean the drawing is in [0, 1]."""

    sightings: dict[str, Sighting]
    cleanness: float

    @property
    def scene(self) -> Scene:
        """The things that are clear."""
        seen = self.sightings.items()
        return {place: Thing(s.colour, s.shape) for place, s in seen if s.colour is not None and s.shape is not None}


def score(before: Image.Image | None, after: Image.Image, instruction: str) -> Scores:
    """Score how well `after` carries out `instruction` on `before` (None: a white canvas)."""
    wishes = parse(instruction)
    base = read(before).sightings if before is not None else {}
    seen = read(after)
    remarks: list[str] = []
    points = []
    for place, wish in wishes.items():
        sight = seen.sightings.get(place)
        points.append(_points(wish, sight))
        if points[-1] < 1:
            remarks.append(f"{place}: wanted {wish}, sees {sight or 'nothing'}")
    others = [place for place in PLACES if place not in wishes]
    for place in others:
        if seen.sightings.get(place) != base.get(place):
            remarks.append(f"{place}: was {base.get(place) or 'nothing'}, is {seen.sightings.get(place) or 'nothing'}")
    kept = np.mean([_likeness(base.get(place), seen.sightings.get(place)) for place in others])
    semantics = 10 * min(float(np.mean(points)), float(kept))
    quality = 10 * seen.cleanness
    if quality < SUCCESS_QUALITY:
        remarks.append("smeared or noisy")
    return Scores(round(semantics, 2), round(quality, 2), "; ".join(remarks) or "all as wished")


def is_success(scores: Scores) -> bool:
    """Say whether the step that earned `scores` is done."""
    return scores.semantics >= SUCCESS_SEMANTICS and scores.quality >= SUCCESS_QUALITY


def read(image: Image.Image) -> Reading:
    """Read a picture: segment each place, name its colour and shape, and compare with a clean drawing."""
    if image.size != (SIZE, SIZE):
        image = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    pixels = np.asarray(image.convert("RGB"), np.float32)
    white = np.asarray(WHITE, np.float32)
    clean = np.broadcast_to(white, pixels.shape).copy()
    drawn_on = np.linalg.norm(pixels - white, axis=-1) > INK
    sightings: dict[str, Sighting] = {}
    for index, place in enumerate(PLACES):
        mask = _largest_part(drawn_on & (_nearest_place() == index))
        if mask.sum() < MIN_AREA:
            continue
        colour = np.median(pixels[mask], axis=0)
        name = min(COLOURS, key=lambda known: float(np.linalg.norm(colour - COLOURS[known])))
        is_known = float(np.linalg.norm(colour - COLOURS[name])) <= COLOUR_TOLERANCE
        # How much of each pixel is covered, by where its colour lies between white and the thing's own.
        ink = white - colour
        covered = np.clip((white - pixels) @ ink / (ink @ ink), 0, 1) * ndimage.binary_dilation(mask, iterations=2)
        shape, cover = _fit_shape(covered, PLACES[place])
        sightings[place] = Sighting(name if is_known else None, shape)
        clean += cover[..., None] * (np.asarray(COLOURS[name], np.float32) - clean)
    return Reading(sightings, _cleanness(pixels, clean))


def _points(wish: Thing, sight: Sighting | None) -> float:
    """A third each for being there, for the colour and for the shape."""
    if sight is None:
        return 0.0
    return (1 + (sight.colour == wish.colour) + (sight.shape == wish.shape)) / 3


def _likeness(was: Sighting | None, now: Sighting | None) -> float:
    if was is None or now is None:
        return float(was is now)
    return (1 + (was.colour == now.colour) + (was.shape == now.shape)) / 3


def _cleanness(pixels: np.ndarray, clean: np.ndarray) -> float:
    """Compare a picture with the clean drawing of what it shows; both float (SIZE, SIZE, 3)."""
    error = np.abs(pixels - clean).mean(axis=-1)
    # The worst quarter of the picture counts: an empty background must not hide a smeared thing.
    blocks = error.reshape(4, SIZE // 4, 4, SIZE // 4).mean(axis=(1, 3)).ravel()
    worst = np.sort(blocks)[-4:].mean()
    return float(np.clip(1 - worst / ERROR_OF_ZERO_QUALITY, 0, 1))


def _largest_part(mask: np.ndarray) -> np.ndarray:
    labels, num_parts = ndimage.label(mask)
    if num_parts <= 1:
        return mask
    areas = np.bincount(labels.ravel())[1:]
    return labels == 1 + int(areas.argmax())


def _fit_shape(covered: np.ndarray, centre: tuple[int, int]) -> tuple[str | None, np.ndarray]:
    """Return the shape whose shifted stencil fits best (None: none does), and its cover; float (SIZE, SIZE)."""
    x, y = centre
    half = RADIUS + 1 + MAX_SHIFT
    window = covered[y - half : y + half, x - half : x + half]
    bank = _stencils()
    misfits = np.abs(bank - window).sum(axis=(-1, -2)) / bank.sum(axis=(-1, -2))
    best = int(misfits.argmin())
    cover = np.zeros(covered.shape, np.float32)
    cover[y - half : y + half, x - half : x + half] = bank[best]
    shape = SHAPES[best // (len(bank) // len(SHAPES))]
    return (shape if misfits[best] <= MAX_MISFIT else None), cover


@lru_cache
def _stencils() -> np.ndarray:
    """Every shape at every shift, float (shapes x shifts, window, window)."""
    shifts = range(2 * MAX_SHIFT + 1)
    padded = [np.pad(stencil(shape), MAX_SHIFT * 2) for shape in SHAPES]
    window = 2 * (RADIUS + 1 + MAX_SHIFT)
    return np.stack([p[dy : dy + window, dx : dx + window] for p in padded for dy in shifts for dx in shifts])


@lru_cache
def _nearest_place() -> np.ndarray:
    """Index of the place each pixel is nearest to, int (SIZE, SIZE)."""
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.stack([(x - px) ** 2 + (y - py) ** 2 for px, py in PLACES.values()]).argmin(axis=0)
