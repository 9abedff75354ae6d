"""Load what a recipe names by import path (`my_rewards.brevity`, `my_rewards:brevity`) or file (`./my.py:brevity`)."""

import hashlib
import importlib
import importlib.util
import os
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from rollout.text.limits import nearest

_FILE_MARK = ".py:"
_OWN_PACKAGE = "rewards."
OWN_PACKAGES = ("rl", "rollout", "rewards", "actors", "recipes", "data", "evals", "benchmarks", "tests")
"""Names that are taken: a user's module with one of these names must be given as a file."""
_SHIPPED = tuple(f"{name}." for name in OWN_PACKAGES if name not in ("benchmarks", "tests"))


class FunctionError(ValueError):
    """A recipe names a function that does not exist, or that does not fit where it is named."""


def is_builtin(path: str) -> bool:
    """Return whether a function is in this package, and so trusted not to hang.

    >>> is_builtin("rewards.format.is_parsed"), is_builtin("rewards.py:f"), is_builtin("my_rewards.brevity")
    (True, False, False)
    """
    return path.startswith(_OWN_PACKAGE) and _FILE_MARK not in path


def is_ours(path: str) -> bool:
    """Return whether a path names something of InterleaveThinker itself, and no code that comes with a recipe.

    >>> is_ours("recipes.shapes.judge.score"), is_ours("rewards./evil.py:f"), is_ours("my_rewards.brevity")
    (True, False, False)
    """
    return path.startswith(_SHIPPED) and _FILE_MARK not in path


def name_of(path: str) -> str:
    """Return a function's own name.

    >>> name_of("my_rewards.brevity"), name_of("./my_rewards.py:brevity")
    ('brevity', 'brevity')
    """
    return path.rpartition(_separator(path))[2]


def anchored(path: str, folder: Path) -> str:
    """Return the path, its file made absolute if it is in `folder`; else unchanged."""
    file, mark, name = path.rpartition(":")
    if _FILE_MARK not in path or not (folder / file).is_file():
        return path
    return f"{(folder / file).resolve()}{mark}{name}"


def load_function(path: str) -> Callable[..., Any]:
    """Return the function at an import path or in a file. Raises `FunctionError` that says which part is missing.

    Whatever the module raises on import is passed on unchanged.
    """
    function: object = load_object(path)
    if not callable(function):
        raise FunctionError(f"{name_of(path)} is a {type(function).__name__}, expected a function")
    return function


def load_object(path: str) -> object:
    """Return whatever is at an import path or in a file (`load_function`)."""
    module, name = load_module(_module_part(path)), name_of(path)
    if (found := getattr(module, name, None)) is None:
        raise FunctionError(f"{module_label(module)} has no {name}{_instead(name, module)}{_clash(path)}")
    return found


def identity_of(path: str) -> str:
    """Return a function's path with a digest of its file, which is read but not run.

    The digest leaves out what the file imports: after a change there, start with a new store. Raises `FunctionError`.
    """
    module = _module_part(path)
    file = Path(module).expanduser().resolve() if module.endswith(".py") else _source(module)
    if not file.is_file():
        raise FunctionError(f"there is no file {file}" if module.endswith(".py") else f"{module} has no file")
    return f"{path}@{hashlib.sha256(file.read_bytes()).hexdigest()[:16]}"


def load_module(path: str) -> ModuleType:
    """Import a module by its dotted name, or a file by its path (`x.py`).

    Raises `FunctionError` if there is none, and for one that would end the process, as a script does.
    """
    try:
        return _load_file(Path(path)) if path.endswith(".py") else importlib.import_module(path)
    except SystemExit as error:
        raise FunctionError(
            f"{path} calls sys.exit({error.code!r}) when it is imported; put what a script does behind "
            'if __name__ == "__main__":'
        ) from None
    except ModuleNotFoundError as error:
        if error.name and (path == error.name or path.startswith(f"{error.name}.")):
            raise FunctionError(
                f"cannot import {path} ({error}); functions are imported from {Path.cwd()}{_clash(path)}"
            ) from None
        raise


def _load_file(file: Path) -> ModuleType:
    file = file.expanduser().resolve()
    if not file.is_file():
        raise FunctionError(f"there is no file {file}")
    name = f"{file.stem}_{zlib.crc32(os.fsencode(file)):08x}"  # two files may share a stem, or a library's name
    if name in sys.modules:
        return sys.modules[name]
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))  # so that it can import its neighbours
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _clash(path: str) -> str:
    """Return how to name a user's module that one of our packages hides; empty if none does."""
    package, _, rest = path.partition(".")
    file, folder = Path.cwd() / f"{package}.py", Path.cwd() / package
    is_ours = Path(__file__).resolve().is_relative_to(folder.resolve())
    if _FILE_MARK in path or package not in OWN_PACKAGES or is_ours or not (file.is_file() or folder.is_dir()):
        return ""
    named = f"./{file.name}:{rest}" if file.is_file() else f"./{package}/FILE.py:{name_of(path)}"
    return f"; {package} is a package of InterleaveThinker, which hides yours: write {named}"


def _source(module: str) -> Path:
    """Return the file of a module; a path that does not exist if it has none. Raises `FunctionError`."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None:
        raise FunctionError(f"there is no module {module}; modules are imported from {Path.cwd()}{_clash(module)}")
    return Path(spec.origin or f"{module}.py")


def module_label(module: ModuleType) -> str:
    """Return the name by which a user knows a module."""
    return module.__name__ if module.__spec__ and "." in module.__name__ else str(module.__file__ or module.__name__)


def _module_part(path: str) -> str:
    module = path.rpartition(_separator(path))[0]
    if not module or (_FILE_MARK not in path and (module.startswith(".") or "/" in module)):
        raise FunctionError(
            "expected an import path like rewards.stepwise.semantic_gain, or a file like ./my_rewards.py:brevity"
        )
    return module


def _separator(path: str) -> str:
    return ":" if ":" in path else "."


def _instead(name: str, module: ModuleType) -> str:
    """Return the name that may have been meant, else all that a module itself defines and does not import."""
    own = sorted(
        one
        for one, value in vars(module).items()
        if callable(value) and not one.startswith("_") and getattr(value, "__module__", "") == module.__name__
    )
    return nearest(name, own) or (f", only {', '.join(own)}" if own else "")
