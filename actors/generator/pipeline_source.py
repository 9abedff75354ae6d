"""What a pipeline's class takes, read from its source: to import diffusers takes seconds, and a check must not.

What a source does not tell is left to the start: a class that inherits its call, say, or takes any argument.
"""

import ast
import re
from collections.abc import Iterable
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

from actors.generator.config import GeneratorConfig
from rollout.text.limits import nearest


def check_pipeline(config: GeneratorConfig) -> None:
    """Raise ValueError for a class that is not there, or an argument in `generator.call` that it does not take."""
    module, _, name = config.pipeline.rpartition(".")
    try:
        is_theirs = module in ("", "diffusers")
        takes = _of_diffusers(name) if is_theirs else call_parameters(name, _module_file(module, name))
    except (ImportError, SyntaxError) as error:
        raise ValueError(f"generator.pipeline is {config.pipeline}: {error}") from None
    for given in config.call if takes else ():
        if given not in takes:
            known = f"{', '.join(takes)}, not {given}{nearest(given, takes)}"
            raise ValueError(f"generator.call.{given}: {config.pipeline} takes {known}")


def call_parameters(name: str, files: Iterable[Path]) -> list[str]:
    """Return what the call of a class takes by name; empty where the files do not tell."""
    for file in files:
        text = file.read_text(encoding="utf-8")
        if re.search(rf"^class {name}\b", text, re.MULTILINE) is None:
            continue
        for node in ast.walk(ast.parse(text, file.name)):
            if isinstance(node, ast.ClassDef) and node.name == name:
                return next((_names(one) for one in node.body if _is_call(one)), [])
    return []


@cache
def _of_diffusers(name: str) -> list[str]:
    return call_parameters(name, _diffusers_files(name))


def _is_call(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "__call__"


def _names(call: ast.stmt) -> list[str]:
    assert isinstance(call, ast.FunctionDef)
    taken = call.args
    return [] if taken.kwarg else [one.arg for one in (*taken.posonlyargs, *taken.args, *taken.kwonlyargs)][1:]


def _diffusers_files(name: str) -> list[Path]:
    """Return the sources of diffusers' pipelines. Raises ImportError for a class that it does not offer."""
    spec = find_spec("diffusers")
    if spec is None or spec.origin is None:
        return []
    offered = re.findall(r'"(\w+)"', Path(spec.origin).read_text(encoding="utf-8"))
    if name not in offered:
        hint = nearest(name, [one for one in offered if "Pipeline" in one], cutoff=0.7)
        raise ImportError(f"diffusers has no such class{hint}")
    return sorted((Path(spec.origin).parent / "pipelines").rglob("*.py"))


def _module_file(module: str, name: str) -> list[Path]:
    """Return the source of a module, which is not imported. Raises ImportError if it, or the name, is not there."""
    first, *rest = module.split(".")
    spec: ModuleSpec | None = find_spec(first)
    for part in rest:
        spec = spec and PathFinder.find_spec(part, spec.submodule_search_locations or [])
    if spec is None:
        raise ImportError(f"there is no module {module}; modules are imported from {Path.cwd()}")
    if spec.origin is None or not spec.origin.endswith(".py"):
        return []
    file = Path(spec.origin)
    text = file.read_text(encoding="utf-8")
    if re.search(rf"\b{name}\b|import \*", text) is None:
        raise ImportError(f"{file} has no {name}")
    return [file]
