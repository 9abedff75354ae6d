"""What a setting may be: types for the fields of configurations, and the one check that goes by them.

    lr: Annotated[float, Ge(0), Le(1)] = 2e-6
    dtype: Annotated[str, one_of("float32", "bfloat16")] = "float32"

A recipe's reader checks every leaf, with its whole dotted key (`rl/recipe/coerce.py`); a configuration that is made
in Python checks its own fields (`check_fields`).
"""

import difflib
import importlib
import math
import re
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

_MOST = {int: 2**31 - 1, float: 1e15}
"""Where a field names no upper limit of its own: beyond these a number is a slip of the keyboard."""
_OWN_PATH = re.compile(r".+:[^\W\d]\w*", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Noun:
    """What a number is called in messages, in place of "a number"."""

    text: str


@dataclass(frozen=True)
class Rule:
    """What a value has to be, in words and as a test."""

    expected: str
    holds: Callable[[Any], bool]
    choices: tuple[str, ...] = ()
    is_secret: bool = False
    """A wrong value is not shown: it may be the secret itself."""


@dataclass(frozen=True)
class Tilde:
    """A text in which `~` stands for a home folder, once or on both sides of an equals sign."""

    separator: str = ""

    def expand(self, text: str) -> str:
        """Return the text with home folders in full. Raises ValueError where there is no such user."""
        parts = text.split(self.separator) if self.separator else [text]
        return self.separator.join(_at_home(part) for part in parts)


@dataclass(frozen=True)
class Like:
    """A mapping with the keys of a configuration, named by its import path, that is made of it later."""

    path: str

    @property
    def kind(self) -> type:
        module, _, name = self.path.rpartition(".")
        kind: type = getattr(importlib.import_module(module), name)
        return kind


def one_of(*values: str | int) -> Rule:
    """Return the rule of a closed choice."""
    names = tuple(map(str, values))
    few = " or ".join(name or "empty" for name in names)
    return Rule(few if len(names) < 3 else f"one of {', '.join(names)}", lambda value: value in values, names)


def one_of_or_own(*names: str) -> Rule:
    """Return the rule of a choice that is open for whatever of the user's own a path names."""
    expected = f"one of {', '.join(names)}, or one of your own, like my_module:MyName or ./my_file.py:MyName"
    return Rule(expected, lambda value: value in names or is_own(value), names)


def is_own(name: str | None) -> bool:
    """Whether a name is the path of something of the user's own.

    >>> is_own("openai"), is_own("my_package.judges:Strict"), is_own("./judges.py:Strict")
    (False, True, True)
    """
    return name is not None and _OWN_PATH.fullmatch(name) is not None


def _is_url(text: str) -> bool:
    return re.fullmatch(r"https?://[^\s/?#]+(/\S*)?", text) is not None


def _is_path(text: str) -> bool:
    return all(len(part.encode(errors="replace")) <= 255 for part in text.split("/"))


OWN = Rule("the path of a function of your own, like my_module:my_name or ./my_file.py:my_name", is_own)
PositiveInt = Annotated[int, Ge(1)]
NonNegativeInt = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0)]
NonNegativeFloat = Annotated[float, Ge(0)]
Seconds = Annotated[float, Gt(0), Le(1e9), Noun("seconds")]
Share = Annotated[float, Ge(0), Le(1), Noun("a share")]
Score = Annotated[float, Ge(0), Le(10), Noun("a judge's score")]
Temperature = Annotated[float, Ge(0), Le(100), Noun("a temperature")]
Seed = Annotated[int, Ge(-(2**63)), Le(2**63 - 1)]
Port = Annotated[int, Ge(0), Le(65535), Noun("a port")]
Cpus = Annotated[float, Ge(0), Le(1e6)]
Gpus = Annotated[
    float,
    Le(1e6),
    Rule("a whole number of GPUs, a share below 1, or 0", lambda n: 0 <= n <= 1 or (n > 0 and n == int(n))),
]
Dtype = Annotated[str, one_of("float32", "bfloat16", "float16")]
Name = Annotated[str, Rule("a name", lambda text: text.strip() != "")]
RunName = Annotated[
    Name,
    Rule(
        "a name for a folder: at most 128 characters, no space around it, not . or ..",
        lambda text: len(text) <= 128 and text == text.strip() and text not in (".", ".."),
    ),
]
PathText = Annotated[str, Tilde(), Rule("a path whose parts have at most 255 bytes", _is_path)]
"""A file, a folder or a hub id; it may be empty."""
RequiredPath = Annotated[PathText, Rule("a path", lambda text: text.strip() != "")]
Url = Annotated[str, Rule("a URL like http://host:8000/v1", lambda text: not text or _is_url(text))]
KeyVariable = Annotated[
    str,
    Rule(
        "the name of an environment variable, like OPENAI_API_KEY (what was given is not shown: it may be the key)",
        lambda text: re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)?", text) is not None,
        is_secret=True,
    ),
]


def check_fields(config: object, section: str) -> None:
    """Raise ValueError for the first field that is not what its type allows; parts have checked themselves."""
    kind: object = type(config)
    for name, hint in hints_of(kind).items():
        check_value(getattr(config, name), hint, f"{section}.{name}".lstrip("."))


def check_value(value: object, hint: object, key: str) -> None:
    """Raise ValueError that says which key is wrong, what was given and what would be right."""
    kind, rules, _ = parts_of(hint)
    for rule in rules:
        kind = rule.kind if isinstance(rule, Like) else kind
    if isinstance(value, dict) and isinstance(kind, type) and is_dataclass(kind):
        for name, field_hint in hints_of(kind).items():
            if name in value:
                check_value(value[name], field_hint, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list | tuple):
        items = item_hints(kind, len(value))
        for place, item in enumerate(value):
            check_value(item, items[place], f"{key}.{place}")
    elif isinstance(value, dict):
        item_hint = get_args(kind)[1] if get_origin(kind) is dict else Any
        for name, item in value.items():
            check_value(item, item_hint, f"{key}.{name}")
    elif (
        isinstance(value, str | int | float)
        and not isinstance(value, bool)
        and value != "???"
        and (expected := _expected(value, kind, rules))
    ):
        raise ValueError(f"{key} is {expected}")


def _expected(value: str | int | float, kind: object, rules: tuple[object, ...]) -> str:
    """Return "<given>; expected <what would be right>", or nothing where a value is right."""
    if isinstance(value, str):
        if _CONTROL.search(value) and kind is not Any:
            return f"{shown(value)}; expected text without control characters or broken Unicode"
        if kind in _MOST:
            return f"{shown(value)}; expected {_number_words(kind, rules)}"
    elif not math.isfinite(value):
        return f"{shown(value)}; expected {_number_words(kind, rules)}"
    elif kind in _MOST and value > _MOST[kind] and not any(isinstance(rule, Le | Lt) for rule in rules):
        rules = (*rules, Le(_MOST[kind]))
    for rule in rules:
        if isinstance(rule, Rule) and not rule.holds(value):
            hint = nearest(str(value), rule.choices, cutoff=0.5)
            return f"{'not right' if rule.is_secret else shown(value)}; expected {rule.expected}{hint}"
        if isinstance(rule, Ge | Gt | Le | Lt) and not _is_within(value, rule):
            return f"{shown(value)}; expected {_number_words(kind, rules)}"
    return ""


def _is_within(value: Any, rule: Ge | Gt | Le | Lt) -> bool:
    match rule:
        case Ge():
            return bool(value >= rule.ge)
        case Gt():
            return bool(value > rule.gt)
        case Le():
            return bool(value <= rule.le)
        case Lt():
            return bool(value < rule.lt)
    raise AssertionError(rule)


def _number_words(kind: object, rules: Iterable[object]) -> str:
    """Return what a number may be.

    >>> _number_words(int, [Ge(1)]), _number_words(float, [Gt(0), Lt(1)]), _number_words(float, [])
    ('a whole number, 1 or more', 'a number above 0 and below 1', 'a finite number')
    """
    noun, low, high = "a whole number" if kind is int else "a number", "", ""
    for rule in rules:
        match rule:
            case Rule():
                return rule.expected
            case Noun():
                noun = rule.text
            case Ge():
                low = f"{rule.ge:,}".replace(",", "") + " or more"
            case Gt():
                low = f"above {rule.gt}"
            case Le():
                high = f"at most {rule.le:g}" if isinstance(rule.le, float) else f"at most {rule.le}"
            case Lt():
                high = f"below {rule.lt}"
    if low.endswith("or more") and high.startswith("at most"):
        return f"{noun} from {low.removesuffix(' or more')} to {high.removeprefix('at most ')}"
    if not low and not high:
        return noun if kind is int else noun.replace("a number", "a finite number")
    comma = "," if low.endswith("or more") else ""
    return f"{noun}{comma} {' and '.join(part for part in (low, high) if part)}"


@cache
def hints_of(kind: type) -> dict[str, object]:
    """Return the annotated types of a configuration's fields, in their order."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


@cache
def parts_of(hint: Any) -> tuple[Any, tuple[object, ...], bool]:
    """Return a hint as a plain type, the rules beside it, and whether it may be None."""
    is_optional, rules = hint is Any, ()
    while True:
        if get_origin(hint) is Annotated:
            rules, hint = (*hint.__metadata__, *rules), hint.__origin__
        elif get_origin(hint) in (Union, types.UnionType):
            is_optional = True
            (hint,) = (arg for arg in get_args(hint) if arg is not type(None))
        else:
            return hint, rules, is_optional


def item_hints(kind: object, count: int) -> tuple[object, ...]:
    """Return the hints of a sequence's items, `count` of them."""
    arguments = get_args(kind)
    if get_origin(kind) is tuple:
        return (*arguments, *[Any] * count)[:count]
    return (arguments[0] if arguments else Any,) * count


def shown(value: object) -> str:
    """Return what was given as a message shows it.

    >>> shown("bf16"), shown(3), shown(None), shown([1, 2])
    ("'bf16'", '3', 'empty (null)', 'a list')
    """
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "empty (null)"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return a hint at the known name that is most like this one, if one is.

    >>> nearest("weigth", ["fn", "weight"]), nearest("x", ["fn"]), nearest("LR", ["lr"])
    ('; did you mean weight?', '', '; did you mean lr?')
    """
    names = {one.lower(): one for one in known if one}
    found = difflib.get_close_matches(name.lower(), names, n=1, cutoff=cutoff)
    return f"; did you mean {names[found[0]]}?" if found else ""


def _at_home(text: str) -> str:
    if not text.startswith("~"):
        return text
    try:
        return str(Path(text).expanduser())
    except RuntimeError:
        raise ValueError(f"{text!r} begins with the home folder of a user who does not exist") from None
