"""The sizes that a generator takes, and the one that keeps an image's aspect ratio."""

import math
from dataclasses import dataclass
from itertools import product

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True)
class Sizes:
    """What a generator takes."""

    multiple_of: int = 16
    """Both sides are multiples of it."""
    min_pixels: int = 256 * 256
    max_pixels: int = 1024 * 1024
    """Most pixels that may be asked for."""
    fit_pixels: int = 1024 * 1024
    """A larger image is edited at this many pixels."""
    max_aspect: float = 4.0
    """Longer side over shorter one."""
    default: Size = (1024, 1024)
    """Of an image that is made from words alone."""
    choices: tuple[Size, ...] = ()
    """The only sizes there are; empty: any within the bounds."""
    is_own: bool = False
    """The generator itself picks a size of the before-image's aspect ratio; none can be asked for."""

    def reject_reason(self, size: Size) -> str | None:
        """Return why a size cannot be had; None if it can.

        >>> Sizes().reject_reason((1000, 1024))
        'takes sides that are multiples of 16, not 1000x1024; 992x1024 is the nearest'
        """
        width, height = size
        asked = f"{width}x{height}"
        if self.is_own:
            return f"picks the size itself, by the image that it edits; it cannot make {asked}"
        if self.choices:
            known = ", ".join(f"{w}x{h}" for w, h in self.choices)
            return None if size in self.choices else f"makes {known}, not {asked}"
        if min(size) < 1 or max(size) > self.max_aspect * min(size):
            return f"takes sides of a ratio up to {self.max_aspect:g}, not {asked}"
        if not self.min_pixels <= width * height <= self.max_pixels:
            return (
                f"takes from {self.min_pixels:,} to {self.max_pixels:,} pixels, not the {width * height:,} of {asked}"
            )
        if width % self.multiple_of or height % self.multiple_of:
            near = "x".join(str(max(1, round(side / self.multiple_of)) * self.multiple_of) for side in size)
            return f"takes sides that are multiples of {self.multiple_of}, not {asked}; {near} is the nearest"
        return None

    def fit(self, size: Size | None) -> Size:
        """Return the size to edit an image of `size` at: its aspect ratio, within the bounds; None: the default.

        >>> Sizes().fit((640, 480)), Sizes().fit((4000, 3000)), Sizes().fit((64, 64)), Sizes().fit((3000, 10))
        ((640, 480), (1168, 880), (256, 256), (512, 128))
        """
        if size is None:
            return self.default
        width, height = size
        if self.choices:
            return min(self.choices, key=lambda choice: abs(math.log(choice[0] / choice[1] * height / width)))
        aspect = min(max(width / height, 1 / self.max_aspect), self.max_aspect)
        pixels = min(max(width * height, self.min_pixels), self.fit_pixels)
        sides = [
            [rounded(_whole(side) / self.multiple_of) * self.multiple_of for rounded in (math.floor, math.ceil)]
            for side in (math.sqrt(pixels * aspect), math.sqrt(pixels / aspect))
        ]
        sizes = [(w, h) for w, h in product(*sides)]
        fitting = [size for size in sizes if not self.reject_reason(size) and size[0] * size[1] <= self.fit_pixels]
        return min(fitting, key=lambda size: abs(math.log(size[0] / size[1] / aspect)))


def _whole(side: float) -> float:
    """Return a side without what the square root has rounded."""
    return round(side) if abs(side - round(side)) < 1e-6 else side
