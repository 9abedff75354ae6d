"""What a reward function's definition shows: sync or async, the evidence that it needs, whether it can be a reward."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

from rewards.functions.import_path import FunctionError
from rewards.needs import needs_of

_NO_NUMBERS = ("bool", "str", "bytes", "dict", "list", "tuple", "None", "NoneType", "Reward", "Scores", "Evidence")
_AWAITABLES = ("Awaitable", "Coroutine", "Future", "Task")


@dataclass(frozen=True)
class RewardSignature:
    """What is known about a reward function before its first call."""

    is_async: bool
    needs: tuple[str, ...] = ()
    """Names of further evidence that it needs (`rewards.needs`)."""


def signature_of(function: Callable[..., object]) -> RewardSignature:
    """Return what kind of reward function this is. Raises `FunctionError` if it cannot be one."""
    if inspect.isclass(function):
        raise FunctionError("is a class; name a function of the evidence")
    called = function if inspect.isroutine(function) else type(function).__call__
    if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        raise FunctionError("is a generator; return one float instead of yielding")
    if not _takes_evidence_alone(function):
        raise FunctionError(f"takes {inspect.signature(function)}; it is given the evidence alone")
    is_async, returned = inspect.iscoroutinefunction(called), _returned(function)
    if not is_async and returned.startswith(_AWAITABLES):
        raise FunctionError(f"returns {returned}: declare it with `async def`, returning a float")
    if returned in _NO_NUMBERS or returned.startswith(_AWAITABLES):
        raise FunctionError(f"is declared to return {returned}; a reward is a float")
    return RewardSignature(is_async, needs_of(function))


def reward_names(module: ModuleType) -> list[str]:
    """Return the names of a module's own public functions that look like rewards: evidence in, a number out."""
    return [name for name, function in _public(module) if not _why_none(function)]


def no_rewards(module: ModuleType) -> dict[str, str]:
    """Return why a module's other public functions do not look like rewards, by their names."""
    return {name: why for name, function in _public(module) if (why := _why_none(function))}


def _public(module: ModuleType) -> Iterator[tuple[str, Callable[..., object]]]:
    for name, value in vars(module).items():
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_"):
            yield name, value


def _why_none(function: Callable[..., object]) -> str:
    if not _takes_evidence_alone(function) or _asked(function) not in ("", "Evidence"):
        return f"it takes {inspect.signature(function)}, not the evidence alone"
    returned = _returned(function)
    return f"it is declared to return {returned}" if returned in _NO_NUMBERS else ""


def _takes_evidence_alone(function: Callable[..., object]) -> bool:
    parameters = inspect.signature(function).parameters.values()
    takes_one = any(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL) for p in parameters)
    is_open = [p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters]
    return takes_one and sum(is_open) <= 1 and not any(is_open[1:])


def _asked(function: Callable[..., object]) -> str:
    return _written(next(iter(inspect.signature(function).parameters.values())).annotation)


def _returned(function: Callable[..., object]) -> str:
    return _written(inspect.signature(function).return_annotation)


def _written(annotation: object) -> str:
    """Return an annotation as written in the source, without its module; empty if there is none."""
    if annotation is inspect.Signature.empty:
        return ""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return text.rpartition(".")[2] if "[" not in text else text.removeprefix("typing.").removeprefix("collections.abc.")
