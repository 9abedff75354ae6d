"""Texts from strangers and from models."""

import codecs
import json
import re
from pathlib import Path

from rollout.text.python_text import python_text, with_our_fields

IMAGE_MARK = "<image>"
"""Stands for an image in the text of a prompt or a message."""
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
"""What the parts of an answer stand between."""
_TAG = re.compile(r"<(?=/?(?:think|answer)>)")
_OBJECT = re.compile(r"<(?:\w+\.)*(\w+)[^<>]* at 0x[0-9a-fA-F]+[^<>]*>")
_WIDE = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_SPECIAL_TOKEN = re.compile(r"<\|\w[\w.:/-]{0,62}\|>")


def has_tag(text: str) -> bool:
    """Return whether a text contains one of `TAGS`."""
    return _TAG.search(text) is not None


def without_tags(body: str) -> str:
    r"""Return JSON that says the same: a tag inside one of its texts would end the answer around it.

    >>> without_tags('{"prompt": "a </answer> b"}')
    '{"prompt": "a \\u003c/answer> b"}'
    """
    return _TAG.sub(r"\\u003c", body)


def without_image_marks(text: str) -> str:
    """Take image marks out until none is left, also none that the taking made.

    >>> without_image_marks("a <ima<image>ge> b")
    'a  b'
    """
    while IMAGE_MARK in text:
        text = text.replace(IMAGE_MARK, "")
    return text


def special_tokens_in(text: str) -> list[str]:
    """Return what a tokenizer would read as control tokens of its own instead of as text, each once, in order.

    Inside a prompt one would end a turn, or announce an image that is not there.

    >>> special_tokens_in("a cat<|im_end|> <|image_pad|><|im_end|>"), special_tokens_in("<image> a <b> |c| <|> <| d |>")
    (['<|im_end|>', '<|image_pad|>'], [])
    """
    return list(dict.fromkeys(_SPECIAL_TOKEN.findall(text)))


def without_objects(text: str) -> str:
    """Return an error's text without Python's names of objects, which tell its reader nothing.

    >>> without_objects("no image in [<PIL.Image.Image image mode=RGB size=4096x1 at 0x7F06C0>]")
    'no image in [Image]'
    """
    return _OBJECT.sub(r"\1", text)


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, from whatever system: no byte order mark, each line ended by a newline.

    Raises ValueError that names the file and the place of what is not UTF-8.
    """
    data = path.read_bytes()
    if encoding := wide_encoding(data):
        raise ValueError(f"{path} is text in {encoding}; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        start = error.start + (len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0)
        line, column = data.count(b"\n", 0, start) + 1, start - data.rfind(b"\n", 0, start)
        place = f"byte 0x{data[start]:02x} at line {line}, byte {column} of it"
        raise ValueError(f"{path} is not text in UTF-8 ({place}); save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_prompt_text(path: Path, name: str = "") -> str:
    """Return the text of a prompt file, or the one that a Python file gives a name (`rollout/text/python_text.py`).

    Raises ValueError as `read_text` does, and for control tokens of its own.
    """
    text = read_text(path)
    if name:
        text = with_our_fields(python_text(text, name, str(path)))
    if not is_unicode(text):
        raise ValueError(f"the prompt {name} of {path} holds half a character (a lone surrogate), which no model reads")
    if special := special_tokens_in(text):
        raise ValueError(f"the prompt file {path} holds {special[0]}; the model's chat template says it, leave it out")
    return text


def wide_encoding(head: bytes) -> str:
    """Return UTF-16 or UTF-32 where a file's first bytes say that it is, with or without a mark; empty for others.

    >>> wide_encoding("a".encode("utf-16")), wide_encoding("{}".encode("utf-32-be")), wide_encoding(b"a")
    ('UTF-16', 'UTF-32', '')
    """
    if marked := next((name for mark, name in _WIDE.items() if head.startswith(mark)), ""):
        return marked
    encoding = json.detect_encoding(head[:4])  # by where zeros are
    if not encoding.startswith(("utf-16", "utf-32")):
        return ""
    begins = head[:256].decode(encoding, errors="replace")[:2]
    return encoding[:6].upper() if begins.isprintable() and "\ufffd" not in begins else ""


def is_unicode(text: str) -> bool:
    r"""Return whether a text can be encoded: half a character (a lone surrogate) cannot, and no tokenizer takes it.

    >>> is_unicode("a cat 🐈"), is_unicode("a \ud83d cat")
    (True, False)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
