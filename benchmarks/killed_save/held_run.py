"""A real run whose ranks write a checkpoint no further while somebody holds it."""

import asyncio
import sys
import time
from pathlib import Path

from rich.console import Console

from actors.policy import worker


class HeldWorker(worker.PolicyWorker):
    """A rank that stops after each file of a checkpoint that is held."""

    def write_file(self, path: str, content: object) -> None:
        super().write_file(path, content)
        _, folder, _, run_dir = (Path(path).parents[number] for number in range(4))
        held = run_dir.with_name(f"hold{folder.name}")  # `benchmarks.killed_save.hold`
        while held.exists():
            time.sleep(0.05)


def main() -> None:
    """Run the shapes recipe with the overrides given; with --resume among them go on."""
    from rl.prepare import prepare
    from rl.recipe.config import REPO
    from rl.recipe.reader import load_recipe
    from rl.run import run

    vars(worker)["PolicyWorker"] = HeldWorker
    overrides = [argument for argument in sys.argv[1:] if argument != "--resume"]
    recipe = load_recipe(REPO / "recipes" / "shapes_grpo.yaml", overrides)
    asyncio.run(run(prepare(recipe, is_resumed="--resume" in sys.argv), console=Console(quiet=True)))
