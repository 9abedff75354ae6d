"""What a file is that was meant to have a JSON object a line, and has not: told once, in place of an error a line."""

import json
import re

from data.formats.strict_json import BOM

_NUM_LINES = 50
"""Lines that are looked at: one good record among them, and the others are bad lines of what was meant."""
_TABLE = re.compile(r"""("[^"]*+"|[\w .-]++)([,;\t]("[^"]*+"|[\w .-]*+))++""")
"""The names of columns."""
_EACH_ON_ITS_LINE = "write each on a line of its own (jq -c . FILE)"
_WRITTEN_BY_JSON = "write it by a JSON library (json.dumps)"


def told_by(head: bytes) -> str:
    """Return what a file is by its beginning, and what would be right; empty for lines of JSON, good or bad.

    >>> told_by(b'id,prompt\\n1,a\\n')
    'a table in CSV or the like; write each row as a JSON object on a line of its own'
    """
    text = head.removeprefix(BOM).decode(errors="replace").lstrip()
    lines = [line for line in text.split("\n", _NUM_LINES)[:_NUM_LINES] if line.strip()]
    if not lines or any(map(_is_object, lines)):
        return ""
    return _objects(text) if text.startswith("{") else _other(lines[0])


def _is_object(line: str) -> bool:
    try:
        return bool(line.strip()) and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _objects(text: str) -> str:
    """Return what is wrong with objects that stand otherwise than on a line each."""
    if re.match(r"\{\s*'", text):
        return f"written as Python prints dicts, which is no JSON; {_WRITTEN_BY_JSON}"
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return ""
    rest = text[end:]
    if rest.startswith("\r") and "\n" not in text:
        return "text whose lines end with carriage returns alone; save it with line feeds"
    if re.match(r"\s*,\s*\{", rest):
        return "JSON objects with commas between them; leave those out, or put [ before the first and ] behind the last"
    if "\n" in text[:end].rstrip():
        return f"JSON objects over several lines; {_EACH_ON_ITS_LINE}"
    return f"JSON objects one after the other on a line; {_EACH_ON_ITS_LINE}" if rest.startswith("{") else ""


def _other(line: str) -> str:
    if line.startswith(("//", "/*", "#")):
        return f"a text that begins with a comment, which JSON does not have; {_WRITTEN_BY_JSON}"
    if line.startswith("<"):
        return "a page in HTML or XML, perhaps of a download that failed; fetch it again"
    if _TABLE.fullmatch(line.strip()):
        return "a table in CSV or the like; write each row as a JSON object on a line of its own"
    return ""
