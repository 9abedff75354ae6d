"""Code that a run's own recipe names: the folder may be a stranger's, so its user has to allow what would run here.

What an override names is its user's, and not asked about.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rewards.functions.import_path import is_ours, name_of
from rl.recipe.config import Recipe
from rl.recipe.reader import texts_of
from rollout.text.limits import is_own


def check_trusted(run_dir: Path, code: Iterable[tuple[str, str]], overrides: Sequence[str]) -> None:
    """Raise ValueError for functions, each with its key, that neither these packages have nor an override names."""
    own = texts_of(Recipe, overrides)
    brought = dict.fromkeys(_line(key, path) for key, path in code if not is_ours(path) and path not in own)
    if brought:
        raise ValueError(
            f"{run_dir} is the folder of a run whose recipe names code that would run here: {', '.join(brought)}; "
            "read that code, then add --trust-code to run it"
        )


def code_of_reward(recipe: Recipe) -> list[tuple[str, str]]:
    """Return the functions of a recipe's reward, each with its key."""
    return [(f"reward.terms.{number}.fn", term.fn) for number, term in enumerate(recipe.reward.terms)]


def code_of_advantages(recipe: Recipe) -> list[tuple[str, str]]:
    """Return the function that computes advantages, with its key; verl's is none."""
    path = recipe.algorithm.advantage
    return [("algorithm.advantage", path)] if is_own(path) else []


def _line(key: str, path: str) -> str:
    name = name_of(path)
    return f"{name} of {path.removesuffix(name)[:-1]} ({key})"
