"""Token ids and what belongs to each token, as arrays that nobody writes to: 4 bytes a value, and sent as they are.

As a tuple of Python numbers a response takes ten times the memory, and Ray spends a millisecond on sending it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

TokenIds = NDArray[np.int32]
"""Any vocabulary fits."""
TokenValues = NDArray[np.float32]
"""One per token. The sampler's log-probabilities are float32 themselves, and the policy computes with no more."""

_Scalar = TypeVar("_Scalar", bound=np.generic)
_Made = TypeVar("_Made")


def as_token_ids(values: Sequence[int] | TokenIds) -> TokenIds:
    """Return token ids as a read-only array; one that is such an array already is not copied.

    >>> as_token_ids((7, 8)).tolist()
    [7, 8]
    """
    return _frozen(values, np.int32)


def as_token_values(values: Sequence[float] | TokenValues) -> TokenValues:
    """Return one number per token as a read-only array; one that is such an array already is not copied."""
    return _frozen(values, np.float32)


def repeated(value: float, length: int) -> TokenValues:
    """Return a read-only array (length,) that holds one value, in the memory of one.

    >>> repeated(0.5, 3).tolist()
    [0.5, 0.5, 0.5]
    """
    return np.ndarray((length,), np.float32, np.float32(value).tobytes(), strides=(0,))


class HasArrays:
    """A frozen dataclass with arrays among its fields: equal where all values are, and not hashable."""

    __slots__: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[object, ...]:
        return _unpickled, (type(self), *(_sent(getattr(self, name)) for name in self.__slots__))

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_is_equal(getattr(self, name), getattr(other, name)) for name in self.__slots__)

    def _set(self, **fields: object) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)


def _frozen(values: Sequence[float] | NDArray[Any], dtype: type[_Scalar]) -> NDArray[_Scalar]:
    if isinstance(values, np.ndarray) and values.dtype == dtype and not values.flags.writeable:
        return values  # `np.asarray` gives a view of what was unpickled, and pickle takes that for another array
    array = np.asarray(values, dtype).view()  # who made it may go on writing to it
    array.flags.writeable = False
    return array


@dataclass(frozen=True, slots=True)
class _Repeated:
    """How an array of one value is sent: numpy would write it out."""

    value: float
    length: int


def _sent(value: object) -> object:
    if isinstance(value, np.ndarray) and value.strides == (0,) and len(value):
        return _Repeated(float(value[0]), len(value))
    return value


def _unpickled(kind: Callable[..., _Made], *values: object) -> _Made:
    return kind(*map(_received, values))


def _received(value: object) -> object:
    if isinstance(value, _Repeated):
        return repeated(value.value, value.length)
    if isinstance(value, np.ndarray) and isinstance(value.base, np.ndarray) and value.base.shape == value.shape:
        return value.base  # numpy unpickles a view of the array that was sent: two objects for each
    return value


def _is_equal(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return one == other
