"""TRL's side, a process of TRL's environment: `python -m benchmarks.peer.trl_side ANSWER PART STEPS OVERRIDE...`.

It reads the recipe as ours does and takes the same tasks in the same order. ANSWER is written at the end: what each
step took.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForImageTextToText, AutoProcessor, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from actors.store.store import Store, load_images
from benchmarks.peer.trl_reward import Answer, InProcess, RewardOfRecipe, Waiting
from rl.recipe.config import Recipe
from rl.recipe.paths import model_path, read_prompt, resolve_data
from rl.recipe.reader import load_recipe
from rl.recipe.tasks import read_tasks
from rl.task_sampler import TaskSampler
from rollout.text.critique import render_messages
from rollout.types import Task

MICRO_BATCH = 96
"""Samples of a forward pass; with 24 TRL is as fast."""


class Clock:
    """Seconds of each stage, step by step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self._row: dict[str, float] = {}
        self._mark = time.monotonic()

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self._row[stage] = self._row.get(stage, 0.0) + time.monotonic() - began

    def note(self, name: str, value: float) -> None:
        self._row[name] = value

    def end_step(self) -> None:
        now = time.monotonic()
        self.steps.append(self._row | {"step": now - self._mark})
        self._row, self._mark = {}, now


def main(arguments: Sequence[str]) -> None:
    answer, part, steps, recipe_path, *overrides = arguments
    recipe = load_recipe(recipe_path, overrides)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    clock = Clock()
    trainer = make_trainer(recipe, part, int(steps), clock)
    trainer.train()
    Path(answer).write_text(json.dumps({"steps": clock.steps}), encoding="utf-8")


def make_trainer(recipe: Recipe, part: str, num_steps: int, clock: Clock) -> Any:
    """Return TRL's trainer with the recipe's model, tasks and settings."""
    [tasks] = read_tasks(recipe.data, resolve_data(recipe.data.train))
    draw = TaskSampler(tasks, recipe.rollout, recipe.seed)
    drawn = [task for step in range(1, num_steps + 1) for task in draw.tasks_of(step)]
    folder = model_path(recipe.policy.model, "policy.model")
    model = AutoModelForImageTextToText.from_pretrained(
        folder, dtype=getattr(torch, recipe.policy.dtype), attn_implementation=recipe.policy.attn_implementation
    )
    model.model.visual.requires_grad_(not recipe.policy.freeze_vision)
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=reward_function(recipe, part, drawn, clock),
        args=settings_of(recipe, num_steps),
        train_dataset=data_of(recipe, drawn),
        processing_class=AutoProcessor.from_pretrained(folder),
    )
    generate = trainer._generate

    def timed_generate(*arguments: Any, **options: Any) -> Any:
        with clock.timed("draw"):
            return generate(*arguments, **options)

    trainer._generate = timed_generate
    callback = TrainerCallback()
    callback.on_step_end = lambda *_, **__: clock.end_step()
    trainer.add_callback(callback)
    return trainer


def settings_of(recipe: Recipe, num_steps: int) -> GRPOConfig:
    """Return TRL's settings that say what the recipe says."""
    rollout, policy, loss = recipe.rollout, recipe.policy, recipe.algorithm.loss
    num_micro_batches = rollout.groups_per_step * rollout.n // MICRO_BATCH
    return GRPOConfig(
        output_dir=str(Path(recipe.run_dir)),
        seed=recipe.seed,
        use_cpu=True,
        bf16=False,
        per_device_train_batch_size=MICRO_BATCH,
        gradient_accumulation_steps=num_micro_batches,
        steps_per_generation=num_micro_batches,
        num_generations=rollout.n,
        max_completion_length=rollout.max_tokens,
        temperature=rollout.temperature,
        beta=loss.kl_coef,
        epsilon=loss.clip_low,
        epsilon_high=loss.clip_high,
        learning_rate=policy.lr,
        lr_scheduler_type=policy.lr_schedule,
        warmup_steps=policy.warmup_steps,
        adam_beta1=policy.betas[0],
        adam_beta2=policy.betas[1],
        weight_decay=policy.weight_decay,
        max_grad_norm=policy.max_grad_norm,
        gradient_checkpointing=policy.gradient_checkpointing,
        max_steps=num_steps,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        shuffle_dataset=False,
    )


def data_of(recipe: Recipe, tasks: Sequence[Task]) -> Dataset:
    """Return the tasks as conversations with their pictures; `task` is a task's number."""
    template, store = read_prompt(recipe.rollout.prompt, "rollout.prompt"), Store(recipe.store)
    rows = []
    for number, task in enumerate(tasks):
        prompt = [
            {"role": message["role"], "content": [{"text": None} | part for part in message["content"]]}
            for message in render_messages(template, task)
        ]
        rows.append({"prompt": prompt, "images": load_images(store, (task.before, task.after)), "task": number})
    return Dataset.from_list(rows)


def reward_function(recipe: Recipe, part: str, tasks: Sequence[Task], clock: Clock) -> Callable[..., Any]:
    """Return the reward as TRL calls it: plain for part (a), `async` for part (b)."""
    rewards = RewardOfRecipe(recipe)

    def read(completions: Sequence[Any], task: Sequence[int]) -> list[Answer]:
        answers = [rewards.read(tasks[n], _text(said)) for n, said in zip(task, completions, strict=True)]
        clock.note("edits", len({answer.look for answer in answers} - {None}))
        return answers

    if part == "a":
        judged = InProcess(recipe)

        def reward(completions: Sequence[Any], task: Sequence[int], **_: Any) -> list[float]:
            with clock.timed("reward"):
                answers = read(completions, task)
                scores = judged(answers)
                return [rewards.total(answer, scores) for answer in answers]

        return reward
    waiting = Waiting()

    async def reward_async(completions: Sequence[Any], task: Sequence[int], **_: Any) -> list[float]:
        with clock.timed("reward"):
            answers = read(completions, task)
            scores = await waiting(answers)
            return [rewards.total(answer, scores) for answer in answers]

    return reward_async


def _text(completion: Any) -> str:
    content = completion[0]["content"]
    return content if isinstance(content, str) else "".join(part.get("text") or "" for part in content)


if __name__ == "__main__":
    main(sys.argv[1:])
