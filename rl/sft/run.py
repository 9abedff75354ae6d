"""One cold start from recipe to export: start the actors, train, choose the best weights."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.markup import escape

from actors.adapters import with_room
from actors.config import LossConfig
from actors.image_limit import load_processor
from actors.policy.check import check_policy
from actors.policy.conversation_tokenizer import ConversationTokenizer
from actors.sampler.sampler import Samplers
from actors.store.store import Store
from data.errors import RecordError
from data.records.on_bad import BadRecords, OnBad
from data.records.sft import SftRecord
from rl import checkpoint
from rl.disk_room import check_disk
from rl.full_disk import telling_when_full
from rl.kept_checkpoints import best_checkpoint
from rl.launch import check_launch, launch
from rl.preemption import Preempted
from rl.recipe.paths import found_data, model_path
from rl.recipe.sft_config import SftRecipe
from rl.recipe.tasks import read_sft_records
from rl.run_dir.provenance import write_provenance
from rl.run_dir.resume import check_run_dir, going_on
from rl.sft.best_checkpoint import BestCheckpoint
from rl.sft.evaluation import SftEvaluator
from rl.sft.examples import Conversation, ExampleStream, Order, UnusableRecord, conversation_of, example_of, usable
from rl.sft.log import SftLog
from rl.sft.train import teach
from rl.whole_files import last_step
from rollout.text.counted import counted
from rollout.types import SftExample

if TYPE_CHECKING:
    from actors.policy.policy import Policy

T = TypeVar("T")


@dataclass(frozen=True)
class PreparedSft:
    """A checked recipe, with the records that it names."""

    recipe: SftRecipe
    """Its number of steps is set."""
    training: Sequence[SftRecord]
    heldout: Sequence[SftRecord]
    is_resumed: bool


@dataclass(frozen=True)
class SftStack:
    """Every actor of a run, started."""

    policy: Policy
    samplers: Samplers | None

    async def stats(self) -> dict[str, float]:
        return await self.samplers.stats() if self.samplers else {}


def prepare_sft(recipe: SftRecipe, *, is_resumed: bool = False, accepted: Collection[str] = ()) -> PreparedSft:
    """Check everything that can be wrong with a recipe before it costs anything. Raises ValueError.

    A resumed run may differ from its earlier recipe in the keys in `accepted`.
    """
    data = recipe.data
    check_policy(recipe.policy, model_path(recipe.policy.model, "policy.model"))
    files = found_data(data.train, "data.train"), found_data(data.heldout, "data.heldout")
    training, heldout = read_sft_records(data, *files)
    num_steps = recipe.num_steps or ceil(recipe.num_epochs * len(training) / recipe.batch_size)
    recipe = replace(recipe, num_steps=num_steps)
    check_run_dir(recipe, is_resumed, accepted=accepted)
    check_disk(recipe)
    if is_resumed:
        check_unfinished(recipe)
        BestCheckpoint(recipe, resumed_after=last_step(Path(recipe.run_dir)))  # its notes can be read
    check_launch(recipe)
    return PreparedSft(recipe, training, heldout, is_resumed)


def check_unfinished(recipe: SftRecipe) -> None:
    """Raise ValueError for a run whose last step is learned and whose best weights are exported."""
    run_dir, export = Path(recipe.run_dir), Path(recipe.run_dir) / "export"
    is_exported = (export / "config.json").is_file() and not (run_dir / "best_pending.json").exists()
    if is_exported and last_step(run_dir) == recipe.num_steps:
        raise ValueError(
            f"{run_dir} is finished: its {recipe.num_steps} steps are learned, and {export} is there; to go on, set "
            f"num_steps above {recipe.num_steps}"
        )


async def run_sft(plan: PreparedSft, *, console: Console | None = None) -> Path:
    """Train a model by a recipe and return the folder of its best weights, in Hugging Face format."""
    console = console or Console(highlight=False, soft_wrap=True)
    recipe, start = plan.recipe, time.monotonic()
    write_provenance(recipe)
    console.print(
        f"[bold]{escape(recipe.name)}[/]  {counted(len(plan.training), 'record')}, {len(plan.heldout):,} held out, "
        f"{counted(recipe.num_steps, 'step')} of {recipe.batch_size}; starting the actors ..."
    )
    async with sft_stack(recipe) as actors, telling_when_full(Path(recipe.run_dir)):
        console.print(f"actors are up after {time.monotonic() - start:.0f} s")
        await actors.policy.check_folder(Path(recipe.run_dir))
        done = await checkpoint.resume(recipe, actors.policy) if plan.is_resumed else 0
        if plan.is_resumed:
            console.print(going_on(done, recipe.num_steps))
        best = BestCheckpoint(recipe, resumed_after=done)
        if best.is_due(done):
            await best.export(actors.policy)
        stream, evaluate = await asyncio.to_thread(_with_tokens, plan, actors, done)
        log = await SftLog.start(recipe, resumed_after=done, console=console, stats=actors.stats)
        try:
            await teach(recipe, actors.policy, stream, evaluate, best, log)
        except Preempted as error:
            await checkpoint.save_and_leave(recipe, actors.policy, error)
            raise
        finally:
            await log.close()
    chosen = f"by {recipe.evaluation.best} {best.value:.4g}" if recipe.evaluation.best else "the last ones"
    console.print(f"after {(time.monotonic() - start) / 60:.1f} minutes: weights of step {best.step}, {chosen}")
    if kept := best_checkpoint(recipe):
        console.print(escape(f"best    {kept}"))
    console.print(escape(f"export  {best.folder}"))
    return best.folder


@asynccontextmanager
async def sft_stack(recipe: SftRecipe) -> AsyncIterator[SftStack]:
    """Start the policy and, where answers are measured, samplers; stop them on exit."""
    from actors.policy.policy import Policy  # verl takes seconds to import: only where a policy starts

    model = model_path(recipe.policy.model, "policy.model")
    async with launch(recipe) as job:
        policy, samplers = await job.start(
            policy=Policy.start(
                replace(recipe.policy, model=model, warmup_steps=recipe.num_warmup_steps),
                LossConfig(),
                store_root=job.store_root,
                total_steps=recipe.num_steps,
                temperature=1.0,
                max_pixels=recipe.max_pixels,
            ),
            samplers=Samplers.start(
                with_room(recipe.policy, recipe.samplers),
                model,
                store_root=job.store_root,
                max_pixels=recipe.max_pixels,
            )
            if recipe.evaluation.num_answers
            else None,
        )
        yield SftStack(policy, samplers)


def _with_tokens(plan: PreparedSft, actors: SftStack, done: int) -> tuple[ExampleStream, SftEvaluator]:
    """Return the examples still to be learned, and the evaluation on held-out ones."""
    recipe = plan.recipe
    store = Store(recipe.store)
    maker = ConversationTokenizer(
        load_processor(model_path(recipe.policy.model, "policy.model"), recipe.max_pixels), store
    )

    def make(record: SftRecord) -> SftExample:
        conversation = conversation_of(record, store)
        return maker.make(conversation.messages, conversation.images)

    def make_ahead(record: SftRecord) -> SftExample:
        example = make(record)
        actors.policy.prepare(example.images)
        return example

    def ask(record: SftRecord) -> Conversation:
        conversation = conversation_of(record, store)
        maker.sizes(conversation.images)  # raises if an image cannot be decoded
        return conversation

    max_tokens, on_bad = recipe.policy.max_tokens_per_micro_batch, OnBad(recipe.data.on_bad)
    stream = ExampleStream(
        plan.training,
        make_ahead,
        Order(len(plan.training), recipe.batch_size, recipe.seed),
        steps=range(done + 1, recipe.num_steps + 1),
        max_tokens=max_tokens,
        is_skipping=on_bad is OnBad.SKIP,
    )
    examples, questions = heldout_of(plan, lambda record: example_of(record, make, max_tokens), ask)
    return stream, SftEvaluator(recipe, actors.policy, actors.samplers, examples=examples, questions=questions)


def heldout_of(
    plan: PreparedSft, make: Callable[[SftRecord], SftExample], ask: Callable[[SftRecord], Conversation]
) -> tuple[list[SftExample], list[Conversation]]:
    """Return the held-out examples and questions; report unusable records, or raise `RecordError`, by `on_bad`."""
    settings, file = plan.recipe.evaluation, plan.recipe.data.heldout
    bad = BadRecords(OnBad(plan.recipe.data.on_bad))

    def made(places: Iterable[int], what: Callable[[SftRecord], T]) -> Iterator[tuple[int, T]]:
        for place in places:
            try:
                yield place, what(plan.heldout[place])
            except UnusableRecord as error:
                bad.add(error)

    places = heldout_places(len(plan.heldout), max(settings.num_losses or len(plan.heldout), settings.num_answers))
    # A record with a broken image can be neither, and is counted once.
    asked = dict(made(places, lambda record: usable(record, ask)))
    examples = dict(made((place for place in places[: settings.num_losses or None] if place in asked), make))
    questions = [asked[place] for place in places[: settings.num_answers] if place in asked]
    if bad.num:
        print(f"{file}: {bad.summary()}", file=sys.stderr)
    if not examples or (settings.num_answers and not questions):
        raise RecordError("file", f"{file} holds no record that can be measured: {bad.summary()}")
    return list(examples.values()), questions


def heldout_places(num_records: int, num_wanted: int) -> list[int]:
    """Return indices spread evenly over a file, the same in every run; all of them if there are fewer than wanted.

    >>> heldout_places(10, 4), heldout_places(2, 4)
    ([0, 2, 5, 7], [0, 1])
    """
    count = min(num_records, num_wanted)
    return [index * num_records // count for index in range(count)]
