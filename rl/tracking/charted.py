"""What a run's chart has already: a resumed run goes on in the same chart, and charts no metric of a step twice."""

import json
from collections.abc import Mapping
from pathlib import Path

from actors.notice import notify
from rl.atomic_write import atomic_write
from rl.json_file import read_object


class Charted:
    """The chart's name, where it has one, and the last step charted of each metric; in a file of the run's folder.

    A step that a resumed run repeats stays in the chart as it was first charted: charts can't take rows back.
    """

    def __init__(self, path: Path, name: str = "", *, up_to: int | None = None):
        """Go on with the chart that the file names, unless `name` is another one.

        `up_to`: what is charted after this step will not be seen any more, and may be charted again.
        """
        said, steps = _read(path)
        self._path = path
        self.name: str = name or said
        if said != self.name:
            steps = {}
        self._before = {key: step if up_to is None else min(step, up_to) for key, step in steps.items()}
        self._steps = dict(self._before)

    def new_of(self, row: Mapping[str, float], step: int) -> dict[str, float]:
        """Return what earlier starts of the run have not charted of a row; it counts as charted from here on.

        It is noted first: what a kill between note and chart costs is one row, never a second one of the same step.
        """
        new = {key: value for key, value in row.items() if key != "step" and step > self._before.get(key, -1)}
        self._steps |= {key: max(step, self._steps.get(key, -1)) for key in new}
        if new:
            self._save()
        return new

    def call(self, name: str) -> None:
        """Give the chart its name, by which a resumed run finds it."""
        self.name = name
        self._save()

    def _save(self) -> None:
        atomic_write(self._path, json.dumps({"name": self.name, "steps": self._steps}))


def _read(path: Path) -> tuple[str, dict[str, int]]:
    """Return the chart's name and the last step of each metric; of a file that is missing or damaged, neither."""
    if not path.exists():
        return "", {}
    try:
        saved = read_object(path)
        return str(saved["name"]), {str(key): int(step) for key, step in saved["steps"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        notify(f"{path} cannot be read ({error}): another chart begins, with all rows so far")
        return "", {}
