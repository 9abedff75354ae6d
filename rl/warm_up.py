"""`interleave data rewrite`: a checkpoint's own answers to its tasks, in the contract's form, as records for SFT.

The form alone is taught: verdict, prompt and thought are what the checkpoint said. Asked several times about each task,
it is taught to look, too: an answer is kept whose verdict is right (rejection sampling, as in arXiv 2308.01825).
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from actors.config import PolicyConfig, SamplerConfig
from actors.image_limit import MODEL_PIXELS
from actors.resources import Role
from actors.sampler.sampler import Samplers
from data.build.records import CANVAS
from data.records.rl import VERSION
from rl.answer_counts import AnswerCounts
from rl.atomic_write import atomic_write
from rl.launch import check_launch, launch
from rl.recipe.config import DataConfig, Recipe, RolloutConfig
from rl.recipe.jobs import JobRecipe
from rl.recipe.paths import found_data, model_path, read_prompt
from rl.recipe.reader import load_as
from rl.recipe.tasks import read_tasks
from rollout.agents import critic_request
from rollout.concurrency import all_of
from rollout.roles import Sampler, SamplerError
from rollout.text.critique import format_critique, render_messages
from rollout.text.limits import PositiveInt, Seed
from rollout.text.marks import IMAGE_MARK, special_tokens_in
from rollout.text.messages import as_texts
from rollout.text.seeds import seed_of
from rollout.types import Critique, SamplingParams, Task

SIDES = ("train", "heldout")
_IN_FLIGHT = 256
_HELDOUT_SHARE = 10
"""Training tasks for one held-out task."""


@dataclass(frozen=True)
class RewriteRecipe(JobRecipe):
    """What is read of a recipe of RL: the policy as it is, how it is asked, and its tasks."""

    seed: Seed = 0
    max_pixels: PositiveInt = MODEL_PIXELS
    data: DataConfig = field(default_factory=DataConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    samplers: SamplerConfig = field(default_factory=SamplerConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.samplers.check_answers(self.rollout.max_tokens, "rollout.max_tokens")

    @property
    def roles(self) -> Mapping[str, Role]:
        return {"samplers": self.samplers}


def load_rewrite_recipe(path: Path, overrides: list[str]) -> RewriteRecipe:
    """Read a recipe of RL and leave out what rewriting does not need. Raises ValueError."""
    ours = {one.name for one in fields(RewriteRecipe)}
    return load_as(RewriteRecipe, path, overrides, without={one.name for one in fields(Recipe)} - ours)


async def rewrite(recipe: RewriteRecipe, out: Path, num_tasks: int, *, num_answers: int = 1) -> dict[str, AnswerCounts]:
    """Write `train.jsonl` and `heldout.jsonl` and return how each side's answers were read.

    `num_tasks` training tasks (0: all) are asked about, and a tenth as many held-out ones, `num_answers` times each
    (`rewritten`). Raises ValueError for what can be wrong before anything starts.
    """
    if num_answers < 1:
        raise ValueError(f"--answers is {num_answers}; expected 1 or more")
    if num_answers > 1 and recipe.rollout.temperature == 0:
        raise ValueError(f"--answers is {num_answers} and rollout.temperature 0: greedy answers are all the same")
    files = {side: out / f"{side}.jsonl" for side in SIDES}
    if taken := next((file for file in files.values() if file.exists()), None):
        raise ValueError(f"{taken} exists; name another folder with --out, or remove it")
    template = read_prompt(recipe.rollout.prompt, "rollout.prompt")
    model = model_path(recipe.policy.model, "policy.model")
    data = recipe.data
    tasks = read_tasks(data, found_data(data.train, "data.train"), found_data(data.heldout, "data.heldout"))
    render_messages(template, tasks[0][0])
    check_launch(recipe)
    out.mkdir(parents=True, exist_ok=True)
    counts = {}
    params = SamplingParams(recipe.rollout.temperature, recipe.rollout.max_tokens)
    async with launch(recipe) as job:
        (samplers,) = await job.start(
            samplers=Samplers.start(
                recipe.samplers, model, store_root=job.store_root, max_pixels=recipe.max_pixels, is_published=False
            )
        )
        limits = (num_tasks, -(-num_tasks // _HELDOUT_SHARE))
        for (side, file), of_side, limit in zip(files.items(), tasks, limits, strict=True):
            asked = of_side[: limit or None]
            records, counts[side] = await rewritten(samplers, asked, template, params, recipe.seed, num_answers)
            lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
            await asyncio.to_thread(atomic_write, file, "".join(lines))
    return counts


async def rewritten(
    sampler: Sampler, tasks: Sequence[Task], template: str, params: SamplingParams, seed: int, num_answers: int = 1
) -> tuple[list[dict[str, object]], AnswerCounts]:
    """Return the records of the answers that can be read, in the order of their tasks, and how all were read.

    At most one a task: its answer, or of several the first whose verdict is the task's label.
    """
    counts, limit = AnswerCounts(), asyncio.Semaphore(_IN_FLIGHT)

    async def answer(task: Task, number: int) -> str | None:
        own = (task.id, number) if number else (task.id,)
        try:
            async with limit:
                asked = critic_request(template, task, params, seed_of(seed, "rewrite", *own))
                return (await sampler.sample(asked)).text
        except SamplerError:
            return None

    async def answers(task: Task) -> list[str | None]:
        return await all_of(answer(task, number) for number in range(num_answers))

    records = []
    for task, texts in zip(tasks, await all_of(map(answers, tasks)), strict=True):
        critiques = [counts.read(text, task) for text in texts if text is not None]
        wanted = (one for one in critiques if one and (num_answers == 1 or one.is_success == task.is_success))
        if (critique := next(wanted, None)) is not None and (record := _record(task, critique, template)) is not None:
            records.append(record)
    return records, counts


def _record(task: Task, critique: Critique, template: str) -> dict[str, object] | None:
    """Return the SFT record of an answer; None for a text that no record may hold."""
    said = format_critique(critique)
    if any(IMAGE_MARK in text for text in (task.instruction, task.prompt, said)) or special_tokens_in(said):
        return None
    return {
        "id": task.id,
        "version": VERSION,
        "messages": [*as_texts(render_messages(template, task)), {"role": "assistant", "content": said}],
        "images": [CANVAS if task.before is None else task.before, task.after],
        "source_prompt": task.instruction,
    }
