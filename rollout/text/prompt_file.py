"""Prompt files: a version line, a system message above a line `---`, and `{fields}` that no user's text adds to."""

import re
from collections.abc import Mapping

from rollout.text.marks import IMAGE_MARK, without_image_marks

_VERSION = re.compile(r"\A#[ \t]*version:[ \t]*(\S+)[ \t]*\n+")
_FIELD = re.compile(r"\{(\w+)\}")


def split_version(text: str) -> tuple[str, str]:
    """Return a prompt file's version ('' where it states none) and the prompt without that line.

    >>> split_version("# version: 2\\nJudge it.")
    ('2', 'Judge it.')
    """
    found = _VERSION.match(text)
    return (found.group(1), text[found.end() :].strip()) if found else ("", text.strip())


def split_system(text: str) -> tuple[str, str]:
    """Return a prompt file's system message ('' where it has none) and the user's, without a version line.

    >>> split_system("# version: 2\\nBe strict.\\n---\\nJudge it.")
    ('Be strict.', 'Judge it.')
    """
    system, separator, user = _VERSION.sub("", text).partition("\n---\n")
    return (system.strip(), user.strip()) if separator else ("", system.strip())


def check_template(template: str, fields: tuple[str, ...], *, num_images: int, name: str) -> None:
    """Raise ValueError unless every field is there exactly once, and each image has its mark."""
    for field in fields:
        if (count := template.count(f"{{{field}}}")) != 1:
            raise ValueError(f"{name} needs {{{field}}} once, found {count}")
    if (count := template.count(IMAGE_MARK)) != num_images:
        raise ValueError(f"{name} needs {num_images} {IMAGE_MARK} marks, found {count}")


def fill(template: str, values: Mapping[str, str]) -> str:
    """Put values into the fields of the same names, all at once: a value with braces adds no field.

    Image marks count the images of a question, so they are taken out of every value but `images`.

    >>> fill("{images}: {instruction}", {"images": "<image>", "instruction": "draw {images} <image>!"})
    '<image>: draw {images} !'
    """
    values = {name: value if name == "images" else without_image_marks(value) for name, value in values.items()}
    return _FIELD.sub(lambda found: values.get(found.group(1), found.group()), template)
