"""A run's steps as events, without any overhead: what the recipe's rules and the times of its stages come to.

    samples of a group ─▶ sampler's place ─▶ response ─▶ generator's place ─▶ image ─▶ judge's places ─▶ scores
    all groups of a step, and the steps before it ─▶ update ─▶ publish ─▶ step + 1 + max_staleness may start

The rules are those of `rl.stream`, `rollout.single_step` and `actors.rollout_worker`.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean

from rl.plan.rules import Rules
from rl.plan.stage_times import StageTimes, Work

Action = Callable[[], None]
STAGES = ("samplers", "generator", "judge", "policy")


@dataclass(frozen=True)
class Simulated:
    """What a run came to; the warm steps are left out of all figures but `ends`."""

    ends: tuple[float, ...]
    """When each step, warm ones included, was updated and published (seconds from the start)."""
    warm_steps: int
    busy: Mapping[str, float]
    """Share of the counted time in which the places of a stage (`STAGES`) were taken."""
    seconds: float
    """From the end of the last warm step to the end of the last step."""
    sample_seconds: Mapping[str, float]
    """How long a sample is at samplers, generator and judge, waiting included: means over all that get there."""

    @property
    def step_seconds(self) -> float:
        """Mean of the counted steps."""
        return self.seconds / (len(self.ends) - self.warm_steps)

    @property
    def bottleneck(self) -> str:
        """The busiest stage."""
        return max(self.busy, key=self.busy.__getitem__)


def simulate(rules: Rules, times: StageTimes, num_steps: int, warm_steps: int = 0) -> Simulated:
    """Run so many counted steps after the warm ones, and end. Raises ValueError for rules that nothing can run by."""
    if rules.is_serial and rules.max_staleness:
        raise ValueError("a serial run does not sample ahead: max_staleness has to be 0")
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; expected 1 or more")
    run = _Run(rules, times, warm_steps + num_steps, warm_steps)
    run.begin()
    start = run.ends[warm_steps - 1] if warm_steps else 0.0
    busy = {name: station.busy_share(start, run.ends[-1]) for name, station in run.stations.items()}
    return Simulated(tuple(run.ends), warm_steps, busy, run.ends[-1] - start, run.sample_seconds())


class _Clock:
    """Does what is due, in the order of time; what is due at one time, in the order in which it was said."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Action]] = []
        self._count = 0

    def after(self, seconds: float, action: Action) -> None:
        self._count += 1
        heapq.heappush(self._due, (self.now + seconds, self._count, action))

    def run(self) -> None:
        while self._due:
            self.now, _, action = heapq.heappop(self._due)
            action()


@dataclass
class _Station:
    """Equal places that work is done at, first come, first served."""

    clock: _Clock
    num_places: int
    batch_size: int = 1
    num_taken: int = 0
    waiting: deque[tuple[Hashable, float, Action]] = field(default_factory=deque)
    worked: list[tuple[float, float]] = field(default_factory=list)
    """When each batch began and ended."""

    def enter(self, seconds: float, done: Action, kind: Hashable = None) -> None:
        """Do work as soon as there is a place; what waits and is of its kind may share the place."""
        self.waiting.append((kind, seconds, done))
        if self.batch_size == 1:
            self._begin()
        else:  # what comes at the same time may share a batch
            self.clock.after(0.0, self._begin)

    def busy_share(self, start: float, end: float) -> float:
        """Return the share of all places that was taken in a span of time."""
        worked = sum(max(0.0, min(end, till) - max(start, since)) for since, till in self.worked)
        return worked / ((end - start) * self.num_places) if end > start else 0.0

    def _begin(self) -> None:
        while self.waiting and self.num_taken < self.num_places:
            batch = self._batch()
            seconds = sum(one[1] for one in batch)
            self.num_taken += 1
            self.worked.append((self.clock.now, self.clock.now + seconds))
            self.clock.after(seconds, partial(self._end, batch))

    def _batch(self) -> list[tuple[Hashable, float, Action]]:
        if self.batch_size == 1:
            return [self.waiting.popleft()]
        batch = [one for one in self.waiting if one[0] == self.waiting[0][0]][: self.batch_size]
        for one in batch:
            self.waiting.remove(one)
        return batch

    def _end(self, batch: list[tuple[Hashable, float, Action]]) -> None:
        self.num_taken -= 1
        self._begin()
        for _, _, done in batch:
            done()


@dataclass
class _Gate:
    """Places that are held for as long as it takes, first come, first served."""

    num_free: int
    waiting: deque[Action] = field(default_factory=deque)

    def enter(self, go: Action) -> None:
        self.waiting.append(go)
        self._let_in()

    def leave(self) -> None:
        self.num_free += 1
        self._let_in()

    def _let_in(self) -> None:
        while self.waiting and self.num_free:
            self.num_free -= 1
            self.waiting.popleft()()


class _Run:
    """Steps on their way. Every method but `begin` is an event."""

    def __init__(self, rules: Rules, times: StageTimes, num_steps: int, warm_steps: int):
        self._rules, self._times, self._num_steps, self._warm_steps = rules, times, num_steps, warm_steps
        self._clock = clock = _Clock()
        self._workers = _Gate(rules.groups_per_step if rules.is_serial else rules.groups_in_flight)
        self._samplers = _Station(clock, rules.sampler_places)
        self._generator = _Station(clock, rules.generator_places, rules.batch_size)
        self._judge = _Station(clock, rules.judge_places)
        self._policy = _Station(clock, 1)
        self.stations = dict(zip(STAGES, (self._samplers, self._generator, self._judge, self._policy), strict=True))
        self._left: dict[Hashable, int] = {}
        self._held_back: list[Action] = []
        self._rolled_out: set[int] = set()
        self._stays: dict[str, list[float]] = {name: [] for name in STAGES[:3]}
        self.ends: list[float] = []

    def begin(self) -> None:
        """Run to the end of the last step."""
        for step in range(1, self._rules.max_staleness + 2):
            self._start(step)
        self._clock.run()

    def sample_seconds(self) -> dict[str, float]:
        """Return how long a sample is at each stage."""
        return {name: fmean(stays) if stays else 0.0 for name, stays in self._stays.items()}

    def _start(self, step: int) -> None:
        if step > self._num_steps:
            return
        rules = self._rules
        self._left[step] = rules.groups_per_step
        self._left["responses", step] = rules.groups_per_step * rules.n
        for task in range(rules.groups_per_step):
            self._workers.enter(partial(self._roll_out, step, task))

    def _roll_out(self, step: int, task: int) -> None:
        self._left[step, task] = self._rules.n
        for sample in range(self._rules.n):
            seconds = self._times.seconds(Work.SAMPLE, step, task, sample)
            self._samplers.enter(seconds, partial(self._responded, step, task, sample, self._clock.now))

    def _responded(self, step: int, task: int, sample: int, since: float) -> None:
        self._stayed("samplers", step, since)
        if not self._rules.is_serial:
            self._try_out(step, task, sample)
            return
        self._held_back.append(partial(self._try_out, step, task, sample))
        if self._is_last(("responses", step)):
            held_back, self._held_back = self._held_back, []
            for go in held_back:
                go()

    def _try_out(self, step: int, task: int, sample: int) -> None:
        if not self._times.has_edit(step, task, sample):
            self._finish(step, task)
            return
        seconds = self._times.seconds(Work.GENERATE, step, task, sample)
        done = partial(self._look, step, task, sample, self._clock.now)
        self._generator.enter(seconds, done, kind=(step, task))

    def _look(self, step: int, task: int, sample: int, since: float) -> None:
        self._stayed("generator", step, since)
        calls = self._rules.judge_calls
        self._left[step, task, sample] = calls
        for call in range(calls):
            seconds = self._times.seconds(Work.JUDGE, step, task, sample, call)
            self._judge.enter(seconds, partial(self._judged, step, task, sample, self._clock.now))

    def _judged(self, step: int, task: int, sample: int, since: float) -> None:
        if self._is_last((step, task, sample)):
            self._stayed("judge", step, since)
            self._finish(step, task)

    def _finish(self, step: int, task: int) -> None:
        """A sample is complete: maybe the last of its group, and that the last of its step."""
        if self._is_last((step, task)):
            self._workers.leave()
            if self._is_last(step):
                self._rolled_out.add(step)
                self._learn(step)

    def _learn(self, step: int) -> None:
        """Learn from a step once it is its turn."""
        if step not in self._rolled_out or step != len(self.ends) + 1:
            return
        seconds = sum(self._times.seconds(work, step) for work in (Work.UPDATE, Work.PUBLISH))
        self._policy.enter(seconds, partial(self._advance, step))

    def _advance(self, step: int) -> None:
        self.ends.append(self._clock.now)
        self._start(step + 1 + self._rules.max_staleness)
        self._learn(step + 1)

    def _stayed(self, stage: str, step: int, since: float) -> None:
        if step > self._warm_steps:
            self._stays[stage].append(self._clock.now - since)

    def _is_last(self, key: Hashable) -> bool:
        self._left[key] -= 1
        if self._left[key]:
            return False
        del self._left[key]
        return True
