"""The command `interleave plan`, and what `interleave train --dry-run` prints."""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from rl.cli.arguments import Parser, add_command, file_path, positive_number, positive_whole_number
from rl.plan.devices import Devices, devices_here, simulated
from rl.recipe.config import Recipe
from rl.recipe.jobs import JobRecipe
from rl.recipe.kinds import kind_of
from rl.recipe.layers import layers_of
from rl.recipe.reader import load_as, load_recipe, to_yaml


def add_plan_command(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command to the command line's parser; what it needs is imported when it runs."""
    plan = add_command(
        commands, "plan", _plan, "say what training by a recipe will need, cost and take; nothing is started"
    )
    plan.add_argument("recipe", type=file_path, help="recipe YAML of GRPO")
    plan.add_argument("overrides", nargs="*", default=[], help="key=value, like generator.num_replicas=4")
    others = plan.add_argument_group("devices, in place of those of this machine")
    others.add_argument("--gpus", type=positive_whole_number, help="GPUs of a node, like 8")
    others.add_argument("--nodes", type=positive_whole_number, help="default: 1")
    others.add_argument(
        "--gpu-price",
        type=positive_number,
        default=0.0,
        metavar="USD",
        help="US dollars of a GPU hour, to add up what GPUs cost",
    )
    others.add_argument("--gpu", help="kind of GPU: H100 (default), H200, A100, B200, L40S, RTX 4090, ...")
    plan.add_argument(
        "--times",
        type=file_path,
        action="append",
        default=[],
        metavar="RUN",
        help="an earlier run's folder, or a JSON file of benchmarks.gpu, to take times from; more than once",
    )
    plan.add_argument("--json", type=file_path, metavar="FILE", help="write the plan to a file, too")
    add_resolved(
        plan, "print the recipe instead, of any kind, as a run writes it: with what it extends and all overrides"
    )


def add_resolved(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the option that prints a recipe as it was read."""
    parser.add_argument("--resolved", action="store_true", help=text)


def _plan(chosen: argparse.Namespace) -> int:
    if chosen.resolved:
        keys = {key for layer in layers_of(chosen.recipe) for key in layer.content}
        return print_resolved(load_as(kind_of(keys), chosen.recipe, chosen.overrides))
    recipe = load_recipe(chosen.recipe, chosen.overrides)
    if chosen.gpus or chosen.nodes or chosen.gpu:
        devices = simulated(chosen.nodes or 1, chosen.gpus or 8, chosen.gpu or "H100")
    elif recipe.ray_address:
        raise ValueError(
            f"ray_address is {recipe.ray_address}, and a plan asks no cluster what it has: say --gpus and --nodes"
        )
    else:
        devices = devices_here()
    return _show(recipe, devices, chosen.times, chosen.json, chosen.gpu_price)


def print_resolved(recipe: JobRecipe) -> int:
    """Print a recipe with all that it comes to, as YAML that may be read as a recipe again."""
    print(to_yaml(recipe), end="")
    return 0


def dry_run(recipe: Recipe, resume: bool | str, accepted: Collection[str]) -> int:
    """Print the plan of a recipe on this machine's devices; return 0 if `train` could start, else 2.

    Raises ValueError for a folder that `train` would refuse. What its sources contain is not compared.
    """
    from rl.disk_room import check_disk
    from rl.evaluation import evaluated_before
    from rl.run_dir.resume import check_run_dir, is_resumed
    from rl.writable import check_store, check_writable

    check_writable(Path(recipe.run_dir), "run_dir")
    check_store(recipe.store)
    resumed = is_resumed(resume, Path(recipe.run_dir))
    check_run_dir(recipe, resumed, accepted=accepted)
    if resumed:
        evaluated_before(Path(recipe.run_dir))
    code = _show(recipe, devices_here(), (), None, must_start=True)
    check_disk(recipe)  # last: the plan of a large model is of use on a small disk, too
    return code


def _show(
    recipe: Recipe,
    devices: Devices,
    times: Sequence[Path],
    file: Path | None,
    gpu_usd: float = 0.0,
    *,
    must_start: bool = False,
) -> int:
    """Print a plan; return 2 where the devices are not enough or, if it `must_start`, something needed is missing."""
    from rich.console import Console

    from rl.atomic_write import atomic_write
    from rl.plan.missing import DATA, first_tasks_here, not_tried
    from rl.plan.plan import make_plan
    from rl.plan.report import as_json, print_plan

    plan = make_plan(recipe, devices, times)
    console = Console(highlight=False, soft_wrap=True)
    print_plan(plan, console, "interleave plan RECIPE" if must_start else "", gpu_usd)
    if must_start:
        from rl.try_own import try_own

        asked = replace(recipe, evidence=dict(plan.evidence))
        tried = try_own(asked, *(first_tasks_here(recipe, key) for key in DATA))
        if tried.tried:
            console.print(f"tried: {', '.join(tried.tried)}", markup=False)
        console.print(", ".join([not_tried(recipe, is_own_tried=True), *tried.left]), markup=False)
    if file is not None:
        atomic_write(file, json.dumps(as_json(plan, gpu_usd), indent=1))
    is_lacking = must_start and any(one.is_needed for one in plan.missing)
    return 2 if is_lacking or not plan.has_room else 0
