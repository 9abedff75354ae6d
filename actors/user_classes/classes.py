"""A user-defined class that a recipe names (`my_module:MyJudge`, `./my_file.py:MyJudge`): found, checked, made."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rewards.compose import raised
from rewards.functions.import_path import FunctionError, anchored, identity_of, load_object, name_of
from rollout.text.limits import nearest


@dataclass(frozen=True)
class UserClass:
    """A class by its path, with its keyword arguments and the methods it must have. Picklable."""

    path: str
    options: Mapping[str, object]
    methods: Mapping[str, tuple[str, ...]]
    """Their names, each with what it is given."""
    where: str
    """The recipe's key that names it."""
    may_have: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Methods that it may lack."""

    def make(self) -> object:
        """Return a new object. Raises ValueError, in one line, if the class is not found or cannot be made."""
        try:
            found = self._found()
        except FunctionError as error:
            raise self._wrong(str(error)) from error
        try:
            made = found(**self.options)
        except Exception as error:
            why = f"{raised(error)}{_meant(found, self.options)}"
            raise self._wrong(f"{name_of(self.path)}({_told(self.options)}) {why}") from error
        if missing := [name for name in self.methods if not callable(getattr(made, name, None))]:
            raise self._wrong(f"it has no method {' and no '.join(missing)}; expected {' and '.join(self.methods)}")
        for name, given in {**self.methods, **self.may_have}.items():
            if (method := getattr(made, name, None)) and (taken := _unfit(method, given)):
                raise self._wrong(f"{self.name}.{name} takes {taken}; it is given ({', '.join(given)})")
        return made

    @property
    def name(self) -> str:
        return name_of(self.path)

    @property
    def identity(self) -> str:
        """The path with a digest of its file, and the options. Raises ValueError if there is no file."""
        try:
            found = identity_of(self.path)
        except FunctionError as error:
            raise self._wrong(str(error)) from error
        return f"{found} {json.dumps(self.options, sort_keys=True)}" if self.options else found

    def anchored(self) -> UserClass:
        """Return the class with its file's absolute path: actors do not share the driver's working folder."""
        return replace(self, path=anchored(self.path, Path.cwd()))

    def _found(self) -> type:
        try:
            found = load_object(self.path)
        except FunctionError:
            raise
        except Exception as error:
            raise FunctionError(f"its module {raised(error)}") from error
        if not inspect.isclass(found):
            raise FunctionError(f"{name_of(self.path)} is a {type(found).__name__}, expected a class")
        return found

    def _wrong(self, why: str) -> ValueError:
        return ValueError(f"{self.where} is {self.path!r}: {' '.join(why.split())}")


async def call(method: Any, *arguments: object) -> Any:
    """Call a user's method; one that is not async runs in a thread."""
    if inspect.iscoroutinefunction(method):
        return await method(*arguments)
    answer = await asyncio.to_thread(method, *arguments)
    return await answer if inspect.isawaitable(answer) else answer


def _unfit(method: Callable[..., object], given: tuple[str, ...]) -> str:
    """Return a method's parameters where it cannot be called with what it is given; empty where it can."""
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):  # written in C: only a call tells
        return ""
    try:
        signature.bind(*given)
    except TypeError:
        return str(signature)
    return ""


def _meant(found: type, options: Mapping[str, object]) -> str:
    """Return which keyword argument may have been meant by one that a class does not take; empty if it takes all."""
    try:
        known = inspect.signature(found).parameters
    except (TypeError, ValueError):
        return ""
    if any(one.kind is one.VAR_KEYWORD for one in known.values()):
        return ""
    return next((nearest(name, known) for name in options if name not in known), "")


def _told(options: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in options.items())
