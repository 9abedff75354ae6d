"""One build of data: turn every request into a trajectory, then make the sets. Existing trajectories are kept."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path

from actors.generator.generator import Generator
from actors.generator.kind import check_generator, kind_of
from actors.generator.probe import probe_generator
from actors.judge.judge import check_judge, start_judge
from actors.judge.probe import probe_judges
from actors.notice import notify
from actors.store.store import Store
from actors.teacher.teacher import read_template
from data.build.candidates import SideOfStep, Sides
from data.build.card import Card, Source
from data.build.requests import has_images, open_requests, read_requests
from data.build.sets import Rules, Tally, make_sets
from data.build.trajectory_log import TrajectoryLog, request_digest
from data.errors import RecordError
from data.formats.raw import Records
from data.public.import_records import IMPORTED
from data.records.image_paths import ImageRules, parse_prefixes
from data.records.on_bad import BadRecords, OnBad
from rl.data_build.config import BuildRecipe, is_resumable_change
from rl.data_build.judge_imported import judge_imported
from rl.data_build.side_of_step import side_of_step
from rl.data_build.teachers import ROLES, asked_of, check_teachers, starting
from rl.launch import check_launch, launch
from rl.recipe.jobs import JobRecipe
from rl.recipe.paths import found_data, placed_generator, resolve_path
from rl.recipe.resumable import ACCEPT
from rl.run_dir.provenance import Sources, write_provenance
from rl.run_dir.resume import check_changes
from rl.whole_files import explained
from rollout.collect import TrajectoryCollector
from rollout.types import Failure, Request, Trajectory

NUM_RECENT = 50
"""Most recent trajectories, over which the share of failures is taken."""
NUM_FIRST = 50
"""Requests looked at before a build starts, to check that the generator can draw them."""
_OF_THIS_MACHINE = (*(one.name for one in fields(JobRecipe) if one.name != "name"), "run_dir", "in_flight")


class BuildStopped(RuntimeError):
    """Calls failed for too many of the recent requests; finished work is kept."""


@dataclass(frozen=True)
class Build:
    """A checked recipe, with everything that can be read before anything starts."""

    recipe: BuildRecipe
    records: Records
    sources: Sources
    side_of_step: SideOfStep | None

    @property
    def out(self) -> Path:
        return Path(self.recipe.run_dir)

    @property
    def store(self) -> Store:
        return Store(self.recipe.store)


def prepare_build(recipe: BuildRecipe, accepted: Collection[str] = ()) -> Build:
    """Check everything that can be wrong with a recipe before it costs anything. Raises ValueError.

    A resumed build may differ from its earlier recipe in the keys in `accepted`.
    """
    teachers = check_teachers(recipe)
    check_launch(recipe)
    records = open_requests(found_data(recipe.requests.file, "requests.file"))
    if next(iter(records), None) is None:
        raise RecordError("file", f"requests.file is {recipe.requests.file}, which holds no request")
    sources = {
        **teachers,
        "generator": _describe_generator(recipe, records),
        "judge": check_judge(recipe.judge),
    }
    side = recipe.split.side
    build = Build(recipe, records, sources, side_of_step(side, Store(recipe.store)) if side else None)
    is_first = (build.out / IMPORTED).exists() and not (build.out / "recipe.yaml").exists()
    if not (is_first or TrajectoryLog(build.out / "trajectories").is_empty()):
        check_changes(recipe, sources, accepted, is_resumable_change)
    return build


async def run_build(build: Build, progress: Callable[[str, float, int], None]) -> list[Card]:
    """Carry out the remaining requests and make the sets. Raises `BuildStopped`, `BudgetSpent`, `RecordError`."""
    recipe = build.recipe
    await probe_judges({"judge": recipe.judge} | asked_of(recipe), without_images=("planner.ask",))
    await probe_generator(placed_generator(recipe.generator))
    write_provenance(recipe, build.sources)
    log = TrajectoryLog(build.out / "trajectories")
    bad = BadRecords(OnBad(recipe.on_bad))
    async with collector_of(recipe) as collector:
        numbers = await collect_all(build, collector, log, bad, progress)
        if not numbers:
            raise RecordError("file", f"{recipe.requests.file} holds no request that is good: {bad.summary()}")
        if (build.out / IMPORTED).exists():
            await _judge(build, collector, log, numbers, bad)
        return await asyncio.to_thread(_make, build, log, numbers, bad)


def make_sets_only(recipe: BuildRecipe) -> list[Card]:
    """Make the sets from the trajectories that are there, of a build or an import; nothing is started.

    Raises ValueError where there are none of the requests, or their images are gone.
    """
    out, roles = Path(recipe.run_dir), (*ROLES, "generator", "judge")
    known = explained(out)
    side = recipe.split.side
    build = Build(
        recipe,
        open_requests(found_data(recipe.requests.file, "requests.file")),
        {role: known[role] for role in roles if role in known},
        side_of_step(side, Store(recipe.store)) if side else None,
    )
    bad, log = BadRecords(OnBad(recipe.on_bad)), TrajectoryLog(out / "trajectories")
    numbers = {request_digest(request): number for number, request in _requests(build, bad)}
    done, lost = log.done(build.store)
    if lost & numbers.keys():
        raise ValueError(f"images of {len(lost):,} requests are not in the store {build.store.place}; set store=...")
    if not done & numbers.keys():
        raise ValueError(f"{out} holds no trajectory of a request in {recipe.requests.file}; set run_dir=...")
    return _make(build, log, numbers, bad)


async def collect_all(
    build: Build,
    collector: TrajectoryCollector,
    log: TrajectoryLog,
    bad: BadRecords,
    progress: Callable[[str, float, int], None],
) -> dict[int, int]:
    """Carry out the unfinished requests, a few at a time; return the number of every request by its digest."""
    recipe, records = build.recipe, build.records
    done, lost = await asyncio.to_thread(log.done, build.store)
    if lost:
        notify(
            f"{len(lost):,} requests are carried out again: some of their images are no longer in {build.store.place}"
        )
    numbers: dict[int, int] = {}
    stream = _requests(build, bad)
    reading = asyncio.Lock()
    recent: deque[bool] = deque(maxlen=NUM_RECENT)

    async def next_request() -> Request | None:
        async with reading:
            while (found := await asyncio.to_thread(next, stream, None)) is not None:
                number, request = found
                digest = request_digest(request)
                numbers[digest] = number
                progress("requests", records.position / max(records.size, 1), len(numbers))
                if digest not in done:
                    return request
        return None

    async def work() -> None:
        while (request := await next_request()) is not None:
            trajectory = await collector(request)
            if trajectory.failure is not None and bad.on_bad is OnBad.RAISE:
                raise _located(trajectory.failure, records.where(numbers[request_digest(request)]))
            await log.append(trajectory)
            _check_share(recent, trajectory, recipe.max_failure_share)

    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(recipe.in_flight):
                workers.create_task(work())
    except* Exception as errors:
        raise _first(errors) from None
    return numbers


async def _judge(
    build: Build, collector: TrajectoryCollector, log: TrajectoryLog, numbers: dict[int, int], bad: BadRecords
) -> None:
    """Have what was imported judged."""
    recent: deque[bool] = deque(maxlen=NUM_RECENT)
    places = {digest: build.records.where(number) for digest, number in numbers.items()}
    try:
        await judge_imported(
            log,
            collector.judge,
            places,
            bad,
            in_flight=build.recipe.in_flight,
            note=lambda trajectory: _check_share(recent, trajectory, build.recipe.max_failure_share),
        )
    except* Exception as errors:
        raise _first(errors) from None


@asynccontextmanager
async def collector_of(recipe: BuildRecipe) -> AsyncIterator[TrajectoryCollector]:
    """Start generator, judge and teachers; stop them on exit."""
    async with launch(recipe) as job:
        planner, critic, expert, generator, judge = await job.start(
            **starting(recipe, job),
            generator=Generator.start(
                placed_generator(recipe.generator), job.store_root, f"generator-{job.run_id}", job.ledger
            ),
            judge=start_judge(recipe.judge, job.store_root, f"judge-{job.run_id}", job.ledger),
        )
        yield TrajectoryCollector(
            planner, critic, generator, judge, recipe.collect, recipe.success, recipe.seed, expert
        )


def _make(build: Build, log: TrajectoryLog, numbers: dict[int, int], bad: BadRecords) -> list[Card]:
    recipe = build.recipe
    sides = Sides(recipe.split, recipe.seed, build.side_of_step)
    rules = Rules(
        recipe.planner_sft,
        recipe.critic_sft,
        recipe.critic_rl,
        recipe.sequences,
        sides,
        recipe.success,
        read_template(recipe.planner, "planner").text,
        read_template(recipe.critic, "critic").text,
    )
    ordered = sorted(numbers, key=numbers.__getitem__)

    def trajectories() -> Iterator[tuple[int, Trajectory]]:
        return ((numbers[request_digest(trajectory.request)], trajectory) for trajectory in log.read(ordered))

    tally = Tally(bad, build.records.where)
    tally.stages["requests read"] = len(numbers)
    settings = {name: value for name, value in asdict(recipe).items() if name not in _OF_THIS_MACHINE}
    source = Source(recipe.name, recipe.seed, build.sources, settings)
    return make_sets(trajectories, rules, tally, source, bad=bad, store=build.store, out=build.out)


def _requests(build: Build, bad: BadRecords) -> Iterator[tuple[int, Request]]:
    config = build.recipe.requests
    root = resolve_path(config.image_root) if config.image_root else None
    rules = ImageRules(root=root, prefixes=parse_prefixes(config.prefixes))
    for count, found in enumerate(read_requests(build.records, build.store, bad, rules), 1):
        yield found
        if count == config.limit:
            return


def _describe_generator(recipe: BuildRecipe, records: Records) -> dict[str, str]:
    """Check the generator; return what its images depend on."""
    # A request without images starts with text-to-image. For one with images that depends on its plan.
    first = [raw.value for raw in islice(records, NUM_FIRST) if isinstance(raw.value, dict)]
    is_from_text = bool(first) and not any(map(has_images, first))
    config = recipe.generator
    resolved = check_generator(placed_generator(config), [None] if is_from_text else [])
    return kind_of(resolved).describe(resolved, config.model or resolved.model)


def _check_share(recent: deque[bool], trajectory: Trajectory, limit: float) -> None:
    failure = trajectory.failure
    has_failed = failure is not None and not failure.is_final
    recent.append(has_failed)
    if failure is not None and has_failed and len(recent) == NUM_RECENT and sum(recent) > limit * NUM_RECENT:
        raise BuildStopped(
            f"calls failed for {sum(recent)} of the last {NUM_RECENT} requests, the last time at {failure.stage}: "
            f"{failure.error}; finished work is kept; fix it, then rerun the same command{ACCEPT}"
        )


def _located(failure: Failure, where: str) -> RecordError:
    return RecordError(f"{failure.stage}.{failure.kind}", failure.error, where=f"{where}: {failure.stage}")


def _first(errors: BaseExceptionGroup) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
