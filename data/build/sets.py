"""Make the sets of a build from its trajectories, in two passes that hold only a few numbers per record."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from actors.store.files import naming
from actors.store.store import Store
from data.build import records
from data.build.candidates import (
    Candidate,
    IsSuccess,
    Sides,
    attempt_candidate,
    plan_candidate,
    why_no_plan,
    why_no_sft,
    why_no_task,
)
from data.build.card import Card, Source
from data.build.choose import select_records
from data.build.records import ImageFolder, Keep
from data.build.rules import CriticSetConfig, PlannerSetConfig, RlSetConfig, SetConfig
from data.errors import RecordError
from data.records.on_bad import BadRecords
from data.split import SIDES
from rollout.types import Trajectory

Trajectories = Callable[[], Iterable[tuple[int, Trajectory]]]
"""Reads the trajectories from the start, each with its request's number, in the order of the numbers."""


@dataclass(frozen=True)
class Rules:
    """Everything that decides what is written."""

    planner_sft: PlannerSetConfig
    critic_sft: CriticSetConfig
    critic_rl: RlSetConfig
    sequences: SetConfig
    sides: Sides
    is_success: IsSuccess
    planner_template: str
    critic_template: str


@dataclass
class _Set:
    """One set while it is made."""

    name: str
    rules: SetConfig
    candidates: Callable[[Trajectory, int], Iterator[Candidate | str]]
    """(trajectory, request's number) -> candidates, and the names of the rules that the rest fail."""
    record: Callable[[Trajectory, int, Keep], dict[str, object]]
    found: list[Candidate] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    chosen: dict[str, list[Candidate]] = field(default_factory=dict)

    def look_at(self, trajectory: Trajectory, number: int) -> None:
        for candidate in self.candidates(trajectory, number):
            if isinstance(candidate, str):
                self.dropped[candidate] += 1
            else:
                self.found.append(candidate)

    def choose(self, side: str, heldout_prompts: set[int]) -> None:
        self.chosen[side] = select_records(self.found, side, self.rules, self.dropped, heldout_prompts=heldout_prompts)


class Tally:
    """Counts how far a build's requests got."""

    def __init__(self, bad: BadRecords, where: Callable[[int], str]):
        self._bad = bad
        self._where = where
        self.stages: Counter[str] = Counter()

    def look_at(self, trajectory: Trajectory, number: int, is_success: IsSuccess) -> None:
        attempts = trajectory.attempts
        self.stages["requests walked"] += 1
        self.stages["plans read"] += trajectory.plan is not None
        if trajectory.plan is not None:
            self.stages["steps planned"] += len(trajectory.plan.steps)
            self.stages["of them texts alone"] += sum(step.is_text_only for step in trajectory.plan.steps)
        judged = [attempt.scores for attempt in attempts if attempt.scores is not None]
        self.stages["attempts judged"] += len(judged)
        if len(judged) < len(attempts):
            self.stages["attempts not judged"] += len(attempts) - len(judged)
        self.stages["attempts that succeeded"] += sum(map(is_success, judged))
        self.stages["attempts criticised"] += sum(attempt.critique is not None for attempt in attempts)
        self.stages["steps accepted"] += len(trajectory.accepted)
        self.stages["trajectories complete"] += trajectory.is_complete
        if failure := trajectory.failure:
            error = RecordError(f"{failure.stage}.{failure.kind}", failure.error)
            self._bad.add(error.at(f"{self._where(number)}: {failure.stage}"))


def make_sets(
    trajectories: Trajectories, rules: Rules, tally: Tally, source: Source, *, bad: BadRecords, store: Store, out: Path
) -> list[Card]:
    """Write `<out>/<set>/train.jsonl`, `heldout.jsonl`, `images/` and the set's card, for each set of the rules.

    An existing set is replaced. The files depend only on the trajectories and the rules.
    """
    sets = [one for one in _sets(rules) if one.rules.is_made]
    for number, trajectory in trajectories():
        tally.look_at(trajectory, number, rules.is_success)
        for one in sets:
            one.look_at(trajectory, number)
    # Held-out sides first: their prompts must not be on a training side of any set for the same model.
    heldout: dict[str, set[int]] = {}
    for one in sets:
        one.choose("heldout", set())
        heldout.setdefault(_family(one), set()).update(candidate.prompt for candidate in one.chosen["heldout"])
    for one in sets:
        one.choose("train", heldout[_family(one)])
    unfinished = {one.name: out / f".{one.name}.unfinished" for one in sets}
    for folder in unfinished.values():
        shutil.rmtree(folder, ignore_errors=True)
    with naming(out):
        _write(trajectories, sets, unfinished, store)
    cards = []
    for one in sets:
        card = Card(one.name, source, dict(tally.stages), dict(sorted(bad.counts.items())), bad.examples)
        card.candidates, card.dropped, card.records = len(one.found), dict(one.dropped), _counts(one)
        with naming(out):
            card.write(unfinished[one.name])
        _replace(out / one.name, unfinished[one.name])
        cards.append(card)
    return cards


def _write(trajectories: Trajectories, sets: list[_Set], folders: Mapping[str, Path], store: Store) -> None:
    """Write the chosen records, in the order of the requests."""
    places = {one.name: {c.place: side for side in SIDES for c in one.chosen[side]} for one in sets}
    items: dict[str, dict[int, list[int]]] = {one.name: {} for one in sets}
    for name, chosen in places.items():
        for number, item in sorted(chosen):
            items[name].setdefault(number, []).append(item)
    keeps = {name: ImageFolder(store, folder).keep for name, folder in folders.items()}
    files = {
        (name, side): (folder / f"{side}.jsonl").open("w", encoding="utf-8")
        for name, folder in folders.items()
        for side in SIDES
    }
    try:
        for number, trajectory in trajectories():
            for one in sets:
                for item in items[one.name].get(number, ()):
                    record = one.record(trajectory, item, keeps[one.name])
                    files[one.name, places[one.name][number, item]].write(json.dumps(record) + "\n")
    finally:
        for file in files.values():
            file.close()


def _sets(rules: Rules) -> list[_Set]:
    def plans(trajectory: Trajectory, number: int) -> Iterator[Candidate | str]:
        yield why_no_plan(trajectory, rules.planner_sft) or plan_candidate(trajectory, number, rules.sides)

    def sequences(trajectory: Trajectory, number: int) -> Iterator[Candidate | str]:
        yield plan_candidate(trajectory, number, rules.sides) if trajectory.is_complete else "not_complete"

    def attempts(
        why: Callable[[Trajectory, int, Any, IsSuccess], str],
        config: CriticSetConfig,
        is_rl: bool,
        trajectory: Trajectory,
        number: int,
    ) -> Iterator[Candidate | str]:
        is_for = rules.sides.is_for(trajectory.request, rl=is_rl)
        for place in range(len(trajectory.attempts)):
            reason = why(trajectory, place, config, rules.is_success) if is_for else "other_set"
            yield reason or attempt_candidate(trajectory, place, number, rules.sides, rules.is_success)

    def task(trajectory: Trajectory, item: int, keep: Keep) -> dict[str, object]:
        is_success = rules.is_success(trajectory.attempts[item].judged)
        return records.rl_record(trajectory, item, keep, is_success=is_success)

    def plan(trajectory: Trajectory, item: int, keep: Keep) -> dict[str, object]:
        return records.planner_record(trajectory, rules.planner_template, keep)

    def example(trajectory: Trajectory, item: int, keep: Keep) -> dict[str, object]:
        return records.critic_record(trajectory, item, rules.critic_template, keep)

    def sequence(trajectory: Trajectory, item: int, keep: Keep) -> dict[str, object]:
        return records.sequence_record(trajectory, keep)

    return [
        _Set("planner_sft", rules.planner_sft, plans, plan),
        _Set("critic_sft", rules.critic_sft, partial(attempts, why_no_sft, rules.critic_sft, False), example),
        _Set("critic_rl", rules.critic_rl, partial(attempts, why_no_task, rules.critic_rl, True), task),
        _Set("sequences", rules.sequences, sequences, sequence),
    ]


def _family(one: _Set) -> str:
    """Return the model that learns from a set: a held-out prompt is held out from all sets of that model."""
    return one.name.partition("_")[0]


def _counts(one: _Set) -> dict[str, dict[str, int]]:
    wanted = {"train": one.rules.num_train, "heldout": one.rules.num_heldout}
    counts: dict[str, dict[str, int]] = {}
    for side in SIDES:
        chosen = one.chosen[side]
        counts[side] = {"records": len(chosen), "wanted": wanted[side]}
        if any(candidate.is_success is not None for candidate in chosen):
            counts[side]["failed"] = sum(candidate.is_success is False for candidate in chosen)
    return counts


def _replace(folder: Path, unfinished: Path) -> None:
    # The old set is moved away, not deleted, until the new one is in its place.
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    unfinished.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
