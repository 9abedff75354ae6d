"""What the times of a plan come to: a step, the run, GPU hours, what to raise, and the best splits."""

from __future__ import annotations

from collections.abc import Iterator

from actors.generator.config import GeneratorConfig
from actors.generator.kind import kind_of as generator_kind
from actors.generator.kind import resolve as resolve_generator
from actors.judge.config import JudgeConfig
from actors.judge.registry import traits_of
from rl.plan.plan import Plan
from rl.plan.splits import split_of
from rl.recipe.config import Recipe
from rollout.text.counted import counted

_AHEAD = "max_staleness=1 algorithm.loss.rollout_correction=token"


def conclusions(plan: Plan, gpu_usd: float = 0.0) -> Iterator[str]:
    """Yield the lines, for a plan with a prediction; `gpu_usd` is the price of a GPU hour, 0: not known."""
    assert plan.prediction is not None
    step, num_steps = plan.prediction.step_s, plan.recipe.num_steps
    lacks = " if there were room for it" if not plan.fits else ""
    yield (
        f"[bold]{step:.1f} s a step[/]{lacks}, {_hours(step * num_steps)} for {counted(num_steps, 'step')} "
        f"without evaluations; busiest: {_busiest(plan)}"
    )
    if said := _gpu_hours(plan, gpu_usd):
        yield said
    if plan.best is not None:
        split, found = plan.best
        is_own = split == split_of(plan.recipe)
        words = "the recipe's own" if is_own else str(split)
        yield f"best split       {found.step_s:6.1f} s  {words}"
    elif plan.recipe.policy.gpus_per_rank and plan.devices.num_gpus:
        yield "best split       none has room for all roles on these devices"
    if plan.ahead is not None:
        split, found = plan.ahead
        yield f"one step ahead   {found.step_s:6.1f} s  {_AHEAD} {split}"


def gpu_hours(plan: Plan, num_steps: float | None) -> float | None:
    """Return the GPU hours of some steps, on all GPUs of the plan, idle ones too.

    None where the steps or the times are not known, and for a recipe that runs on CPUs.
    """
    if not (num_steps and plan.prediction and plan.placement.num_gpus):
        return None
    return plan.devices.num_gpus * plan.prediction.step_s * num_steps / 3600


def _gpu_hours(plan: Plan, gpu_usd: float) -> str:
    """Return what the run takes of all GPUs, and what it costs; empty where that is not known."""
    run, epoch = gpu_hours(plan, plan.recipe.num_steps), gpu_hours(plan, plan.epoch_steps)
    if run is None:
        return ""

    def told(hours: float) -> str:
        return f"{hours:,.1f}" + (f" (US $ {hours * gpu_usd:,.2f})" if gpu_usd else "")

    of_epoch = f", {told(epoch)} for an epoch" if epoch else ""
    hint = "" if gpu_usd else "; --gpu-price USD adds their cost"
    return f"GPU hours        {told(run)} for the run on {counted(plan.devices.num_gpus, 'GPU')}{of_epoch}{hint}"


def _busiest(plan: Plan) -> str:
    """Return the bottleneck, with the key to raise where it is a service: splits of GPUs do not tell that."""
    assert plan.prediction is not None
    stage = plan.prediction.bottleneck
    key = _key_to_raise(plan.recipe, stage)
    return f"{stage} ({plan.prediction.busy[stage]:.0%}): raise {key}" if key else stage


def _key_to_raise(recipe: Recipe, stage: str) -> str:
    """Return the key that gives a service more places, with what it is now; empty for other stages."""
    if stage == "judge":
        return " and ".join(_of_judge("judge", recipe.judge))
    generator = resolve_generator(recipe.generator)
    return _of_generator(generator) if stage == "generator" else ""


def _of_judge(name: str, judge: JudgeConfig) -> Iterator[str]:
    for number, member in enumerate(judge.member_configs):
        yield from _of_judge(f"{name}.members.{number}", member)
    if not judge.member_configs:
        key = "max_concurrency" if traits_of(judge.kind).has_prices else "num_replicas"
        yield f"{name}.{key} (now {getattr(judge, key)})"


def _of_generator(generator: GeneratorConfig) -> str:
    kind = generator_kind(generator)
    if kind.has_pipeline:
        return ""
    key = "max_concurrency" if kind.has_prices and not generator.server.command else "num_replicas"
    return f"generator.{key} (now {getattr(generator, key)})"


def _hours(seconds: float) -> str:
    """Return a time in words.

    >>> _hours(30), _hours(90), _hours(7200)
    ('1 minute', '2 minutes', '2.0 hours')
    """
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else counted(max(1, round(seconds / 60)), "minute")
