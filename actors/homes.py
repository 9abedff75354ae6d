"""Where requests that share something are answered: where it has been computed already, unless that is too busy."""

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

_NUM_HOMES = 4096

Place = TypeVar("Place", bound=Hashable)


class Homes(Generic[Place]):
    """Remembers for each key the place of its last request.

    >>> homes = Homes[str](slack=2)
    >>> [homes.choose(7, {"a": load, "b": 0}) for load in (0, 1, 2)]
    ['a', 'a', 'b']
    """

    def __init__(self, slack: int):
        """A key leaves its home for a place with `slack` fewer requests."""
        self._slack = slack
        self._homes: OrderedDict[int, Place] = OrderedDict()

    def choose(self, key: int, loads: Mapping[Place, int]) -> Place:
        """Return a place for a request, given how many each one has; of equal ones the first."""
        best = min(loads, key=loads.__getitem__)
        home = self._homes.get(key)
        if home is not None and home in loads and loads[home] - loads[best] < self._slack:
            best = home
        self._homes[key] = best
        self._homes.move_to_end(key)
        if len(self._homes) > _NUM_HOMES:
            self._homes.popitem(last=False)
        return best

    def forget(self, key: int) -> None:
        """Let a key have no home."""
        self._homes.pop(key, None)
