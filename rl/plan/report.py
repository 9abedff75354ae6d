"""A plan for people: short tables; and for machines, as JSON."""

from __future__ import annotations

from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rl.notices import notices
from rl.plan.cards import GIB
from rl.plan.conclusions import conclusions, gpu_hours
from rl.plan.cost import Calls
from rl.plan.memory import RoleMemory
from rl.plan.placement import Placed
from rl.plan.plan import Plan
from rl.plan.splits import split_of
from rl.plan.stage_times import Work
from rollout.text.counted import counted

_WORK_OF_STAGE = {
    "samplers": ("a response", Work.SAMPLE),
    "generator": ("an image", Work.GENERATE),
    "judge": ("a call", Work.JUDGE),
    "policy": ("an update", Work.UPDATE),
}


def print_plan(plan: Plan, console: Console, command: str = "", gpu_usd: float = 0.0) -> None:
    """Print all that is known, what is missing last.

    `command` is one with options to advise, if this one has none; `gpu_usd` is the price of a GPU hour, 0: not known.
    """
    console.print(f"[bold]{escape(plan.recipe.name)}[/] on {plan.devices}")
    console.print(_placement_table(plan))
    for lack in plan.placement.lacks:
        console.print(f"[red]too few GPUs[/]  {escape(str(lack))}")
    if said := _unused(plan):
        console.print(f"[yellow]unused[/]  {escape(said)}")
    if plan.memory:
        console.print(_memory_table(plan))
    for name in plan.sizes.unknown:
        console.print(f"[yellow]size not known[/]  {escape(name)}: no config.json here, and not in the kept table")
    console.print(_calls_table(plan))
    console.print(_tasks(plan))
    for call in plan.calls:
        if call.missing_price:
            console.print(f"[yellow]no price[/]  {call.service}: set {call.missing_price} to know what its calls cost")
    _print_times(plan, console, command, gpu_usd)
    for notice in notices(plan.recipe, plan.num_heldout):
        console.print(f"[yellow]notice[/]  {escape(notice)}")
    for one in plan.missing:
        kind = "[red]missing[/]" if one.is_needed else "[yellow]not here[/]"
        console.print(f"{kind}  {escape(str(one))}")


def _table(title: str, *columns: str) -> Table:
    """Return an empty table whose first column, and those that end in a dot, are texts."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        is_text = number == 0 or column.endswith(".")
        table.add_column(column.removesuffix("."), justify="left" if is_text else "right")
    return table


def _placement_table(plan: Plan) -> Table:
    table = _table("who is where", "role", "processes", "on.")
    for one in plan.placement.placed:
        table.add_row(one.key, str(one.count), _spots(one, plan.devices.num_nodes))
    return table


def _spots(one: Placed, num_nodes: int) -> str:
    if not one.gpus:
        return "CPU"
    node = f"node {one.node}, " if num_nodes > 1 else ""
    return f"{node}GPU {', '.join(str(gpu) for gpu in dict.fromkeys(one.gpus))}"


def _unused(plan: Plan) -> str:
    """Return how many GPUs are left over, with the overrides of the split that is best; empty where a recipe takes all.

    Empty, too, for a recipe that runs on CPUs, and where there are too few for a role.
    """
    if not plan.placement.num_gpus or plan.placement.lacks or not plan.unused_gpus:
        return ""
    said = f"{plan.unused_gpus} of {plan.devices.num_gpus} GPUs"
    if plan.best is None:
        return said
    split = plan.best[0]
    return f"{said}; " + (
        "no other split is faster" if split == split_of(plan.recipe) else f"the best split is {split}"
    )


def _memory_table(plan: Plan) -> Table:
    largest = max(role.num_bytes for role in plan.memory)
    unit, names = (GIB, "GiB") if largest > 2 * GIB else (2**20, "MiB")
    what = "a GPU" if plan.recipe.policy.gpus_per_rank else "a process"
    title = f"memory of {what}, {names} (~ estimated)"
    table = _table(title, "role", "all", "has", "parts.", "note.")
    for role in plan.memory:
        colour = "" if role.fits else "[red]"
        limit = f"{role.limit / unit:.1f}" if role.limit else "-"
        parts = ", ".join(
            f"{part.name} {'' if part.is_exact else '~'}{part.num_bytes / unit:.1f}" for part in role.parts
        )
        table.add_row(role.role, f"{colour}{role.num_bytes / unit:.1f}", limit, parts, _note(role))
    return table


def _note(role: RoleMemory) -> str:
    return "too large" + (f": {role.note}" if role.note else "") if not role.fits else role.note


def _calls_table(plan: Plan) -> Table:
    table = _table(
        "calls (those that the store answers included)", "of", "a step", "an epoch", "the run", "US $", "budget."
    )
    for one in plan.calls:
        epoch = f"{one.per_step * plan.epoch_steps:,.0f}" if plan.epoch_steps else "-"
        dollars = f"{one.usd_per_run:,.2f}" if one.is_priced else "no price" if one.missing_price else "-"
        row = f"{one.per_step:,.0f}", epoch, f"{one.per_run:,.0f}", dollars, _budget(one, plan.recipe.num_steps)
        table.add_row(one.service, *row)
    return table


def _budget(one: Calls, num_steps: int) -> str:
    if one.budget_steps is None:
        return "none"
    word = "enough" if one.budget_steps >= num_steps else f"spent after step {one.budget_steps:,.0f}"
    return f"{word} of {num_steps:,}" if word != "enough" else word


def _tasks(plan: Plan) -> str:
    tasks = "no training records here, so no epoch"
    if plan.num_tasks and plan.epoch_steps:
        tasks = f"{counted(plan.num_tasks, 'record')}, an epoch is {counted(round(plan.epoch_steps), 'step')}"
    return f"{tasks}; {plan.workload.edited_share:.0%} of the responses are tried out"


def _print_times(plan: Plan, console: Console, command: str, gpu_usd: float) -> None:
    if plan.stages is None or plan.prediction is None:
        is_known = plan.sizes.policy is not None
        words = ["give", command] if command else ["give"]
        words.append("--gpus 8 --gpu H100, or --times RUN" if is_known else "--times RUN")
        why = "neither card nor run tells them" if is_known else "the size of policy.model is not known"
        console.print(f"no times: {why}; {' '.join(words)}")
        return
    table = _table("times, seconds", "stage", "of.", "mean", "busy", "by.")
    for stage, (name, work) in _WORK_OF_STAGE.items():
        if work in plan.stages.spreads:
            mean, busy = plan.stages.spreads[work].mean, plan.prediction.busy[stage]
            table.add_row(stage, name, f"{mean:.2f}", f"{busy:.0%}", plan.stages.sources.get(stage, ""))
    publish = plan.stages.spreads[Work.PUBLISH].mean
    table.add_row("", "a publish", f"{publish:.2f}", "", plan.stages.sources.get("publish", ""))
    console.print(table)
    for line in conclusions(plan, gpu_usd):
        console.print(line)


def as_json(plan: Plan, gpu_usd: float = 0.0) -> dict[str, object]:
    """Return the plan as plain values; bytes and seconds are not rounded. `gpu_usd` is the price of a GPU hour."""
    run_hours = gpu_hours(plan, plan.recipe.num_steps)
    devices = asdict(plan.devices) | {"card": plan.devices.card and plan.devices.card.name}
    stages = plan.stages and {
        "seconds": {work.value: spread.mean for work, spread in plan.stages.spreads.items()},
        "sources": dict(plan.stages.sources),
    }
    splits = {"best": plan.best, "one_step_ahead": plan.ahead}
    return {
        "recipe": plan.recipe.name,
        "devices": devices,
        "fits": plan.fits,
        "placement": [asdict(one) for one in plan.placement.placed],
        "unused_gpus": plan.unused_gpus,
        "lacks": [str(lack) for lack in plan.placement.lacks],
        "memory": [{**asdict(role), "num_bytes": role.num_bytes, "fits": role.fits} for role in plan.memory],
        "models": {
            "policy": plan.sizes.policy and dict(plan.sizes.policy.parts),
            "generator": plan.sizes.generator and dict(plan.sizes.generator.parts),
            "unknown": list(plan.sizes.unknown),
        },
        "workload": asdict(plan.workload),
        "num_tasks": plan.num_tasks,
        "calls": [
            asdict(one) | {"usd_per_run": one.usd_per_run, "usd_per_step": one.usd_per_step} for one in plan.calls
        ],
        "stages": stages,
        "prediction": plan.prediction and asdict(plan.prediction),
        "run_seconds": plan.prediction and plan.prediction.step_s * plan.recipe.num_steps,
        "gpu_hours": {"step": gpu_hours(plan, 1), "epoch": gpu_hours(plan, plan.epoch_steps), "run": run_hours},
        "gpu_usd_per_run": run_hours * gpu_usd if run_hours and gpu_usd else None,
        "splits": {name: found and {"overrides": str(found[0]), **asdict(found[1])} for name, found in splits.items()},
        "missing": [asdict(one) for one in plan.missing],
    }
