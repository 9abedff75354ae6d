"""Where metrics can go beside metrics.jsonl, behind one Protocol: ours by name, the user's own by path.

A tracker is made and used in one thread, and not on the event loop's.
"""

import importlib.util
import inspect
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Protocol

from PIL import Image

from rewards.compose import said, why_not_loaded
from rewards.functions.import_path import name_of
from rl.recipe.jobs import TrackingConfig, TrainingRecipe
from rl.tracker_registry import load_tracker
from rl.tracking.user_metrics import load_metric
from rl.writable import FULL
from rollout.roles import RunStopped
from rollout.text.limits import is_own, nearest

Row = Mapping[str, Any]


class Tracker(Protocol):
    """Charts a run. A class of the user's own is made of (recipe, first_step, kept rows) and its options by keyword."""

    def log(self, row: Row, step: int) -> None:
        """Chart the metrics of one step."""
        ...

    def images(self, key: str, pictures: Iterable[tuple[Image.Image, str]], step: int) -> None:
        """Show pictures with their captions."""
        ...

    def alert(self, title: str, text: str, step: int) -> None:
        """Alert the people who follow the run."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


_METHODS = ("log", "images", "alert", "close")


class BuiltinTracker:
    """What a built-in tracker declares before it is created."""

    package: ClassVar[str]
    """What has to be installed."""

    @classmethod
    def is_wanted(cls) -> bool:
        """Return whether the environment allows it to run."""
        return True

    @classmethod
    def check(cls, config: TrackingConfig) -> None:
        """Raise ValueError where it is not installed, or would refuse what recipe or environment tell it."""
        if importlib.util.find_spec(cls.package) is None:
            raise ValueError(
                f"tracking.backends has {cls.package}, which is not installed: pip install {cls.package}, or leave it "
                "out"
            )


def start_trackers(recipe: TrainingRecipe, first_step: int, kept: Sequence[Row]) -> list[Tracker]:
    """Start what the recipe's `tracking.backends` names; `kept` are the rows that a resumed run goes on from.

    Raises `RunStopped` for one that does not start: a server that cannot be reached, say.
    """
    options = recipe.tracking.options
    started: list[Tracker] = []
    for name, make in _wanted(recipe.tracking).items():
        try:
            started.append(make(recipe, first_step, kept, **options.get(name_of(name), {})))
        except Exception as error:
            for tracker in started:
                with suppress(Exception):
                    tracker.close()
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            told = " ".join(f"{type(error).__name__}: {said(error) if is_own(name) else error}".split())
            raise RunStopped(
                f"tracking.backends has {name}, which did not start: {told}; mend it, or leave it out"
            ) from error
    return started


def check_trackers(config: TrackingConfig) -> None:
    """Raise ValueError for a tracker or metric that is not there, or a tracker that would refuse what it is told."""
    for name, tracker in _wanted(config).items():
        if not is_own(name):
            tracker.check(config)
            continue
        if missing := [method for method in _METHODS if not callable(getattr(tracker, method, None))]:
            raise ValueError(
                f"tracking.backends has {name}: it has no method {' and no '.join(missing)}; expected "
                f"{', '.join(_METHODS)}"
            )
        try:
            inspect.signature(tracker).bind("recipe", 1, (), **config.options.get(name_of(name), {}))
        except TypeError as error:
            raise ValueError(f"tracking.backends has {name}: it cannot be made of its options: {error}") from None
    own = [name_of(name) for name in config.backends if is_own(name)]
    for name in config.options:
        if name not in own:
            raise ValueError(
                f"tracking.options has {name}, which is no class in tracking.backends{nearest(name, own)}; expected "
                f"the name of one of your own{', ' + ' or '.join(own) if own else ''}"
            )
    for path in config.metrics:
        load_metric(path)


def _wanted(config: TrackingConfig) -> dict[str, Any]:
    """Return the classes to be made, by their names in the recipe."""
    found = {name: _loaded(name) for name in config.backends}
    return {name: tracker for name, tracker in found.items() if is_own(name) or tracker.is_wanted()}


def _loaded(name: str) -> Any:
    try:
        return load_tracker(name)
    except Exception as error:
        raise ValueError(f"tracking.backends has {name}: {why_not_loaded(error)}") from error
