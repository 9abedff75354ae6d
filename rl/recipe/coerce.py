"""What a recipe file or an override says, held against the configuration that it is for, one leaf at a time.

Where the schema says text, the text is as it was written; `~` is the home folder where it says a path. Whatever does
not fit is refused in one line: the file, the key, what was given and what would be right.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, is_dataclass
from functools import cache
from typing import Any, get_args, get_origin

from actors.config import JudgeConfig
from actors.judge.config import GONE
from rl.recipe.yaml import Delete, Plain, parse_yaml
from rollout.text.limits import Like, Tilde, hints_of, item_hints, nearest, parts_of, shown
from rollout.text.marks import is_unicode

_BOOLEANS = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "1", "0"})
_NULL = frozenset({"null", "Null", "NULL", "~", ""})
_JOB_IDS = ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID")
"""The environment variables that a recipe may refer to: they name a job, and are no secrets."""
_REFERENCE = re.compile(rf"\$\{{\s*(oc\.env:({'|'.join(_JOB_IDS)})|\.*[\w\-\[\]]+(\.[\w\-\[\]]+)*)\s*\}}")
_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


@dataclass
class Fitting:
    """Fits what one source says to a kind of recipe; `dropped` are the keys that it deletes."""

    kind: type | None
    where: str
    dropped: list[str] = field(default_factory=list)

    def __call__(self, said: object, hint: object = None, key: str = "") -> Any:
        """Return plain values of the right types. Raises ValueError."""
        return self._fitted(said, hint or self.kind or Any, key)

    def hint_at(self, key: str) -> object:
        """Return the type of a dotted key, a list's items by number. Raises ValueError where there is no such key."""
        hint: object = self.kind or Any
        path = ""
        for name in key.split("."):
            kind: object = _kind(hint)
            path = f"{path}.{name}".lstrip(".")
            if not name:
                raise ValueError(f"{self.where}: unknown key {key}: a part of it is empty")
            if is_dataclass(kind):
                hint = self._hints(kind, path, name)
            elif get_origin(kind) in (list, tuple):
                if not name.isdigit():
                    raise ValueError(f"{self.where}: {path}: expected a number of the list, like {path[: -len(name)]}0")
                hint = item_hints(kind, int(name) + 1)[-1]
            elif get_origin(kind) is dict:
                hint = get_args(kind)[1]
            elif kind is not Any:
                raise ValueError(f"{self.where}: unknown key {path}: {path[: -len(name) - 1]} has no keys of its own")
        return hint

    def parse(self, text: str, key: str) -> object:
        """Return the value of an override, `key=text`, by the type of its key."""
        hint = self.hint_at(key)
        kind, _, is_optional = parts_of(hint)
        if kind is str:
            if is_optional and text in _NULL:
                return None
            return self(_unquoted(text), hint, key)
        if "${" in text:  # resolved within the recipe: evaluation.seed=${seed}
            return self(text, hint, key)
        try:
            said = parse_yaml(text, "the value")
        except ValueError as error:
            raise ValueError(f"override {shown(f'{key}={text}')}: {error}") from None
        return self(said, hint, key)

    def _fitted(self, said: object, hint: object, key: str) -> object:
        kind: object = _kind(hint)
        is_optional = parts_of(hint)[2]
        if said is Delete.DELETE:
            raise ValueError(f"{self.where}: {key}: !delete is for a key of a mapping in a file; here say ~key")
        if isinstance(said, str) and "${" in said:
            self._check_references(said, key)
            if kind is not str:
                return said
        value = said.value if isinstance(said, Plain) else said
        if value is None and is_optional:
            return None
        if is_dataclass(kind) and isinstance(value, dict):
            return self._mapping(value, lambda name, path: self._hints(kind, path, name), key)
        if get_origin(kind) is dict and isinstance(value, dict):
            return self._mapping(value, lambda name, path: get_args(kind)[1], key)
        if get_origin(kind) in (list, tuple) and isinstance(value, list):
            return self._sequence(value, kind, key)
        if kind is Any:
            return self._untyped(value, key)
        if (fitted := _scalar(said, kind)) is None:
            raise ValueError(f"{self._named(key)} is {shown(value)}; expected {_wanted(kind, is_optional)}")
        return self._at_home(fitted, hint, key) if isinstance(fitted, str) else fitted

    def _mapping(self, said: dict[str, object], hint_of: Callable[[str, str], object], key: str) -> dict[str, object]:
        fitted = {}
        for name, value in said.items():
            path = f"{key}.{name}".lstrip(".")
            if not name:
                raise ValueError(f"{self.where}: {key or 'the recipe'} has a key without a name")
            if not is_unicode(name):
                raise ValueError(f"{self._named(key)} has a key {shown(name)}; expected text without broken Unicode")
            hint = hint_of(name, path)
            if value is Delete.DELETE:
                self.dropped.append(path)
            else:
                fitted[name] = self._fitted(value, hint, path)
        return fitted

    def _sequence(self, said: list[object], kind: object, key: str) -> list[object]:
        if get_origin(kind) is tuple and len(said) != len(get_args(kind)):
            raise ValueError(f"{self._named(key)} has {len(said)} items; expected {_wanted(kind, False)}")
        hints = item_hints(kind, len(said))
        return [
            self._fitted(item, hint, f"{key}.{place}")
            for place, (item, hint) in enumerate(zip(said, hints, strict=True))
        ]

    def _untyped(self, value: object, key: str) -> object:
        if isinstance(value, dict):
            return self._mapping(value, lambda name, path: Any, key)
        if isinstance(value, list):
            return [self._fitted(item, Any, f"{key}.{place}") for place, item in enumerate(value)]
        if isinstance(value, str) and not is_unicode(value):
            raise ValueError(f"{self._named(key)} is {shown(value)}; expected text without broken Unicode")
        return value

    def _hints(self, kind: object, path: str, name: str) -> object:
        hints = hints_of(kind)
        if name in hints:
            return hints[name]
        if kind is JudgeConfig and name in GONE:
            raise ValueError(f"{self.where}: {path} is no setting any more: {GONE[name]}")
        raise ValueError(f"{self.where}: unknown key {path}{self._meant(name, hints)}")

    def _meant(self, name: str, siblings: dict[str, object]) -> str:
        """Return a hint at the key that was meant: one of this name elsewhere, else a like one beside, or anywhere."""
        assert self.kind is not None
        everywhere = _keys(self.kind)
        if exact := [key for key in everywhere if key.rpartition(".")[2] == name]:
            return f"; did you mean {min(exact, key=lambda key: key.count('.'))}?"
        if beside := nearest(name, siblings):
            return beside
        last_names = {key.rpartition(".")[2]: key for key in reversed(everywhere)}
        elsewhere = nearest(name, last_names, cutoff=0.7)
        return f"; did you mean {last_names[elsewhere[15:-1]]}?" if elsewhere else ""

    def _check_references(self, text: str, key: str) -> None:
        left, before = text, ""
        while left != before:  # from the inside out: ${a.${b}}
            left, before = _REFERENCE.sub("x", left), left
        if "${" in left:
            raise ValueError(
                f"{self._named(key)} is {shown(text)}; expected ${{...}} around another key, like ${{name}}, or around "
                f"oc.env: and one of {', '.join(_JOB_IDS)}: what a recipe says is written into the run's folder, "
                "where no secret belongs"
            )

    def _at_home(self, text: str, hint: object, key: str) -> str:
        for rule in parts_of(hint)[1]:
            if isinstance(rule, Tilde):
                try:
                    return rule.expand(text)
                except ValueError as error:
                    raise ValueError(f"{self._named(key)}: {error}") from None
        return text

    def _named(self, key: str) -> str:
        return f"{self.where}: {key or 'the recipe'}"


def _kind(hint: object) -> Any:
    kind, rules, _ = parts_of(hint)
    likes = [rule.kind for rule in rules if isinstance(rule, Like)]
    return likes[0] if likes else kind


def _scalar(said: Any, kind: Any) -> str | int | float | bool | None:
    """Return a scalar as a field of this kind takes it; None where it does not."""
    value = said.value if isinstance(said, Plain) else said
    if kind is str:
        if isinstance(said, Plain):
            return said.text if value is not None or said.text == "" else None
        return said if isinstance(said, str) else None
    if kind is bool:
        is_word = isinstance(value, str) and value.lower() in _BOOLEANS
        return value if is_word or isinstance(value, bool) or value in (0, 1) else None
    if isinstance(value, bool) or not isinstance(value, str | int | float) or kind not in (int, float):
        return None
    try:
        return kind(value) if isinstance(value, str) or kind is float else value if isinstance(value, int) else None
    except (ValueError, OverflowError):
        return None


def _wanted(kind: Any, is_optional: bool) -> str:
    if isinstance(kind, type) and is_dataclass(kind):
        first = next(iter(hints_of(kind)))
        words = f"settings like {{{first}: ...}}"
    elif get_origin(kind) is tuple:
        words = f"a list of {len(get_args(kind))} items, like [{', '.join(_word(one) for one in get_args(kind))}]"
    elif get_origin(kind) is list:
        words = f"a list, like [{_word(get_args(kind)[0])}, ...]"
    elif get_origin(kind) is dict:
        words = "a mapping, like {key: value}"
    else:
        words = _WORDS[kind]
    return f"{words}, or null" if is_optional else words


def _word(hint: object) -> str:
    return {str: "name", int: "1", float: "0.9"}.get(_kind(hint), "{...}")


def _unquoted(text: str) -> str:
    """Return the text of an override as typed, or without the quotes that stand around it.

    >>> _unquoted("2024_11"), _unquoted("''"), _unquoted("'it''s'"), _unquoted("'a' and 'b'")
    ('2024_11', '', "it's", "'a' and 'b'")
    """
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        try:
            said = parse_yaml(text, "")
        except ValueError:
            return text
        return said if isinstance(said, str) else text
    return text


@cache
def _keys(kind: type) -> tuple[str, ...]:
    """Return the dotted keys of a kind of recipe, in their order."""
    found: list[str] = []
    for name, hint in hints_of(kind).items():
        inner, path = parts_of(hint)[0], name
        if get_origin(inner) in (list, dict):
            path, inner = f"{name}.{'0' if get_origin(inner) is list else 'NAME'}", parts_of(get_args(inner)[-1])[0]
        found.append(name)
        if isinstance(inner, type) and is_dataclass(inner):
            found += [f"{path}.{key}" for key in _keys(inner)]
    return tuple(found)
