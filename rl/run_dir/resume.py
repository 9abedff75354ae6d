"""What a job's folder holds to go on from, and what has changed since: what was learned depends on none of it.

Before the first checkpoint nothing was learned: a run that is resumed then begins again, by what its recipe, functions,
prompts and models are now. Afterwards a change has to be put back, or accepted by name, and is written down.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.notice import notify
from actors.store.append_log import tell_damaged
from actors.store.ledger import ATTEMPTS, holds_samples
from rl.recipe.jobs import RunRecipe, TrainingRecipe
from rl.recipe.reader import load_as
from rl.recipe.resumable import describe_changes, forbidden_changes, is_resumable_change
from rl.recipe.same_place import is_same_source
from rl.run_dir.lock import TAKEN_OVER
from rl.run_dir.shipped import check_none_shipped
from rl.tracking.metrics_file import drop_metrics_after
from rl.whole_files import check_files, check_newest, explained, last_step, newest_name

_PARTS = ("checkpoints", "export", "ledger")
AUTO = "auto"
"""Of --resume: go on where there is something to go on from, else start."""
_STARTED = ("recipe.yaml", "versions*.json", ".*.unfinished", TAKEN_OVER)
"""What the start of a run leaves that was killed before it did anything."""


@dataclass(frozen=True)
class Changed:
    """A key of a recipe, or the digest of what it names, that is another one than when the job was started."""

    key: str
    told: str
    """The key, with what it was and what it is."""
    is_harmless: bool
    """Nothing that was made depends on it."""

    def is_accepted(self, keys: Collection[str]) -> bool:
        """Whether it is one of `keys`, or in a section that is."""
        return any(f"{self.key}.".startswith(f"{key}.") for key in keys)


def is_resumed(asked: bool | str, run_dir: Path) -> bool:
    """Whether a command given --resume, or `AUTO` with it, goes on with a run."""
    return is_begun(run_dir) if asked == AUTO else bool(asked)


def is_begun(run_dir: Path) -> bool:
    """Whether a run, or a build of data, has done something in its folder."""
    has_rows = (run_dir / "metrics.jsonl").exists() or (run_dir / "trajectories").exists()
    return has_rows or has_learned(run_dir) or holds_samples(run_dir / "ledger")


def has_learned(run_dir: Path) -> bool:
    """Whether a checkpoint is there."""
    return os.path.lexists(run_dir / "checkpoints" / "latest")


def was_started(run_dir: Path) -> bool:
    """Whether a run was begun in a folder, or at least started: it may have been killed before it did anything."""
    return is_begun(run_dir) or any(next(run_dir.glob(name), None) for name in _STARTED)


def check_run_dir(
    recipe: TrainingRecipe,
    is_resumed: bool,
    sources: Mapping[str, object] | None = None,
    accepted: Collection[str] = (),
) -> None:
    """Raise ValueError when a run's folder is another run's, or holds none to resume, or one of other sources.

    `sources` are those of `rl.run_dir.provenance`, where a run has some; `accepted` names what may have changed.
    """
    run_dir = Path(recipe.run_dir)
    check_files(run_dir)
    if is_resumed and not was_started(run_dir):
        raise ValueError(f"{run_dir} holds no run to resume; --resume {AUTO} starts one where there is none")
    if not is_resumed and is_begun(run_dir):
        raise ValueError(f"{run_dir} holds a run already; add --resume to go on with it, or run_dir=... for another")
    if is_resumed and is_begun(run_dir):
        explained(run_dir)
        check_newest(run_dir)
        tell_damaged(run_dir / "ledger", ATTEMPTS)
    if is_resumed and has_learned(run_dir):
        check_changes(recipe, sources, accepted)
    if not is_resumed:
        check_none_shipped(recipe)
    for folder in (run_dir, *(run_dir / name for name in _PARTS)):
        if os.path.lexists(folder) and not folder.is_dir():
            raise ValueError(f"{folder} is no folder; a run needs one there: move it away, or put the folder back")
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            raise ValueError(f"{folder} cannot be written to by user {os.getuid()}; a run needs it")


def saved_in(run_dir: Path) -> str:
    """Return in words which step can be gone on from."""
    try:
        step = last_step(run_dir)
    except ValueError as error:  # no reason to lose the line that this is part of
        return f"which step is saved is not known: {error}"
    return f"step {step} is saved" if step else "no step is saved yet"


def going_on(done: int, num_steps: int) -> str:
    """Return the line of a resumed run: after which of its steps it goes on."""
    if not done:
        return "resumed: no step is saved yet, so it begins at step 1"
    return f"resumed: goes on after step {done} of {num_steps}, the newest whole checkpoint"


def is_finished(recipe: TrainingRecipe) -> bool:
    """Whether a run's last step, export and report are there."""
    run_dir = Path(recipe.run_dir)
    report, export = run_dir / "report.html", run_dir / "export" / "config.json"
    is_whole = report.is_file() and export.is_file() and export.stat().st_mtime <= report.stat().st_mtime
    return is_whole and last_step(run_dir) == recipe.num_steps


def check_unfinished(recipe: TrainingRecipe) -> None:
    """Raise ValueError for a run that is finished."""
    run_dir = Path(recipe.run_dir)
    if is_finished(recipe):
        raise ValueError(
            f"{run_dir} is finished: its {recipe.num_steps} steps are learned, and {run_dir / 'export'} and "
            f"{run_dir / 'report.html'} are there; to go on, set num_steps above {recipe.num_steps}"
        )


def check_changes(
    recipe: RunRecipe,
    sources: Mapping[str, object] | None,
    accepted: Collection[str] = (),
    allows: Callable[[str], bool] = is_resumable_change,
) -> None:
    """Raise ValueError that names what is another one than when the job of this recipe was started.

    But for `accepted` keys and those that `allows` lets through. `sources` are those of `rl.run_dir.provenance`.
    """
    run_dir = Path(recipe.run_dir)
    if not (run_dir / "recipe.yaml").exists():
        raise ValueError(f"{run_dir} cannot go on: its recipe.yaml is missing; put it back, or choose another run_dir")
    refused = [
        one for one in changes_since(recipe, sources, allows) if not (one.is_harmless or one.is_accepted(accepted))
    ]
    if refused:
        options = " ".join(f"--accept-changed {key}" for key in dict.fromkeys(one.key for one in refused))
        raise ValueError(
            f"{run_dir} was started with a different {', '.join(one.told for one in refused)}; put it back as it was, "
            f"choose another run_dir, or, to mix old and new results, add {options}"
        )


def changes_since(
    recipe: RunRecipe, sources: Mapping[str, object] | None, allows: Callable[[str], bool] = is_resumable_change
) -> Iterator[Changed]:
    """Yield what is another one than when the job was last started. Raises ValueError for a recipe that is torn."""
    run_dir = Path(recipe.run_dir)
    began = load_as(type(recipe), run_dir / "recipe.yaml")
    saved, was_in = explained(run_dir), working_folder(run_dir)
    forbidden = forbidden_changes(began, recipe, allows, was_in)
    for key in forbidden_changes(began, recipe, lambda key: False, was_in):
        yield Changed(key, describe_changes(began, recipe, [key], was_in), key not in forbidden)
    if sources:
        for key, told in _changes(saved, sources, was_in):
            if key not in forbidden:  # what a recipe says otherwise has been told
                yield Changed(key, told, is_harmless=False)


def working_folder(run_dir: Path) -> Path | None:
    """Return the folder in which a run was last started; None where it is not known."""
    folder = explained(run_dir).get("working_folder")
    return Path(folder) if folder else None


def note_changes(recipe: RunRecipe, sources: Mapping[str, object] | None) -> list[dict[str, object]]:
    """Return all that changed in a begun run since its first start, and when, for its versions.json.

    What was measured before a change, in a run that has learned nothing, is put aside: it will be measured again.
    """
    run_dir = Path(recipe.run_dir)
    if not (all((run_dir / name).exists() for name in ("versions.json", "recipe.yaml")) and is_begun(run_dir)):
        return []
    after = newest_name(run_dir)
    try:
        found = list(changes_since(recipe, sources))
    except ValueError:
        if after:
            raise
        found = [Changed("recipe.yaml", "recipe.yaml (which is torn)", is_harmless=False)]
    if not after:
        _begin_again(run_dir, [one for one in found if not one.is_harmless])
    noted = [{"after": after, "key": one.key, "changed": one.told} for one in found]
    return [*explained(run_dir).get("changed", []), *noted]


def _begin_again(run_dir: Path, changed: Sequence[Changed]) -> None:
    measured = run_dir / "evaluation_before.json"
    if changed and measured.exists():
        told = ", ".join(one.told for one in changed)
        notify(f"{run_dir} has learned nothing yet and begins again with a different {told}")
        drop_metrics_after(run_dir, -1)
        measured.unlink()


def _changes(saved: Mapping[str, Any], now: Mapping[str, Any], was_in: Path | None = None) -> Iterator[tuple[str, str]]:
    """Yield key and description of each thing that is another one now. A section that was not saved is not compared.

    >>> list(_changes({"judge": {"model": "a"}}, {"judge": {"model": "b"}, "reward": {}}))
    [('judge.model', 'judge.model (was a, now b)')]
    """
    for section in saved.keys() & now.keys():
        old, new = saved[section], now[section]
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name) and not is_same_source(old.get(name), new.get(name), was_in):
                key = f"{section}.{name}"
                yield key, f"{key} (was {old.get(name, 'not there')}, now {new.get(name, 'not there')})"
