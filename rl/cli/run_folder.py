"""The folder of a run, while one of the commands `train` and `sft` is in it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rl.recipe.jobs import RunRecipe


@contextmanager
def folder_of(chosen: argparse.Namespace, recipe: RunRecipe) -> Iterator[bool]:
    """Have a run's folder to ourselves; yield whether the run goes on."""
    from rl.run_dir.lock import locked
    from rl.run_dir.resume import is_resumed
    from rl.run_dir.shipped import take_over

    chosen.run_dir = Path(recipe.run_dir)
    with locked(chosen.run_dir):
        if chosen.resume and (num := take_over(recipe)):
            print(f"interleave: {num} logs of the ledger were restored from {recipe.store}", file=sys.stderr)
        yield is_resumed(chosen.resume, chosen.run_dir)
