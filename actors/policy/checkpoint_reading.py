"""Read checkpoints as data: torch unpickles them, and a pickle of strangers could run whatever it likes."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def tensors_alone() -> Iterator[None]:
    """Have `torch.load` refuse what is no tensor or plain value, verl's calls included, which ask for everything.

    NumPy's random state is let through: its arrays cannot run anything.
    """
    load = torch.load

    @functools.wraps(load)
    def load_data(*arguments: Any, **options: Any) -> Any:
        return load(*arguments, **{**options, "weights_only": True})

    reconstruct: Any = np._core.multiarray._reconstruct  # type: ignore[attr-defined]
    arrays: list[Any] = [np.dtype, np.ndarray, type(np.dtype("uint32"))]
    arrays += [(reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("_core", "core")]
    torch.load = load_data
    try:
        with torch.serialization.safe_globals(arrays):
            yield
    finally:
        torch.load = load
