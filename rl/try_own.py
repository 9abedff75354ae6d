"""A judge and a generator of the user's own, asked about records of the run before anything starts.

Each is asked in a process of its own, which is killed if it takes too long (`actors.user_classes.trial`); a scorer that
comes with this package is trusted and asked here, about records that do not. One that may need a GPU is not tried, and
that is said.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from actors.config import JudgeConfig
from actors.generator.kind import kind_of as generator_kind
from actors.judge.judge import kind_of as judge_kind
from actors.notice import notify
from actors.store.store import Store
from actors.user_classes.trial import TIMEOUT_S, Make, NotMadeError, Wrong, ask_in_child
from rewards.functions.import_path import is_ours, load_function, name_of
from rewards.judging.rubric import check_scores
from rl.plan.judges import judges_asked
from rl.recipe.config import REPO, Recipe
from rollout.text.strict_json import RubricError
from rollout.types import EditRequest, ScoreRequest, Task

NUM_RECORDS = 3
"""Of each file that a scorer is asked about; a class of the user's own is asked about one."""
_SEED = 1
_OWN_DATA = "; it cannot judge these records: bring a judge of your own (docs/extending.md)"


@dataclass(frozen=True)
class _Trial:
    where: str
    """The recipe's section."""
    key: str
    path: str
    """What the key names."""
    tasks: Sequence[Task]
    ask: Callable[[Sequence[Task]], list[Wrong | None]]
    num_gpus: float
    hint: str = ""

    @property
    def label(self) -> str:
        return f"{self.where}.{self.key} is {self.path!r}"


@dataclass(frozen=True)
class Tried:
    """What was asked, and what was left to the run, each in words."""

    tried: tuple[str, ...]
    left: tuple[str, ...]


def try_own(recipe: Recipe, training: Sequence[Task], heldout: Sequence[Task]) -> Tried:
    """Ask judges and generator of the user's own once. Blocks.

    Raises ValueError with a line for each that fails: its key, the record and the error. One that does not answer in
    time is told on stderr, and is the run's own affair: it may be slow.
    """
    tried, left, wrong = [], [], []
    for trial in _trials(recipe, training, heldout):
        if trial.num_gpus or not trial.tasks:
            why = "it has GPUs" if trial.num_gpus else "no record with its images is here"
            left.append(f"what {trial.label.split(' is ')[0]} answers ({why})")
            continue
        try:
            found = _why_unfit(trial)
        except TimeoutError as error:
            notify(f"{trial.label}: {error}; starting all the same ({trial.where}.probe=false does not ask)")
            left.append(f"what {trial.where}.{trial.key} answers ({error})")
            continue
        if found:
            wrong.append(f"{found} ({trial.where}.probe=false starts without asking)")
        tried.append(f"{name_of(trial.path)} ({trial.where}.{trial.key}) on {_count(len(trial.tasks))}")
    if wrong:
        raise ValueError("\n".join(wrong))
    return Tried(tuple(tried), tuple(left))


def _trials(recipe: Recipe, training: Sequence[Task], heldout: Sequence[Task]) -> Iterator[_Trial]:
    first = [task for tasks in (training, heldout) for task in islice(tasks, NUM_RECORDS)]
    for where, judge in judges_asked(recipe):
        if judge.probe and (code := judge_kind(judge).code_of(judge)) is not None:
            key, path = code
            if not (is_ours(path) and all(map(_is_ours, first))):  # they ship together
                yield _of_judge(where, judge, key, path, [task for task in first if _has_images(task)])
    generator = recipe.generator
    if generator.probe and generator.kind and (make := generator_kind(generator).replica_of(generator)) is not None:
        some = [task for task in first if _has_images(task)][:1]
        edit = partial(_edit, make)
        yield _Trial("generator", "kind", generator.kind, some, edit, generator.gpus_per_replica)


def _edit(make: Make, tasks: Sequence[Task]) -> list[Wrong | None]:
    return ask_in_child(make, [EditRequest(task.before, task.prompt, _SEED) for task in tasks], TIMEOUT_S)


def _of_judge(where: str, judge: JudgeConfig, key: str, path: str, some: Sequence[Task]) -> _Trial:
    is_scorer = key == "scorer"

    def ask(tasks: Sequence[Task]) -> list[Wrong | None]:
        if is_scorer and is_ours(path):
            return [_why_not_scored(path, task) for task in tasks]
        looks = [ScoreRequest(task.before, task.after, task.instruction) for task in tasks]
        make = judge_kind(judge).replica_of(judge)
        assert make is not None, "it has code"
        return ask_in_child(make, looks, TIMEOUT_S)

    tasks, hint = (some, _OWN_DATA) if is_scorer else (some[:1], "")
    return _Trial(where, key, path, tasks, ask, judge.gpus_per_replica, hint)


def _why_not_scored(scorer: str, task: Task) -> Wrong | None:
    store = Store(tempfile.gettempdir())
    before = None if task.before is None else store.get_image(task.before)
    try:
        check_scores(load_function(scorer)(before, store.get_image(task.after), task.instruction))
    except RubricError as error:
        return Wrong(error.kind, error.detail)
    except Exception as error:
        return Wrong(type(error).__name__, str(error)[:300])
    return None


def _why_unfit(trial: _Trial) -> str:
    """Return a line about the first record that fails; empty where none does. Raises TimeoutError."""
    try:
        faults = trial.ask(trial.tasks)
    except NotMadeError as error:
        return f"{trial.label}: {error}"
    for task, fault in zip(trial.tasks, faults, strict=True):
        if fault is not None:
            is_named = fault.error.startswith(f"{name_of(trial.path)}.")
            why = fault.error if is_named else f"{fault.kind}: {fault.error}"
            return f"{trial.label}: asked about record {task.id}: {why}{trial.hint}"
    return ""


def _is_ours(task: Task) -> bool:
    """Return whether a record comes with this package."""
    return Path(task.after).is_relative_to(REPO / "recipes")


def _has_images(task: Task) -> bool:
    """Return whether a record's images can be read: one that cannot is no fault of who is asked about it."""
    store = Store(tempfile.gettempdir())
    try:
        for image in (task.before, task.after):
            if image is not None:
                store.get_image(image)
    except (OSError, ValueError):
        return False
    return True


def _count(number: int) -> str:
    return "a record" if number == 1 else f"{number} records"
