"""What a recipe names by its path, found: files, folders and models."""

import glob
from dataclasses import replace
from pathlib import Path

from actors.config import GeneratorConfig
from actors.generator.kind import kind_of
from rl.recipe.config import REPO
from rollout.text.marks import read_prompt_text
from rollout.text.prompt_file import check_template
from rollout.text.python_text import split_name

_CONFIGS = ("config.json", "model_index.json")
"""What transformers and diffusers begin with."""


def resolve_path(path: str, folder: Path = Path()) -> Path:
    """Return a recipe's path: as given, from `folder` (the working folder), or from the checkout if only there."""
    given, ours = folder / Path(path).expanduser(), REPO / Path(path).expanduser()
    return ours if ours.exists() and not given.exists() else given


def resolve_data(path: str) -> Path:
    """Return a recipe's path of records; a pattern like train-*.parquet is looked for where a path is."""
    given, ours = Path(path).expanduser(), REPO / Path(path).expanduser()
    return ours if _is_there(ours) and not _is_there(given) else given


def found_data(path: str, key: str) -> Path:
    """Return a recipe's path of records, which `key` names (`resolve_data`). Raises ValueError where nothing is."""
    found = resolve_data(path)
    if not _is_there(found):
        raise ValueError(f"{key}: {path} does not exist; looked for {places_of(path)}")
    return found


def places_of(path: str) -> str:
    """Return where a recipe's path is looked for, in words."""
    given = Path(path).expanduser()
    beside = " (and from the folder of the recipe that says so)" if path.startswith(("./", "../")) else ""
    return " and ".join(dict.fromkeys([str(given.absolute()), str(REPO / given)])) + beside


def _is_there(path: Path) -> bool:
    return path.exists() or (glob.has_magic(str(path)) and bool(glob.glob(str(path))))


def read_prompt(path: str, key: str, fields: tuple[str, ...] = (), num_images: int = 0) -> str:
    """Return the text of a prompt, which `key` names: a file's, or the one that a Python file gives a name.

    Raises ValueError, also where a text out of Python lacks what it is filled with: it may be about anything.
    """
    try:
        file, name = split_name(path)
        if not (found := resolve_path(file)).is_file():
            raise ValueError(f"there is no such file; looked for {places_of(file)}")
        text = read_prompt_text(found, name)
        if name and fields:
            check_template(text, fields, num_images=num_images, name="it")
    except ValueError as error:
        raise ValueError(f"{key} is {path}: {error}") from None
    return text


def model_path(name: str, key: str, *, is_plain: bool = True, is_at_endpoint: bool = False) -> str:
    """Return a model's folder where there is one, else its hub id as given. Raises ValueError.

    One that `is_plain` is loaded by transformers or diffusers alone, which want their own files in it. One that
    `is_at_endpoint` may have any name.
    """
    path = resolve_path(name)
    if path.exists():
        if is_plain and not any((path / file).is_file() for file in _CONFIGS):
            raise ValueError(
                f"{key} is {name}: it holds no {' or '.join(_CONFIGS)}, so it is not a model in Hugging Face format"
            )
        return str(path.resolve())
    if not is_at_endpoint and (name.startswith((".", "~")) or name.count("/") != 1 or "" in name.split("/")):
        raise ValueError(f"{key} is {name}: there is no such folder, and a hub id looks like owner/name")
    return name


def placed_generator(config: GeneratorConfig) -> GeneratorConfig:
    """Return the settings of a generator with the folder of its model, where it has one, found. Raises ValueError."""
    if not config.model:
        return config
    is_plain = not (config.custom_pipeline or config.trust_remote_code or "." in config.pipeline)
    model = model_path(
        config.model, "generator.model", is_plain=is_plain, is_at_endpoint=not kind_of(config).has_pipeline
    )
    return replace(config, model=model)
