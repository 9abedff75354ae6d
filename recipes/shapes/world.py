"""The shapes world: coloured shapes at four places in a small white picture, and the words for them.

A scene says what is where. A sentence, `a C S at the P` joined by ` and `, serves as instruction, prompt
and caption alike: it sets the places that it names and leaves the others as they were.
"""

import hashlib
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

SIZE = 64
"""Pixels per side: the smallest picture that FLUX.2's pipeline accepts as a reference."""
RADIUS = 9
"""Half the width of a shape, in pixels."""
JITTER = 1
"""A drawn shape is displaced by up to this many pixels in each direction."""
WHITE = (250, 250, 250)
COLOURS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 70, 220), "yellow": (240, 205, 40)}
SHAPES = ("circle", "square", "triangle")
PLACES = {"left": (13, 32), "right": (51, 32), "top": (32, 13), "bottom": (32, 51)}
"""The centre (x, y) of each place, in pixels."""
HELDOUT_SHARE = 0.3
"""Share of all possible steps that no training task and no SFT example uses."""

WORDS: Mapping[str, tuple[str, ...]] = {
    "red": ("red", "crimson", "scarlet", "ruby"),
    "green": ("green", "emerald", "lime", "jade"),
    "blue": ("blue", "navy", "azure", "cobalt"),
    "yellow": ("yellow", "golden", "amber", "lemon"),
    "circle": ("circle", "disc", "ball", "dot"),
    "square": ("square", "box", "block", "tile"),
    "triangle": ("triangle", "wedge", "pyramid", "cone"),
    "left": ("left", "west", "port", "sunset"),
    "right": ("right", "east", "starboard", "sunrise"),
    "top": ("top", "north", "ceiling", "summit"),
    "bottom": ("bottom", "south", "floor", "base"),
}
"""The words for each concept. The seed decides which one the generator knows best."""

_CONCEPTS = {word: concept for concept, words in WORDS.items() for word in words}
_CLAUSE = re.compile(r"an? (\S+) (\S+) at the (\S+)")


@dataclass(frozen=True, slots=True, order=True)
class Thing:
    """A coloured shape."""

    colour: str
    shape: str

    def __str__(self) -> str:
        return f"{self.colour} {self.shape}"


Scene = dict[str, Thing]
"""Place -> what is there; an empty place is absent."""
Offsets = dict[str, tuple[int, int]]
"""Place -> offset (x, y) of its shape from the place's centre, in pixels."""


def common_words(seed: int) -> dict[str, str]:
    """Return, for each concept, the word that is common in the generator's captions.

    >>> common_words(0)["red"] in WORDS["red"]
    True
    """
    rng = random.Random(f"common words {seed}")
    return {concept: rng.choice(words) for concept, words in WORDS.items()}


def say(scene: Scene, word_for: Callable[[str], str]) -> str:
    """Return the sentence for `scene`, places in their fixed order, one word chosen for each concept.

    >>> say({"top": Thing("red", "circle"), "left": Thing("blue", "square")}, lambda concept: concept)
    'a blue square at the left and a red circle at the top'
    """
    things = [(scene[place], place) for place in PLACES if place in scene]
    return " and ".join(f"a {word_for(t.colour)} {word_for(t.shape)} at the {word_for(place)}" for t, place in things)


def say_randomly(scene: Scene, rng: random.Random) -> str:
    """Return a sentence for `scene` with uniformly drawn words."""
    return say(scene, lambda concept: rng.choice(WORDS[concept]))


def parse(text: str) -> Scene:
    """Parse a sentence in any of the words; case, commas and a full stop at the end do not matter.

    Raises `ValueError` for anything that is not a sentence of the grammar.

    >>> parse("A ruby dot at the summit.")
    {'top': Thing(colour='red', shape='circle')}
    """
    scene: Scene = {}
    cleaned = " ".join(re.sub(r"[.,;!]", " ", text.lower()).split())
    for clause in cleaned.split(" and "):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise ValueError(f"cannot read {clause!r}: expected 'a COLOUR SHAPE at the PLACE' joined by ' and '")
        colour, shape, place = (_CONCEPTS.get(word) for word in match.groups())
        if colour not in COLOURS or shape not in SHAPES or place not in PLACES:
            raise ValueError(f"cannot read {clause!r}: expected a known word for a colour, a shape and a place")
        if place in scene:
            raise ValueError(f"{text!r} names the {place} twice: expected each place at most once")
        scene[place] = Thing(colour, shape)
    return scene


def random_scene(rng: random.Random, num_things: int) -> Scene:
    """Return a scene with `num_things` random things at different places."""
    places = rng.sample(list(PLACES), num_things)
    return {place: Thing(rng.choice(list(COLOURS)), rng.choice(SHAPES)) for place in PLACES if place in places}


def random_offsets(rng: random.Random) -> Offsets:
    """Return a small random displacement for each place."""
    return {place: (rng.randint(-JITTER, JITTER), rng.randint(-JITTER, JITTER)) for place in PLACES}


def side_of_step(scene: Scene, wishes: Scene) -> str:
    """Return `train` or `heldout`, by what a step does (`wishes`) to what (`scene`), not by its wording."""
    step = f"{sorted(scene.items())} {sorted(wishes.items())}".encode()
    share = int.from_bytes(hashlib.sha256(step).digest()[:4], "big") / 2**32
    return "heldout" if share < HELDOUT_SHARE else "train"


@lru_cache
def stencil(shape: str) -> np.ndarray:
    """Return the coverage of each pixel by the centred `shape`, float (2 RADIUS + 2) per side, in [0, 1]."""
    scale, side = 8, 2 * RADIUS + 2
    image = Image.new("L", (side * scale, side * scale))
    canvas, middle, r = ImageDraw.Draw(image), side * scale / 2, RADIUS * scale
    if shape == "circle":
        canvas.ellipse([middle - r, middle - r, middle + r, middle + r], fill=255)
    elif shape == "square":
        half = 0.98 * r
        canvas.rectangle([middle - half, middle - half, middle + half, middle + half], fill=255)
    else:
        canvas.polygon([(middle, middle - r), (middle - r, middle + r), (middle + r, middle + r)], fill=255)
    return np.asarray(image.resize((side, side), Image.Resampling.BOX), np.float32) / 255


def draw(scene: Scene, offsets: Offsets | None = None) -> Image.Image:
    """Draw `scene` on white, each thing displaced by its offset (none: exactly at its place)."""
    pixels = np.empty((SIZE, SIZE, 3), np.float32)
    pixels[:] = WHITE
    for place, thing in scene.items():
        cover = stencil(thing.shape)[..., None]
        dx, dy = (offsets or {}).get(place, (0, 0))
        x, y = PLACES[place][0] + dx - len(cover) // 2, PLACES[place][1] + dy - len(cover) // 2
        window = pixels[y : y + len(cover), x : x + len(cover)]
        window += cover * (np.asarray(COLOURS[thing.colour], np.float32) - window)
    return Image.fromarray(pixels.round().astype(np.uint8))
