"""Judge prompts as a benchmark's own checkout has them: text files, or strings in Python sources, which are not run."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from rollout.text.marks import read_text


def text_file(checkout: Path, name: str) -> str:
    """Return a file of a checkout. Raises ValueError."""
    try:
        return read_text(checkout / name)
    except OSError:
        raise ValueError(f"--prompts {checkout} has no {name}: it is not a checkout of the benchmark") from None


def string_named(checkout: Path, name: str, variable: str) -> str:
    """Return the string assigned to a variable of a Python file, stripped where its source strips it.

    An f-string's fields stand as {source}. Raises ValueError.
    """
    for value in _values_of(checkout, name, variable):
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr == "strip":
            if (text := _text_of(value.func.value)) is not None:
                return text.strip()
        elif (text := _text_of(value)) is not None:
            return text
    raise ValueError(f"--prompts {checkout}: {name} assigns no text to {variable}")


def texts_named(checkout: Path, name: str, variable: str) -> list[str]:
    """Return the texts of the list, or the values of the dictionary, assigned to a variable. Raises ValueError."""
    for value in _values_of(checkout, name, variable):
        parts = value.values if isinstance(value, ast.Dict) else value.elts if isinstance(value, ast.List) else []
        texts = [text for part in parts if (text := _text_of(part)) is not None]
        if texts and len(texts) == len(parts):
            return texts
    raise ValueError(f"--prompts {checkout}: {name} assigns no texts to {variable}")


def strings_in(checkout: Path, name: str, function: str) -> list[str]:
    """Return the texts within a function of a Python file that hold a blank, in their order, f-strings as above.

    Raises ValueError.
    """
    for node in ast.walk(_parsed(checkout, name)):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            found = [text for text in _texts_below(node) if " " in text.strip()]
            if found:
                return found
    raise ValueError(f"--prompts {checkout}: {name} has no function {function} with texts")


def filled(template: str, values: Mapping[str, str]) -> str:
    """Put values in place of marks, each mark looked for once: what a value says is never filled again.

    >>> filled("<<a>> {b}", {"<<a>>": "{b}", "{b}": "c"})
    '{b} c'
    """
    marks = "|".join(map(re.escape, values))
    return re.sub(marks, lambda found: values[found[0]], template) if marks else template


def formatted(template: str, values: Mapping[str, str]) -> str:
    """Fill a template as `str.format` does, but for fields that nobody has a value for, which stay.

    >>> formatted('{a} {{"b": {c}}}', {"a": "{{x}}"})
    '{{x}} {"b": {c}}'
    """
    return filled(template, {"{{": "{", "}}": "}", **{f"{{{name}}}": value for name, value in values.items()}})


def _values_of(checkout: Path, name: str, variable: str) -> Iterator[ast.expr]:
    """Yield what a Python file assigns to a variable."""
    for node in ast.walk(_parsed(checkout, name)):
        if isinstance(node, ast.Assign) and any(isinstance(at, ast.Name) and at.id == variable for at in node.targets):
            yield node.value


def _parsed(checkout: Path, name: str) -> ast.Module:
    source = text_file(checkout, name)
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise ValueError(f"--prompts {checkout}: {name} is no Python: {error}") from None


def _text_of(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            f"{{{ast.unparse(part.value)}}}" if isinstance(part, ast.FormattedValue) else str(_text_of(part))
            for part in node.values
        )
    return None


def _texts_below(node: ast.AST) -> list[str]:
    if (text := _text_of(node)) is not None:
        return [text]
    return [text for child in ast.iter_child_nodes(node) for text in _texts_below(child)]
