"""A run's ledger that is in a bucket and not on this disk: a resumed run takes it over, a new one is refused."""

from pathlib import Path

from actors.shipping.segments import ledger_prefix, restore, shipped
from actors.store.bucket import Bucket, check_bucket
from actors.store.place import is_bucket, placed
from rl.recipe.jobs import RunRecipe


def take_over(recipe: RunRecipe) -> int:
    """Write the logs that only the bucket has to a run's ledger; return how many. Raises ValueError."""
    if not is_bucket(recipe.store):
        return 0
    check_bucket(recipe.store)
    try:
        return restore(_bucket(recipe), ledger_prefix(recipe.folder), recipe.folder / "ledger")
    except OSError as error:
        raise ValueError(f"the ledger of {recipe.run_dir} cannot be restored: {error}") from None


def check_none_shipped(recipe: RunRecipe) -> None:
    """Raise ValueError where the bucket has rows of a run of this folder that are not on this disk."""
    if not is_bucket(recipe.store):
        return
    check_bucket(recipe.store)
    prefix = ledger_prefix(recipe.folder)
    try:
        logs = shipped(_bucket(recipe), prefix)
    except OSError as error:
        raise ValueError(f"store cannot be used: {error}") from None
    if any(not (Path(recipe.run_dir) / "ledger" / f"{log}.log").exists() for log in logs):
        raise ValueError(
            f"{placed(recipe.store)}/{prefix} has the ledger of a run of this name, which is not on this disk; add "
            "--resume to go on with its bill and answers, or run_dir=... for another run"
        )


def _bucket(recipe: RunRecipe) -> Bucket:
    return Bucket(placed(recipe.store), is_quick=True)
