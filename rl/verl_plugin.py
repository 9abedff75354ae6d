"""Our rollout inside verl's own trainers: an agent loop that verl's configuration names (docs/verl.md).

    verl: a prompt, n times ─▶ CriticLoop.run ─▶ the first of them: SingleStep.roll_out ─▶ ledger
                                   │                 each response by verl's own loop and servers,
                                   │                 image, scores and reward by ours
                                   └─ each: its response with its reward; none where its sample failed

verl learns from what a loop returns. A sample that failed, and a group with too few valid ones, return nothing: they
are in neither baseline nor loss. So it is in verl's trainers of version 1, the asynchronous ones among them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopOutput
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

from actors.started_once import started_once
from actors.store.store import Store, load_images
from rl.batch import is_enough, is_masked
from rl.recipe.config import Recipe
from rl.recipe.reader import load_recipe
from rl.services import TRAIN, Services, start_services, tasks_of
from rollout.roles import SamplerError
from rollout.text.messages import Message
from rollout.text.seeds import seed_of
from rollout.types import Group, GroupRequest, Phase, Response, SampleRequest, Task

Draw = Callable[[SampleRequest], Awaitable[AgentLoopOutput]]
"""Draws one response by verl's servers."""


@dataclass(frozen=True)
class Place:
    """Where in verl's run a response belongs."""

    group: str
    """verl's `uid`: one for all responses of a prompt."""
    index: int
    """Which of them, from 0: verl's `session_id`."""
    step: int
    """The step that it was asked for."""
    split: str
    row: int
    """Number of the record in the recipe's file."""
    task_id: str

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Place:
        """Read what verl hands to a loop. Raises ValueError for a trainer or a data set that does not fit."""
        if missing := [name for name in ("uid", "session_id", "global_steps") if name not in asked]:
            raise ValueError(f"verl's trainer names no {missing[0]}: expected one of version 1 (trainer.use_v1=true)")
        info = asked.get("extra_info") or {}
        if missing := [name for name in ("split", "index", "task_id") if name not in info]:
            raise ValueError(f"a row of the data has no extra_info.{missing[0]}: make them by `interleave data verl`")
        step, row = int(asked["global_steps"]), int(info["index"])
        return cls(str(asked["uid"]), int(asked["session_id"]), step, str(info["split"]), row, str(info["task_id"]))

    @property
    def is_training(self) -> bool:
        return self.split == TRAIN


@dataclass
class DrawnByVerl:
    """The `Sampler` of one group: verl draws, and what it said of each response is kept, by its seed."""

    draw: Draw
    decode: Callable[[Sequence[int]], str]
    end_of_turn: int
    outputs: dict[int, AgentLoopOutput] = field(default_factory=dict)

    async def sample(self, request: SampleRequest) -> Response:
        """Return a response. Raises `SamplerError` for one without a token: verl ended the request."""
        output = await self.draw(request)
        if not output.response_ids:
            raise SamplerError("verl's server drew no token: it ended the request")
        self.outputs[request.seed] = output
        return Response(
            prompt_token_ids=output.prompt_ids,
            token_ids=output.response_ids,
            text=self.decode(output.response_ids),
            logprobs=output.response_logprobs or (),
            policy_version=output.extra_fields.get("min_global_steps") or 0,
            is_truncated=output.response_ids[-1] != self.end_of_turn,
        )


class GroupRollouts:
    """The groups of one process: the first response that verl asks for begins its group, the others wait for it."""

    def __init__(self, services: Services, tasks: Mapping[str, Sequence[Task]]):
        """`tasks` are the recipe's, by their split."""
        self._services, self._tasks = services, tasks
        self._groups: dict[str, asyncio.Task[tuple[Group, DrawnByVerl]]] = {}
        self._num_answered: Counter[str] = Counter()

    async def output(self, place: Place, n: int, sampler: DrawnByVerl) -> list[AgentLoopOutput]:
        """Return what verl learns from a response of a group of `n`: one output, or none where there is no reward.

        Of the samplers that are offered for a group the first one draws all of it.
        """
        if place.index >= n:
            raise ValueError(
                f"verl asks for response {place.index} of a group of {n}; groups of other sizes are not made"
            )
        if place.group not in self._groups:
            self._groups[place.group] = asyncio.create_task(self._roll_out(place, n, sampler))
        try:
            group, drawn = await asyncio.shield(self._groups[place.group])
        finally:
            self._num_answered[place.group] += 1
            if self._num_answered[place.group] == n:
                del self._groups[place.group], self._num_answered[place.group]
        return self._learned_from(group, drawn, place)

    async def _roll_out(self, place: Place, n: int, sampler: DrawnByVerl) -> tuple[Group, DrawnByVerl]:
        request = self._request(place, n)
        group = await replace(self._services.journey, sampler=sampler).roll_out(request)
        await self._services.ledger.record(request, group)  # before verl has it: what is learned from is on disk
        return group, sampler

    def _request(self, place: Place, n: int) -> GroupRequest:
        """Return what our own training or evaluation would ask of the task."""
        task, recipe = self._task(place), self._services.recipe
        if place.is_training:
            if n != recipe.rollout.n:  # which says how many valid samples are enough
                raise ValueError(f"verl's rollout.n is {n}, the recipe's {recipe.rollout.n}; give both the same")
            edit_seed = seed_of(recipe.seed, "edit", task.id)
            return GroupRequest(task, n, seed_of(recipe.seed, "sample", place.step), (edit_seed,), step=place.step)
        seed = recipe.evaluation.seed
        edit_seeds = tuple(seed_of(seed, "edit", task.id, i) for i in range(n))
        return GroupRequest(task, n, seed_of(seed, "sample"), edit_seeds, Phase.DURING, place.step)

    def _task(self, place: Place) -> Task:
        tasks = self._tasks[place.split]
        if place.row >= len(tasks) or (task := tasks[place.row]).id != place.task_id:
            raise ValueError(
                f"record {place.row} of {place.split} is not {place.task_id}: the recipe's records have changed since "
                "verl's data were made of them; make them again by `interleave data verl`"
            )
        return task

    def _learned_from(self, group: Group, drawn: DrawnByVerl, place: Place) -> list[AgentLoopOutput]:
        sample, recipe = group.samples[place.index], self._services.recipe
        if sample.reward is None or (place.is_training and not is_enough(group, recipe)):
            return []
        output = drawn.outputs[sample.seed]
        output.reward_score = sample.reward.total
        output.extra_fields["reward_extra_info"] = dict(sample.reward.terms)
        if is_masked(sample, recipe):
            output.response_mask = [0] * len(output.response_mask)
        return [output]


class CriticLoop(SingleTurnAgentLoop):
    """verl's loop of one turn, whose answers are tried out, judged and rewarded as in our own training."""

    def __init__(self, *args: object, recipe: str, **kwargs: object):
        """`recipe` is a path, which the file of agent.agent_loop_config_path names; the rest is verl's."""
        super().__init__(*args, **kwargs)
        self._recipe = _recipe(recipe)

    async def run(self, sampling_params: dict[str, object], **asked: object) -> list[AgentLoopOutput]:
        """Return one response with its reward, or none. What verl does not fit is a ValueError."""
        place = Place.of(asked)
        rollouts = await _rollouts(self._recipe, place.step if place.is_training else place.step + 1)
        n = self.rollout_config.n if place.is_training else self.rollout_config.val_kwargs.n
        draw_one = super().run

        async def draw(request: SampleRequest) -> AgentLoopOutput:
            # Other servers than vLLM's have no such parameter, or call it otherwise.
            seeded = {"seed": request.seed % (1 << 63)} if self.rollout_config.name == "vllm" else {}
            output: AgentLoopOutput = await draw_one(
                sampling_params | seeded, **asked | {"raw_prompt": _prompt(request)}
            )
            return output

        decode = partial(self.tokenizer.decode, skip_special_tokens=True)
        return await rollouts.output(place, n, DrawnByVerl(draw, decode, self.tokenizer.eos_token_id))

    async def process_multi_modal_info(self, messages: list[Message]) -> dict[str, object]:
        """Return the images that a prompt names by their references, read as all of ours reads them."""
        refs = tuple(part["image"] for message in messages for part in message["content"] if part["type"] == "image")
        return {"images": await asyncio.to_thread(load_images, Store(self._recipe.store), refs)}


def _prompt(request: SampleRequest) -> list[Message]:
    """Return a request's messages with the references of their images in place."""
    images = iter(request.images)

    def named(part: Message) -> Message:
        return part | {"image": next(images)} if part["type"] == "image" else part

    return [message | {"content": [named(part) for part in message["content"]]} for message in request.messages]


@cache
def _recipe(path: str) -> Recipe:
    return load_recipe(path)


_of_process: dict[str, asyncio.Task[GroupRollouts]] = {}
"""verl makes a loop for each response: what those of a process share, by the run's folder."""


async def _rollouts(recipe: Recipe, first_step: int) -> GroupRollouts:
    if recipe.run_dir not in _of_process:
        _of_process[recipe.run_dir] = asyncio.create_task(_join(recipe, first_step))
    return await asyncio.shield(_of_process[recipe.run_dir])


async def _join(recipe: Recipe, first_step: int) -> GroupRollouts:
    nobody = DrawnByVerl(_nobody, str, 0)
    name = f"interleave-{Path(recipe.run_dir).resolve()}"
    services = await started_once(name, partial(start_services, recipe, nobody, first_step))
    return GroupRollouts(services, await asyncio.to_thread(tasks_of, recipe))


async def _nobody(request: SampleRequest) -> AgentLoopOutput:
    raise AssertionError("each group brings the sampler that draws it")
