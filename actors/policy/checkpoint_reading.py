"""Read checkpoints as data: torch unpickles them, and an untrusted pickle could run arbitrary code."""

import functools
import importlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def tensors_alone() -> Iterator[None]:
    """Have `torch.load` refuse all but tensors and plain values, even in verl's calls, which allow everything.

    NumPy's random state is allowed: its arrays cannot run code.
    """
    load = torch.load

    @functools.wraps(load)
    def load_data(*arguments: object, **options: object) -> object:
        return load(*arguments, **{**options, "weights_only": True})

    reconstruct: object = vars(importlib.import_module("numpy._core.multiarray"))["_reconstruct"]
    arrays: list[object] = [np.dtype, np.ndarray, type(np.dtype("uint32"))]
    arrays += [(reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("_core", "core")]
    torch.load = load_data
    try:
        with torch.serialization.safe_globals(arrays):
            yield
    finally:
        torch.load = load
