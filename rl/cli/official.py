"""The commands `interleave eval ueval`, `interleave eval wise`, ...: public benchmarks."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from evals.official.registry import BENCHMARKS
from rl.cli.arguments import Parser, add_command, add_trust_code, file_path, positive_number, share, whole_number
from rl.cli.run_to_end import run_async


def add_official_commands(evals: argparse._SubParsersAction[Parser]) -> None:
    """Add a command for each public benchmark; what they need is imported when they run."""
    for name in BENCHMARKS:
        command = add_command(evals, name, _eval_official, f"the public benchmark {name}: outputs, hand-in, figures")
        command.set_defaults(benchmark=name)
        command.add_argument("overrides", nargs="*", default=[], help="key=value of the agents' recipe")
        command.add_argument("--data", type=file_path, required=True, help="folder of the benchmark's data")
        command.add_argument(
            "--out", type=file_path, required=True, help="folder of the run; one that is there goes on"
        )
        command.add_argument(
            "--agents", type=file_path, default=Path("recipes/story.yaml"), help="recipe YAML of stories, or a bundle"
        )
        command.add_argument("--alone", action="store_true", help="the recipe's generator alone, as it is asked")
        command.add_argument(
            "--judge",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="the judge, like model=gpt-4o, or a settings file; more than once; default: the benchmark's own",
        )
        command.add_argument("--prompts", type=file_path, help="a checkout of the benchmark, for the judge's prompts")
        command.add_argument("--limit", type=whole_number, default=0, help="most items, spread evenly; default: all")
        command.add_argument(
            "--budget", type=positive_number, default=0.0, metavar="USD", help="stop before more is paid, all starts"
        )
        command.add_argument(
            "--max-failures", type=share, default=0.5, metavar="SHARE", help="of calls, that stops it; default: 0.5"
        )
        command.add_argument("--submit-only", action="store_true", help="write the hand-in; ask no judge")
        command.add_argument("--against", type=file_path, metavar="OUT", help="another run's folder: a paired test")
        command.add_argument("--seed", type=whole_number, default=0, help="of every story; default: 0")
        command.add_argument(
            "--accept-changed",
            action="append",
            default=[],
            metavar="KEY",
            help="go on though this is another one than at the start, like critic.model; more than once",
        )
        add_trust_code(command)


def _eval_official(chosen: argparse.Namespace) -> int:
    from rich.console import Console

    from evals.official.registry import load_benchmark
    from rl.official.config import agent_of, load_judge
    from rl.run_dir.lock import locked
    from rl.story.trust import load_trusted

    if chosen.submit_only and (chosen.judge or chosen.against):
        raise ValueError("--submit-only asks no judge: leave out --judge and --against, or it")
    benchmark = load_benchmark(chosen.benchmark)
    stories = load_trusted(chosen.agents, chosen.overrides, trusts_code=chosen.trust_code)
    recipe = agent_of(stories, benchmark.name, chosen.out, seed=chosen.seed, is_alone=chosen.alone)
    judge = None if chosen.submit_only else load_judge(benchmark, chosen.judge, chosen.budget)
    from rl.official.prepare import prepare_official  # late, all three: they import torch and Ray
    from rl.official.report import other_scores
    from rl.official.run import run_official

    if chosen.against and judge is not None:
        other_scores(chosen.against, benchmark.name, judge.model)
    with locked(chosen.out, "--out"):
        run = prepare_official(
            benchmark,
            recipe,
            chosen.data,
            judge=judge,
            prompts=chosen.prompts,
            limit=chosen.limit,
            accepted=chosen.accept_changed,
        )
        run = replace(run, max_failure_share=chosen.max_failures)
        console = Console(highlight=False, soft_wrap=True)
        run_async(run_official(run, console, budget_usd=chosen.budget, against=chosen.against))
    return 0
