"""Judge prompts as a benchmark's own checkout has them: text files, or strings in Python sources, which are not run."""

import ast
import re
from collections.abc import Mapping
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
    for node in ast.walk(_parsed(checkout, name)):
        if isinstance(node, ast.Assign) and any(isinstance(at, ast.Name) and at.id == variable for at in node.targets):
            value, is_stripped = node.value, False
            if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr == "strip":
                value, is_stripped = value.func.value, True
            if (text := _text_of(value)) is not None:
                return text.strip() if is_stripped else text
    raise ValueError(f"--prompts {checkout}: {name} assigns no text to {variable}")


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
