"""Results by the content of what they were computed from: the most recently used ones, up to so many bytes."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

from PIL import Image

if TYPE_CHECKING:
    import torch

Tensors: TypeAlias = "torch.Tensor | tuple[Tensors, ...] | None"


class ContentCache:
    """Keeps tensors where they are, on a device or not.

    >>> import array
    >>> cache = ContentCache(max_bytes=8)
    >>> cache.put(b"a", memoryview(array.array("i", [1]))), cache.put(b"b", memoryview(array.array("i", [2])))
    (None, None)
    >>> cache.get(b"a") is None, cache.put(b"c", memoryview(array.array("i", [3]))), cache.get(b"b") is None
    (False, None, True)
    """

    def __init__(self, max_bytes: int):
        self._max_bytes = max_bytes
        self._kept: OrderedDict[bytes, Tensors] = OrderedDict()
        self.num_bytes = 0

    def get(self, key: bytes) -> Tensors:
        """Return what was kept under a key, or None."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: bytes, value: Tensors) -> None:
        """Keep a value; what was used longest ago makes room. One that is larger than all of it is not kept."""
        size = _num_bytes(value)
        if size > self._max_bytes or key in self._kept:
            return
        self._kept[key] = value
        self.num_bytes += size
        while self.num_bytes > self._max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.num_bytes -= _num_bytes(oldest)


def content_key(*values: object) -> bytes:
    """Return a digest of texts, numbers, images, tensors and lists of them. Raises TypeError for anything else.

    >>> content_key("ab", 1) == content_key("ab", 1), content_key(["a", "b"]) == content_key(["ab"])
    (True, False)
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in _parts(values):
        digest.update(part)
    return digest.digest()


def _num_bytes(value: Tensors) -> int:
    return sum(map(_num_bytes, value)) if isinstance(value, tuple) else int(getattr(value, "nbytes", 0))


def _parts(value: object) -> Iterator[bytes]:
    import torch

    if isinstance(value, (list, tuple)):
        yield f"{len(value)} of ".encode()
        for one in value:
            yield from _parts(one)
    elif isinstance(value, Image.Image):
        yield f"image {value.mode} {value.size} ".encode()
        yield value.tobytes()
    elif isinstance(value, torch.Tensor):
        yield f"tensor {value.dtype} {tuple(value.shape)} ".encode()
        yield value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    elif value is None or isinstance(value, (str, bool, int, float, torch.device, torch.dtype)):
        text = repr(value)
        yield f"{type(value).__name__} {len(text)} {text} ".encode()
    else:
        raise TypeError(f"a {type(value).__name__} has no content to go by")
