"""A text out of a Python file, as prompts stand in somebody else's checkout: read, never imported or run."""

import ast

from rollout.text.limits import nearest

_PYTHON = ".py"
_OUR_FIELDS = {"text_input": "request", "original_instruction": "instruction", "rewritten_prompt": "prompt"}
"""Fields of the public system's prompts, and the names that they have here."""


def split_name(path: str) -> tuple[str, str]:
    """Return a prompt's file, and the name of its text in there; '' for a file that is a text itself.

    Raises ValueError for a Python file without a name.

    >>> split_name("theirs/system.py:CRITIC"), split_name("prompts/critic.txt")
    (('theirs/system.py', 'CRITIC'), ('prompts/critic.txt', ''))
    """
    file, mark, name = path.rpartition(f"{_PYTHON}:")
    if path.endswith((_PYTHON, f"{_PYTHON}:")):
        raise ValueError(f"{path} is a Python file: say which of its texts is meant, like {path.rstrip(':')}:NAME")
    return (file + _PYTHON, name) if mark else (path, "")


def python_text(source: str, name: str, where: str) -> str:
    """Return the text that a module gives a name at its top level; of several, the last. Raises ValueError.

    `where` is the file, for the message.

    >>> python_text("PLAN = 'Plan ' + 'it: ' 'a cat'", "PLAN", "system.py")
    'Plan it: a cat'
    """
    try:
        values = _assigned(ast.parse(source))
        if name not in values:
            raise ValueError(f"{where} gives nothing the name {name} at its top level{nearest(name, values)}")
        text = _text_of(values[name])
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"{where} cannot be read as Python: {error}") from None
    if text is None:
        line = values[name].lineno
        raise ValueError(f"{where}:{line}: {name} is no plain text; expected texts in quotes, alone or added up")
    return text


def with_our_fields(text: str) -> str:
    """Return a prompt of the public system with its fields under the names that they have here.

    >>> with_our_fields('{original_instruction} {"a": 1}')
    '{instruction} {"a": 1}'
    """
    for theirs, ours in _OUR_FIELDS.items():
        text = text.replace(f"{{{theirs}}}", f"{{{ours}}}")
    return text


def _assigned(module: ast.Module) -> dict[str, ast.expr]:
    values: dict[str, ast.expr] = {}
    for line in module.body:
        match line:
            case ast.Assign(targets=targets, value=value):
                values |= {target.id: value for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                values[name] = value
    return values


def _text_of(value: ast.expr) -> str | None:
    """Return what literals say, side by side or added up; None where anything has to be computed."""
    match value:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            texts = [_text_of(part) for part in parts]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            texts = [_text_of(left), _text_of(right)]
        case _:
            return None
    return None if None in texts else "".join(text for text in texts if text is not None)
