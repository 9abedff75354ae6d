"""A bundle: planner, critic, prompts and recipe in one folder, to be carried elsewhere and told stories with.

bundle/
  recipe.yaml          its paths begin with `bundle:` where they lie in this folder
  planner/  critic/    Hugging Face checkpoints (those that were hub ids stay hub ids)
  planner.txt  planner_guidance.txt  critic.txt
"""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from actors.store.files import naming
from rewards.functions.import_path import is_ours
from rl.recipe.paths import model_path, placed_generator, read_prompt
from rl.recipe.reader import to_yaml
from rl.story.bundle_copy import copy_model
from rl.story.config import BUNDLE_RECIPE, BUNDLED, OracleConfig, StoryRecipe

_FILE_MARK = ".py:"


def write_bundle(recipe: StoryRecipe, folder: Path, has_generator: bool = False) -> Iterator[str]:
    """Write a bundle into a new folder; return a line for each part that says where it is. Raises ValueError.

    `has_generator` puts the generator in, too, where it is a folder of its own.
    """
    planner, critic, generator = recipe.planner, recipe.critic, recipe.generator
    models = {"generator": placed_generator(generator).model}
    if planner.kind == "model":
        models["planner"] = model_path(planner.model, "planner.model")
    if critic.kind == "model":
        models["critic"] = model_path(critic.model, "critic.model")
    texts = {}
    if planner.kind == "model":
        texts["planner"] = read_prompt(planner.prompt, "planner.prompt")
        if planner.guidance_prompt:
            texts["planner_guidance"] = read_prompt(planner.guidance_prompt, "planner.guidance_prompt")
    if critic.kind == "model":
        texts["critic"] = read_prompt(critic.prompt, "critic.prompt")
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; give a new folder")
    there = folder.absolute()
    there.parent.mkdir(parents=True, exist_ok=True)
    with naming(folder), TemporaryDirectory(prefix=f".{there.name}.", dir=there.parent) as unfinished:
        whole = Path(unfinished) / there.name
        whole.mkdir()
        lines = _fill(whole, recipe, models, texts, has_generator)
        try:
            whole.rename(there)  # atomically: no reader ever sees half a bundle
        except OSError as error:  # another command was faster
            raise ValueError(f"{folder} is not empty; give a new folder") from error
    return (f"{who:10}{where.replace(str(whole), str(folder))}" for who, where in lines.items())


def _fill(
    folder: Path, recipe: StoryRecipe, models: dict[str, str], texts: dict[str, str], has_generator: bool
) -> dict[str, str]:
    """Write all of a bundle; return where each part is."""
    planner, critic, generator = recipe.planner, recipe.critic, recipe.generator
    lines = {}
    for who, model in list(models.items()):
        is_taken = bool(model) and Path(model).is_dir() and (who != "generator" or has_generator)
        if is_taken:
            copy_model(Path(model), folder / who)
            models[who] = BUNDLED + who
        lines[who] = str(folder / who) if is_taken else f"{model or generator.name} (not in the bundle)"
    for who, text in texts.items():
        (folder / f"{who}.txt").write_text(text, encoding="utf-8")
    prompts = {who: f"{BUNDLED}{who}.txt" for who in texts}
    fn = _with_file(planner.fn, folder) if planner.kind == "function" else ""
    bundled = replace(
        recipe,
        planner=replace(
            planner,
            fn=fn,
            model=models.get("planner", ""),
            prompt=prompts.get("planner", planner.prompt),
            guidance_prompt=prompts.get("planner_guidance", ""),
        ),
        critic=replace(critic, model=models.get("critic", ""), prompt=prompts.get("critic", critic.prompt)),
        generator=replace(generator, model=models["generator"]),
        oracle=recipe.oracle if is_ours(recipe.oracle.fn) else OracleConfig(),
    )
    (folder / BUNDLE_RECIPE).write_text(to_yaml(bundled), encoding="utf-8")
    lines["recipe"] = str(folder / BUNDLE_RECIPE)
    return lines


def _with_file(fn: str, folder: Path) -> str:
    """Return a function's path; a file of the user's own goes into the bundle."""
    file, _, name = fn.rpartition(":")
    if _FILE_MARK not in fn:
        return fn
    shutil.copyfile(file, folder / "planner.py")
    return f"{BUNDLED}planner.py:{name}"
