"""Every key that a recipe may set, with what it may be, its default and what it means: read off the configurations."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt

from rollout.text.limits import Like, Noun, Rule, hints_of, parts_of

_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}
_ANY = 1e6
"""Limits beyond are there for slips of the keyboard alone."""
_DEEPEST = 5
"""Levels: an ensemble's members are judges, which may be ensembles."""


@dataclass(frozen=True)
class Key:
    """A key of a recipe."""

    path: str
    """Dotted; `<name>` stands for a name of yours, `<number>` for a place in a list."""
    kind: str
    """What it may be, in words."""
    default: str
    """As YAML; empty for a section and for what has to be set."""
    text: str
    """What it means."""
    is_section: bool = False


def keys_of(kind: type, path: str = "", seen: tuple[type, ...] = ()) -> Iterator[Key]:
    """Yield the keys of a configuration, sections before their own keys, in the order of the code."""
    texts, hints = _texts(kind), hints_of(kind)
    for one in fields(kind):
        key = f"{path}.{one.name}".lstrip(".")
        plain, rules, is_optional = parts_of(hints[one.name])
        inner, below = _inner(plain, rules)
        text = texts.get(one.name) or (inspect.getdoc(inner) or "" if inner is not None else "")
        said = Key(
            key, _words(plain, rules, is_optional, inner), _default(one), " ".join(text.split()), inner is not None
        )
        yield said
        if inner is not None and inner not in seen and key.count(".") < _DEEPEST:
            yield from keys_of(inner, f"{key}{below}", (*seen, inner))


def _inner(plain: Any, rules: tuple[object, ...]) -> tuple[type | None, str]:
    """Return the configuration that stands at a key, and what its own keys' path has in between."""
    if like := next((rule for rule in rules if isinstance(rule, Like)), None):
        return like.kind, ""
    if is_dataclass(plain):
        return (plain if isinstance(plain, type) else type(plain)), ""
    below = {list: ".<number>", dict: ".<name>"}.get(get_origin(plain))
    if below is None:
        return None, ""
    item, its_rules, _ = parts_of(get_args(plain)[-1])
    inner, deeper = _inner(item, its_rules)
    return inner, f"{below}{deeper}"


def _words(plain: Any, rules: tuple[object, ...], is_optional: bool, inner: type | None) -> str:
    """Return what a value may be."""
    origin = get_origin(plain)
    if origin is list:
        said = f"list of {_words(*parts_of(get_args(plain)[0]), None)}" if inner is None else "list of sections"
    elif origin is tuple:
        said = f"{len(get_args(plain))} of {_words(*parts_of(get_args(plain)[0]), None)}"
    elif origin is dict:
        said = "mapping" if inner is None else "sections by name"
    elif inner is not None:
        said = "section"
    else:
        expected = [rule.expected for rule in rules if isinstance(rule, Rule)]
        noun = next((rule.text for rule in rules if isinstance(rule, Noun)), _WORDS.get(plain, "anything"))
        said = expected[-1] if expected else noun + _range(rules)
    return f"{said}, or null" if is_optional and plain is not Any else said


def _range(rules: tuple[object, ...]) -> str:
    """Return the limits of a number.

    >>> _range((Ge(0), Lt(1))), _range((Gt(0),)), _range(())
    (', 0 or more, below 1', ', above 0', '')
    """
    said = {}
    for rule in rules:  # a later one is the stricter one
        match rule:
            case Ge(ge=int() | float() as limit) if limit > -_ANY:
                said["low"] = f", {limit} or more"
            case Gt(gt=limit):
                said["low"] = f", above {limit}"
            case Le(le=int() | float() as limit) if limit < _ANY:
                said["high"] = f", at most {limit}"
            case Lt(lt=limit):
                said["high"] = f", below {limit}"
    return "".join(said[end] for end in ("low", "high") if end in said)


def _default(one: Field[object]) -> str:
    value = (
        one.default
        if one.default is not MISSING
        else one.default_factory()
        if one.default_factory is not MISSING
        else "???"
    )
    if value == "???" or is_dataclass(value):
        return ""
    if isinstance(value, dict | list | tuple):
        return "" if any(map(is_dataclass, value)) else str(value).replace("(", "[").replace(")", "]")
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    return str(value) if str(value) else '""'


@cache
def _texts(kind: type) -> dict[str, str]:
    """Return the docstrings below the fields of a class and of those that it is based on."""
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not is_dataclass(base):
            continue
        tree = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(tree, ast.ClassDef)
        for before, after in zip(tree.body, tree.body[1:], strict=False):
            match before, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=text)):
                    texts[name] = str(text)
    return texts
