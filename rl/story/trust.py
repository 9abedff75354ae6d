"""What a bundle brings that runs here, sends away or lets in: it may be a stranger's, so its user has to allow it.

A bundle is any folder that is given as a recipe. A recipe file is its user's own, and not asked about.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

from actors.web.config import is_loopback
from rewards.functions.import_path import is_ours
from rl.recipe.layers import recipe_path
from rl.story.config import BUNDLE_RECIPE, StoryRecipe, load_story_recipe

_FUNCTIONS = ("fn", "scorer", "custom_pipeline")
_CLASSES = ("kind", "pipeline")
"""Built-in names, or import paths."""
_SWITCH = re.compile(r"code|cls|class|plugin|processors")
"""In the arguments of other programs: what makes them load code."""
_OF_THE_USER = ("", "auto")
"""Addresses of Ray that are no stranger's."""


def load_trusted(path: Path, overrides: list[str], *, trusts_code: bool) -> StoryRecipe:
    """Read a recipe of stories. Raises ValueError for a bundle whose code is not trusted, with a line for what it is.

    What an override says instead is its user's.
    """
    recipe = load_story_recipe(path, overrides)
    if trusts_code or not recipe_path(path).is_dir():
        return recipe
    if brought := set(code_in(load_story_recipe(path))) & set(code_in(recipe)):
        raise ValueError(
            f"{path} is a bundle that would run or ask what it brings: {'; '.join(sorted(brought))}; read that and its "
            f"{BUNDLE_RECIPE}, then add --trust-code"
        )
    return recipe


def code_in(recipe: StoryRecipe) -> Iterator[str]:
    """Yield what in a recipe runs code that is not this repository's, or opens a way to or from other machines."""
    yield from _code(asdict(recipe), "")


def _code(tree: object, key: str) -> Iterator[str]:
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from _code(value, f"{key}.{name}".lstrip("."))
        url = tree.get("base_url")
        if url and not is_loopback(urlsplit(url).hostname):
            yield f"{key}.base_url={url}, with the key in {tree.get('api_key_env') or 'no variable'}"
    elif isinstance(tree, list | tuple):
        for place, value in enumerate(tree):
            yield from _code(value, f"{key}.{place}")
    elif tree and _is_code(key, tree):
        yield f"{key}={tree}"


def _is_code(key: str, value: object) -> bool:
    name = key.rpartition(".")[2].replace("-", "_")
    if key == "ray_address":
        return value not in _OF_THE_USER
    if key == "service.host":
        return not is_loopback(str(value))
    if key == "store":
        return "://" in str(value)
    if name in _FUNCTIONS:
        return not is_ours(str(value))
    if name in _CLASSES:
        return isinstance(value, str) and bool({".", ":"} & set(value)) and not is_ours(value)
    return name in ("command", "trust_remote_code") or (
        bool(re.search(r"\.(args|call)\.", key)) and bool(_SWITCH.search(name))
    )
