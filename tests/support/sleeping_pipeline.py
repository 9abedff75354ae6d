"""A stand-in for a diffusers pipeline that costs time instead of a GPU, and whose pictures can be checked."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

SECONDS = "SLEEPING_PIPELINE_S"
"""Environment variable: seconds that an image costs, in a batch or alone."""


def picture(prompt: str, seed: int, tint: int, size: tuple[int, int]) -> Image.Image:
    """Return the one picture of these words, this seed and a before-image of this tint (its first red value)."""
    digest = hashlib.sha256(f"{prompt}|{seed}|{tint}".encode()).digest()
    noise = np.random.default_rng(int.from_bytes(digest[:8], "big")).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BILINEAR)


class SleepingPipeline:
    """Called as diffusers' pipelines are."""

    @classmethod
    def from_pretrained(cls, folder: str, **_: Any) -> SleepingPipeline:
        return cls()

    def to(self, device: str) -> SleepingPipeline:
        return self

    def set_progress_bar_config(self, **_: Any) -> None:
        """Nothing to hide."""

    def __call__(
        self, prompt: Sequence[str], generator: Sequence[Any], height: int, width: int, image: Image.Image | None = None
    ) -> SimpleNamespace:
        time.sleep(float(os.environ.get(SECONDS, "0.5")) * len(prompt))
        pixel: Any = image.getpixel((0, 0)) if image else (0,)
        seeds = [noise.initial_seed() for noise in generator]
        made = [picture(text, seed, pixel[0], (width, height)) for text, seed in zip(prompt, seeds, strict=True)]
        return SimpleNamespace(images=made)
