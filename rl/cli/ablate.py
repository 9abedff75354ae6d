"""The command `interleave ablate`: variants of one training, and the stories that their critics make."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rl.cli.arguments import Parser, add_accept_changed, add_command, file_path
from rl.cli.run_to_end import INTERRUPTED, run_async, run_to_end

if TYPE_CHECKING:
    from rich.console import Console

    from rl.ablation.plan import AblationPlan, Part
    from rl.ablation.run import Stopped
    from rl.recipe.config import Recipe


def add_ablate_command(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command to the command line's parser; what it needs is imported when it runs."""
    ablate = add_command(
        commands, "ablate", _ablate, "train variants of a recipe and tell what each part adds; start it again to go on"
    )
    ablate.add_argument("recipe", type=file_path, help="recipe YAML of an ablation")
    ablate.add_argument("overrides", nargs="*", default=[], help="key=value, like stories.num=100 variants.3.seeds=[0]")
    ablate.add_argument("--quick", action="store_true", help="smaller, as the recipe's section quick says")
    ablate.add_argument(
        "--out", type=file_path, help="folder, to go on in where something is; default: runs/NAME or runs/NAME-quick"
    )
    add_accept_changed(ablate)
    ablate.add_argument("--dry-run", action="store_true", help="check it and say which parts are left; start nothing")


def _ablate(chosen: argparse.Namespace) -> int:
    from rich.console import Console

    from rl.ablation.config import AblationRecipe
    from rl.ablation.identity import check_folder, claim
    from rl.ablation.plan import make_plan
    from rl.ablation.run import run_parts, time_left
    from rl.recipe.reader import load_as
    from rl.run_dir.lock import locked

    recipe = load_as(AblationRecipe, chosen.recipe, chosen.overrides)
    folder = chosen.out or Path("runs") / (f"{recipe.name}-quick" if chosen.quick else recipe.name)
    console = Console(highlight=False, soft_wrap=True)
    plan = make_plan(recipe.made_quick() if chosen.quick else recipe, folder)
    check_folder(plan)
    if chosen.dry_run:
        _check_left(plan, chosen.accept_changed)
        for part in plan.parts:
            console.print(f"{'done' if part.is_done else 'left'}  {part}", markup=False)
        console.print(time_left(plan.parts))
        return 0
    try:
        with locked(folder, "--out"):
            check_folder(plan)
            _check_left(plan, chosen.accept_changed)
            claim(plan)
            stopped = run_parts(
                plan,
                lambda part: _carry_out(plan, part, console, chosen.accept_changed),
                console,
                after_each=lambda stopped: _write(plan, stopped),
            )
            _show(plan, stopped, console)
    except KeyboardInterrupt:
        print("interleave: interrupted; go on with the same command", file=sys.stderr)
        return INTERRUPTED
    return 1 if stopped else 0


def _check_left(plan: AblationPlan, accepted: Collection[str]) -> None:
    """Check everything that can be wrong with the parts that are left, and that those that are done can be read.

    Of trainings, one of each variant.
    """
    from rl.ablation.config import SFT
    from rl.ablation.plan import Kind
    from rl.ablation.table import told_arms
    from rl.prepare import prepare  # late, all: they import Ray and torch
    from rl.run_dir.resume import was_started
    from rl.story.run import prepare_story
    from rl.tracking.trackers import check_trackers

    told_arms(plan)
    if any(not part.is_done for part in plan.parts if part.kind is Kind.STORIES):
        critic = replace(plan.story.critic, kind="model", model=plan.model(SFT))
        prepare_story(replace(plan.story, critic=critic), has_judge=True, befores=[None])
    for variant in plan.recipe.variants:
        for seed in variant.seeds:
            recipe = plan.trainings[variant.critic(seed)]
            if not plan.part(Kind.TRAIN, variant.critic(seed)).is_done:
                check_trackers(recipe.tracking)
                try:
                    prepare(recipe, is_resumed=was_started(Path(recipe.run_dir)), accepted=accepted)
                except ValueError as error:
                    raise ValueError(f"variant {variant.name}: {error}") from error
                break


def _carry_out(plan: AblationPlan, part: Part, console: Console, accepted: Collection[str]) -> bool:
    """Do a part; return whether it was begun here."""
    from rl.ablation.plan import Kind

    if part.kind is Kind.TRAIN:
        return _train(plan.trainings[part.critic], console, accepted)
    _tell(plan, part, console)
    return True


def _train(recipe: Recipe, console: Console, accepted: Collection[str]) -> bool:
    from rl.prepare import prepare  # late, both: they import Ray and torch
    from rl.run import run
    from rl.run_dir.lock import locked
    from rl.run_dir.resume import is_finished, was_started

    run_dir = Path(recipe.run_dir)
    is_begun = was_started(run_dir)
    if not is_finished(recipe):  # else the ablation was killed before it noted that
        with locked(run_dir):
            run_to_end(run(prepare(recipe, is_resumed=is_begun, accepted=accepted), console=console))
    return not is_begun


def _tell(plan: AblationPlan, part: Part, console: Console) -> None:
    from evals.stories import Bar
    from rl.story.evaluation import run_story_eval

    bar, out = Bar(plan.recipe.stories.semantics, plan.recipe.stories.quality), plan.told(part.critic)
    critics = {part.critic: plan.model(part.critic)}
    run_async(
        run_story_eval(plan.story, plan.stories, critics, tries=plan.recipe.tries, bar=bar, out=out, console=console)
    )


def _write(plan: AblationPlan, stopped: Stopped) -> None:
    from rl.ablation.page import write_results
    from rl.ablation.table import has_figures, make_table

    if has_figures(plan):
        write_results(plan, make_table(plan), stopped)


def _show(plan: AblationPlan, stopped: Stopped, console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    from rl.ablation.page import write_results
    from rl.ablation.table import has_figures, make_table
    from rl.ablation.text import notes, text_tables

    if not has_figures(plan):
        return
    table = make_table(plan)
    for one in text_tables(table):
        drawn = Table(title=escape(one.title), title_justify="left")
        for column, head in enumerate(one.columns):
            drawn.add_column(head, justify="right" if column else "left")
        for row in one.rows:
            drawn.add_row(*map(escape, row))
        console.print(drawn)
    for note in [*notes(table), *(f"{critic} stopped: {why}" for critic, why in stopped.items())]:
        console.print(f"[yellow]{escape(note)}[/]")
    console.print(f"page    {write_results(plan, table, stopped)}", markup=False)
