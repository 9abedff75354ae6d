"""A small part of a public benchmark beside RL: what the critic of now makes of the generator's images, by the judge.

    every k steps ─▶ items ─▶ generator ⇄ critic ─▶ judge ─▶ benchmark/<name>/... in a row of its own

There is no planner: the generator is asked as the benchmark asks, and the critic corrects it. Training does not wait:
the weights may change meanwhile, and the row says which versions answered.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from actors.judge.judge import kind_of
from actors.judge.question import Asker
from actors.store.store import Store
from evals.official.alone import one_step
from evals.official.benchmark import Benchmark, Form, Item
from evals.official.figures import ours
from evals.official.registry import load_benchmark
from rl.official.judging import Jury
from rl.official.outputs import OutputLog, Telling, leniencies_in, make_outputs
from rl.official.prepare import read_items, read_prompts, spread
from rl.recipe.benchmark_config import BenchmarkConfig
from rl.tracking.rl_log import Log
from rollout.agents import FunctionPlanner, ModelCritic
from rollout.roles import Sampler
from rollout.single_step import SingleStep
from rollout.stages import describe
from rollout.storyline import Storyline
from rollout.text.readers import CONTRACT, AnswerReader
from rollout.types import Response, SampleRequest

MAX_FAILURE_SHARE = 0.5


@dataclass(frozen=True)
class Part:
    """A part of a benchmark, checked."""

    config: BenchmarkConfig
    benchmark: Benchmark
    items: Sequence[Item]
    prompts: Mapping[str, str]


def prepare_part(config: BenchmarkConfig, store: Store) -> Part:
    """Read what is run beside training. Raises ValueError."""
    benchmark = load_benchmark(config.name)
    if benchmark.form is Form.STORY:
        raise ValueError(f"benchmark.name is {config.name}, which asks for stories; RL has no planner to plan them")
    kind_of(config.judge).check(config.judge, "benchmark.judge")
    items = spread(read_items(benchmark, Path(config.data), store), config.limit)
    return Part(config, benchmark, items, read_prompts(benchmark, Path(config.prompts)))


@dataclass
class Versions:
    """A sampler that notes which versions of the policy answered."""

    sampler: Sampler
    seen: set[int] = field(default_factory=set)

    async def sample(self, request: SampleRequest) -> Response:
        """Return what the sampler does."""
        response = await self.sampler.sample(request)
        self.seen.add(response.policy_version)
        return response


class SideBenchmark:
    """Those of one run, one at a time."""

    def __init__(
        self,
        part: Part,
        journey: SingleStep,
        asker: Asker,
        folder: Path,
        *,
        store: Store,
        log: Log,
        answers: AnswerReader = CONTRACT,
    ):
        self._answers = answers
        self._part, self._journey, self._asker, self._folder = part, journey, asker, folder
        self._store, self._log = store, log
        self._running: asyncio.Task[None] | None = None

    def begin(self, step: int) -> None:
        """Begin that of a step, if one is due and the one before it is over."""
        if step % self._part.config.every:
            return
        if self._running is not None and not self._running.done():
            self._log.warn(f"the benchmark of step {step} is left out: that of an earlier step is still under way")
            return
        self._running = asyncio.create_task(self._run(step), name=f"benchmark of step {step}")

    async def end(self, *, is_waited_for: bool) -> None:
        """Wait for the one that is under way, or cancel it."""
        if self._running is None:
            return
        if not is_waited_for:
            self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self, step: int) -> None:
        """Log the figures of a step. Whatever goes wrong is told, and training is none the worse for it."""
        try:
            values = await self.figures(step)
        except Exception as error:
            self._log.warn(f"the benchmark of step {step} has no figures: {describe(error)}")
            return
        await self._log.beside(values, step)

    async def figures(self, step: int) -> dict[str, float]:
        """Return the metrics of the critic as it is now. Raises `BudgetSpent`, `RunStopped`."""
        part, config = self._part, self._part.config
        sampler = Versions(self._journey.sampler)
        critic = ModelCritic(sampler, self._journey.template, self._journey.params)
        planner, generator = FunctionPlanner(one_step), self._journey.generator
        line = Storyline(planner, generator, critic, tries=config.tries, answers=self._answers)
        telling = Telling(line.tell, part.benchmark.form, config.seed, config.at_once, MAX_FAILURE_SHARE)
        log = OutputLog(self._folder / f"step_{step:06d}")
        outputs = await make_outputs(part.items, telling, log, self._store, _say)
        jury = Jury(part.benchmark, part.prompts, self._asker, self._store, config.at_once, MAX_FAILURE_SHARE)
        judged, _ = await jury.judge(part.items, outputs, _say)
        found = ours(part.benchmark, judged)
        values = {"failed_share": len(found.failed) / found.num_items}
        values["leniencies"] = float(leniencies_in(outputs.values()).total())
        if found.overall is not None:
            values |= {"overall": found.overall.value, "low": found.overall.low, "high": found.overall.high}
        if sampler.seen:
            values |= {"first_version": float(min(sampler.seen)), "last_version": float(max(sampler.seen))}
        bill = await self._asker.stats()
        values |= {name.rpartition("/")[2]: amount for name, amount in bill.items() if name.endswith("/usd")}
        return {f"benchmark/{config.name}/{name}": value for name, value in values.items()}


def _say(what: str, done: int, of: int) -> None:
    pass
