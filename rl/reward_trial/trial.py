"""Try a reward of one's own before it teaches anybody: on gold and broken samples, or on a run's ledger."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from actors.user_functions.process import RewardProcess, reward_names_in
from rewards.compose import RewardError, TermConfig, WeightedSum
from rewards.functions.sample_cases import Case, best_to_worst
from rewards.signature import RewardSignature
from rollout.types import Stage

OWN_TERMS = WeightedSum(
    [
        TermConfig("rewards.format.is_parsed", name="format"),
        TermConfig("rewards.accuracy.is_right", name="accuracy"),
        TermConfig("rewards.stepwise.semantic_gain"),
        TermConfig("rewards.stepwise.quality_gain"),
    ]
)
"""What a new reward is compared with."""
_MAX_LOST = {"hung": 3, "died": 2}
"""So many samples of a kind that takes the function's process down, and it is not asked any more."""
_MAX_REPEATS = 50
"""Samples that are asked about twice."""
_USUAL = (-1.0, 2.0)
"""Built-in terms are in [-1, 1] or [0, 1]; one far outside drowns them."""


@dataclass(frozen=True)
class TrialVerdict:
    """What a function made of one sample: a number, or the failure that it would be."""

    case: Case
    value: float | None
    kind: str = ""
    error: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Trial:
    """A function, and its verdicts on all samples that it was asked about."""

    fn: str
    traits: RewardSignature
    start_s: float
    verdicts: tuple[TrialVerdict, ...]
    num_unlike: int
    """Samples on which a second call returned another number."""
    is_given_up: bool
    """It hung, or took its process down, so often that it was not asked about the rest."""
    weight: float = 1.0
    """The term's in a recipe: negative for a penalty."""

    @property
    def values(self) -> np.ndarray:
        """The numbers returned, in order of the samples that got one."""
        return np.array([verdict.value for verdict in self.verdicts if verdict.value is not None])

    @property
    def failures(self) -> list[TrialVerdict]:
        return [verdict for verdict in self.verdicts if verdict.value is None]

    @property
    def is_good(self) -> bool:
        """Whether every sample that parses got a number, and some of those that do not."""
        return not any(failure.case.is_parsed for failure in self.failures) and not self.is_lost_on_unparsable

    @property
    def is_lost_on_unparsable(self) -> bool:
        """Whether it fails on all answers that do not parse: training would leave them out, and none be punished."""
        unparsable = [verdict for verdict in self.verdicts if not verdict.case.is_parsed]
        return bool(unparsable) and all(verdict.value is None for verdict in unparsable)

    def kinds(self) -> dict[str, tuple[int, str]]:
        """Return how many samples failed by kind, each with an example."""
        counts = Counter(failure.kind for failure in self.failures)
        return {kind: (count, next(f.error for f in self.failures if f.kind == kind)) for kind, count in counts.items()}

    def milliseconds(self) -> tuple[float, float]:
        """Return mean and 95th percentile of a call, the way to its process and back included."""
        spent = [1e3 * verdict.seconds for verdict in self.verdicts if verdict.value is not None]
        return (float(np.mean(spent)), float(np.percentile(spent, 95))) if spent else (np.nan, np.nan)

    def correlations(self) -> dict[str, float]:
        """Return Pearson's correlation with each of our terms; nan where one of the two is constant."""
        given = [verdict for verdict in self.verdicts if verdict.value is not None]
        rewards = [OWN_TERMS(verdict.case.evidence).terms for verdict in given]
        return {name: _correlation(self.values, [terms[name] for terms in rewards]) for name in OWN_TERMS.weights}

    def order(self) -> dict[str, float]:
        """Return the numbers of the samples that differ by the image alone, the best image first."""
        values = {verdict.case.name: verdict.value for verdict in self.verdicts}
        named = {name: values.get(name) for name in best_to_worst()}
        return {name: value for name, value in named.items() if value is not None}

    def warnings(self) -> Iterator[str]:
        """Yield what is likely to be a mistake."""
        values = self.values
        if len(values) > 1 and np.ptp(values) == 0:
            yield f"it returned {values[0]:g} for every sample: a constant teaches nothing"
        elif len(values) and not (_USUAL[0] <= values.min() and values.max() <= _USUAL[1]):
            yield (
                f"it ranges from {values.min():g} to {values.max():g}; other terms are in [0, 1]: "
                "scale it, or it drowns them"
            )
        if self.num_unlike:
            yield (
                f"a second call returned another number for {self.num_unlike} samples: time or chance is in it, "
                "so a run cannot be repeated or rescored"
            )
        yield from self._warnings_about_unparsable()
        order = [value * self.weight for value in self.order().values()]
        if len(order) == len(best_to_worst()) and order != sorted(order, reverse=True):
            yield "a better image does not always earn more; fine for a reward that does not look at it"

    def _warnings_about_unparsable(self) -> Iterator[str]:
        if any(not failure.case.is_parsed for failure in self.failures):
            yield (
                "it fails on answers that do not parse: their samples would be left out, not punished; "
                "return the worst value where evidence.critique is None"
            )
        by_parsed: dict[bool, list[float]] = {True: [], False: []}
        for verdict in self.verdicts:
            if verdict.value is not None:
                by_parsed[verdict.case.is_parsed].append(verdict.value * self.weight)
        if not all(by_parsed.values()):
            return
        unparsable, parsed = max(by_parsed[False]), by_parsed[True]
        if self.weight < 0 and unparsable > max(parsed):
            yield f"an answer that does not parse loses {-unparsable:g}, one that does at least {-max(parsed):g}"
        elif self.weight > 0 and unparsable > min(parsed):
            yield (
                f"an answer that does not parse may earn {unparsable:g}, one that does {min(parsed):g}: with a "
                "positive weight an answer that cannot be parsed should never pay; for a penalty say --weight -0.1"
            )


def functions_of(target: str) -> tuple[list[str], dict[str, str]]:
    """Return the functions that `FILE[:function]` or an import path names, as in a recipe; all of a file or module.

    With them, why other functions of a file or module are not taken for rewards, by their names.

    Raises ValueError when there are none.
    """
    if ":" in target:
        return [target], {}
    try:
        names, skipped = reward_names_in(target)
    except RewardError as error:
        if target.endswith(".py") or "." not in target or "cannot import" not in error.detail:
            raise ValueError(f"{target}: {error.detail}") from None
        return [target], {}  # no module: a function in one
    if not names:
        raise ValueError(
            f"{target} has no public function that looks like a reward: "
            "`def brevity(evidence: Evidence) -> float`; name one that is there as FILE:function"
            + "".join(f"; {name}: {why}" for name, why in skipped.items())
        )
    mark = ":" if target.endswith(".py") else "."
    return [f"{target}{mark}{name}" for name in names], skipped


async def try_reward(term: TermConfig, cases_for: Callable[[RewardSignature], Sequence[Case]]) -> Trial:
    """Ask a function about every sample, one after the other. Raises `RewardError` when it cannot be imported.

    `cases_for` returns the samples for a function with these traits: gold ones need the evidence it looks at.
    """
    process = RewardProcess(term)
    try:
        began = time.monotonic()
        traits = await process.start()
        start_s = time.monotonic() - began
        cases = cases_for(traits)
        verdicts: list[TrialVerdict] = []
        for case in cases:
            verdicts.append(await _ask(process, case))
            kinds = Counter(verdict.kind for verdict in verdicts)
            if any(kinds[kind] == most for kind, most in _MAX_LOST.items()):
                break
        repeated = [verdict for verdict in verdicts if verdict.value is not None][:_MAX_REPEATS]
        again = [(await _ask(process, verdict.case)).value for verdict in repeated]
    finally:
        process.close()
    num_unlike = sum(verdict.value != value for verdict, value in zip(repeated, again, strict=True))
    return Trial(term.fn, traits, start_s, tuple(verdicts), num_unlike, len(verdicts) < len(cases), term.weight)


def ledger_cases(run_dir: Path, limit: int) -> list[Case]:
    """Return samples of a run that reached their reward, evenly chosen. Raises ValueError when there are none."""
    from rl.run_dir.read import groups_of, steps_of  # late: it imports verl, which gold samples can do without

    cases = [
        Case(f"{rows[0]['phase']} {rows[0]['step']}, {sample.task_id} #{sample.index}", sample.evidence)
        for rows in steps_of(run_dir)
        for group in groups_of(rows)
        for sample in group.samples
        if sample.evidence is not None and (sample.failure is None or sample.failure.stage is Stage.REWARD)
    ]
    if not cases:
        raise ValueError(f"the ledger of {run_dir} holds no sample that came as far as its reward")
    chosen = np.unique(np.linspace(0, len(cases) - 1, min(limit, len(cases))).round().astype(int))
    return [cases[index] for index in chosen]


async def _ask(process: RewardProcess, case: Case) -> TrialVerdict:
    await process.start()  # the one before may have taken it down
    began = time.perf_counter()
    try:
        value = await process(case.evidence)
    except RewardError as error:
        return TrialVerdict(case, None, error.kind, error.detail)
    return TrialVerdict(case, value, seconds=time.perf_counter() - began)


def _correlation(one: np.ndarray, other: Sequence[float]) -> float:
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])
