"""Judges, generator and evidence of the user's own, asked about records of the run before anything starts.

Each is asked in a process of its own, which is killed if it takes too long (`actors.user_classes.trial`); a scorer that
comes with this package is trusted and asked here, about records that do not. One that may need a GPU is not tried, and
that is said.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

from actors.evidence.kind import kind_of as evidence_kind
from actors.generator.kind import kind_of as generator_kind
from actors.judge.judge import kind_of as judge_kind
from actors.notice import notify
from actors.store.store import Store
from actors.user_classes.trial import TIMEOUT_S, Code, NotMadeError, Wrong, ask_in_child
from rewards.functions.import_path import is_ours, load_function, name_of
from rewards.judging.rubric import check_scores
from rl.plan.judges import judges_asked
from rl.recipe.config import REPO, Recipe
from rollout.text.foreign import error_text
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
    code: Code
    tasks: Sequence[Task]
    request: Callable[[Task], EditRequest | ScoreRequest]
    """What a run would ask about a task."""
    num_gpus: float
    hint: str = ""

    @property
    def key(self) -> str:
        return f"{self.where}.{self.code.key}"

    @property
    def label(self) -> str:
        return f"{self.key} is {self.code.path!r}"

    def ask(self) -> list[Wrong | None]:
        """Return what is wrong with each task's answer."""
        if self.code.key == "scorer" and is_ours(self.code.path):
            return [_why_not_scored(self.code.path, task) for task in self.tasks]
        return ask_in_child(self.code.make, [self.request(task) for task in self.tasks], TIMEOUT_S)


@dataclass(frozen=True)
class Tried:
    """What was asked, and what was left to the run, each in words."""

    tried: tuple[str, ...]
    left: tuple[str, ...]


def try_own(recipe: Recipe, training: Sequence[Task], heldout: Sequence[Task]) -> Tried:
    """Ask judges, generator and evidence of the user's own once. Blocks.

    Raises ValueError with a line for each that fails: its key, the record and the error. One that does not answer in
    time is told on stderr, and is the run's own affair: it may be slow.
    """
    tried, left, wrong = [], [], []
    for trial in _trials(recipe, training, heldout):
        if trial.num_gpus or not trial.tasks:
            why = "it has GPUs" if trial.num_gpus else "no record with its images is here"
            left.append(f"what {trial.key} answers ({why})")
            continue
        try:
            found = _why_unfit(trial)
        except TimeoutError as error:
            notify(f"{trial.label}: {error}; starting all the same ({trial.where}.probe=false does not ask)")
            left.append(f"what {trial.key} answers ({error})")
            continue
        if found:
            wrong.append(f"{found} ({trial.where}.probe=false starts without asking)")
        tried.append(f"{name_of(trial.code.path)} ({trial.key}) on {_count(len(trial.tasks))}")
    if wrong:
        raise ValueError("\n".join(wrong))
    return Tried(tuple(tried), tuple(left))


def _trials(recipe: Recipe, training: Sequence[Task], heldout: Sequence[Task]) -> Iterator[_Trial]:
    first = [task for tasks in (training, heldout) for task in islice(tasks, NUM_RECORDS)]

    @cache
    def here() -> list[Task]:
        """Read only where somebody is asked: most runs use nothing of the user's own."""
        return [task for task in first if _has_images(task)]

    for where, judge in judges_asked(recipe):
        code = judge_kind(judge).code_of(judge) if judge.probe else None
        if code is None or (is_ours(code.path) and all(map(_is_ours, first))):  # they ship together
            continue
        tasks, hint = (here(), _OWN_DATA) if code.key == "scorer" else (here()[:1], "")
        yield _Trial(where, code, tasks, _score, judge.gpus_per_replica, hint)
    for name, evidence in recipe.evidence.items():
        code = evidence_kind(evidence).code_of(evidence) if evidence.probe else None
        if code is not None and not is_ours(code.path):
            yield _Trial(f"evidence.{name}", code, here()[:1], _score, evidence.gpus_per_replica)
    generator = recipe.generator
    if generator.probe and generator.kind and (code := generator_kind(generator).code_of(generator)) is not None:
        yield _Trial("generator", code, here()[:1], _edit, generator.gpus_per_replica)


def _score(task: Task) -> ScoreRequest:
    return ScoreRequest(task.before, task.after, task.instruction)


def _edit(task: Task) -> EditRequest:
    return EditRequest(task.before, task.prompt, _SEED)


def _why_not_scored(scorer: str, task: Task) -> Wrong | None:
    store = Store(tempfile.gettempdir())
    before = None if task.before is None else store.get_image(task.before)
    try:
        check_scores(load_function(scorer)(before, store.get_image(task.after), task.instruction))
    except RubricError as error:
        return Wrong(error.kind, error.detail)
    except Exception as error:
        return Wrong(type(error).__name__, error_text(error)[:300])
    return None


def _why_unfit(trial: _Trial) -> str:
    """Return a line about the first record that fails; empty where none does. Raises TimeoutError."""
    try:
        faults = trial.ask()
    except NotMadeError as error:
        return f"{trial.label}: {error}"
    for task, fault in zip(trial.tasks, faults, strict=True):
        if fault is not None:
            is_named = fault.error.startswith((f"{name_of(trial.code.path)}.", fault.kind))
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
