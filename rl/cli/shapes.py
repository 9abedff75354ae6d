"""The commands `interleave shapes build|requests|records|headroom`."""

from __future__ import annotations

import argparse
from pathlib import Path

from rl.cli.arguments import Parser, add_command, add_group, file_path, positive_number, whole_number


def add_shapes_commands(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the commands to the command line's parser; what they need is imported when they run."""
    shapes = add_group(commands, "shapes", "the embedded shapes world")
    build = add_command(
        shapes, "build", _shapes_build, "rebuild generator, data, tasks, critic and planner from a seed"
    )
    build.add_argument("--out", type=file_path, default=Path("runs/shapes"), help="default: runs/shapes")
    build.add_argument("--seed", type=int, default=0)
    build.add_argument("--scale", type=positive_number, default=1.0, help="share of all counts; 0.01 to rehearse")
    build.add_argument("--rl", action="store_true", help="and train the critic by GRPO on what was built")
    requests = add_command(
        shapes, "requests", _shapes_requests, "write what `data build recipes/build_shapes.yaml` is asked"
    )
    requests.add_argument("--out", type=file_path, default=Path("runs/shapes/requests"), help="default: %(default)s")
    requests.add_argument("--seed", type=int, default=0)
    requests.add_argument("--count", type=whole_number, default=2800, help="default: 2800")
    requests.add_argument(
        "--stories", action="store_true", help="stories as for evaluation, for recipes/build_shapes_dagger.yaml"
    )
    records = add_command(shapes, "records", _shapes_records, "write what the critic's cold start begins with")
    records.add_argument("--out", type=file_path, default=Path("runs/shapes/critic_sft"), help="default: %(default)s")
    records.add_argument("--seed", type=int, default=0)
    records.add_argument("--attempts", type=whole_number, default=8500, help="of the generator; default: 8500")
    records.add_argument("--drawn", type=whole_number, default=5700, help="pictures drawn instead; default: 5700")
    headroom = add_command(shapes, "headroom", _shapes_headroom, "print how much there is to learn before RL")
    headroom.add_argument("--tasks", type=whole_number, default=0, help="held-out tasks to use; default: all")


def _shapes_build(chosen: argparse.Namespace) -> int:
    from recipes.shapes.build import build
    from rl.writable import check_writable

    check_writable(chosen.out, "--out")
    build(chosen.out, chosen.seed, chosen.scale, has_rl=chosen.rl)
    return 0


def _shapes_requests(chosen: argparse.Namespace) -> int:
    from recipes.shapes.requests import write_requests
    from recipes.shapes.stories import write_story_requests
    from rl.writable import check_writable

    check_writable(chosen.out, "--out")
    write = write_story_requests if chosen.stories else write_requests
    print(write(chosen.out, chosen.seed, chosen.count))
    return 0


def _shapes_records(chosen: argparse.Namespace) -> int:
    from recipes.shapes.sft_records import make_records
    from rl.writable import check_writable

    check_writable(chosen.out, "--out")
    counts = make_records(chosen.out, chosen.seed, num_attempts=chosen.attempts, num_drawn=chosen.drawn)
    for split, count in counts.items():
        print(f"{split:8} {count:>8,} records  {chosen.out / split}.jsonl")
    return 0


def _shapes_headroom(chosen: argparse.Namespace) -> int:
    from recipes.shapes.headroom import headroom

    headroom(num_tasks=chosen.tasks)
    return 0
