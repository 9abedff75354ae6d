"""What a benchmark tells its judge, role by role: a text file of a folder, or strings of a checkout's Python files."""

from collections.abc import Sequence
from pathlib import Path

from evals.official.benchmark import Part
from evals.official.checkout import filled, string_named, text_file

INSTRUCTION = ("{instruction}", "{instruct}", "<instruction>", "<edit_prompt>")
"""How prompts mark where the instruction goes."""
REFERENCE = ("{reference}", "<reference>")
"""How they mark where the right answer goes, in words."""
_BRACES = {"{{": "{", "}}": "}"}
"""What is to be filled by `str.format` writes each brace of its own twice."""


def judge_text(
    checkout: Path, role: str, *, source: str, variables: Sequence[str] = (), marks: Sequence[Sequence[str]] = ()
) -> str:
    """Return the judge's text for a role: that of ROLE.txt, else of variables of one Python file, a line break between.

    Raises ValueError, also if one of `marks` is not in it: what it stands for would go untold.
    """
    if (checkout / f"{role}.txt").is_file():
        text = text_file(checkout, f"{role}.txt").strip()
    else:
        text = _of_variables(checkout, role, source, variables)
    for wanted in marks:
        if not any(mark in text for mark in wanted):
            raise ValueError(f"--prompts {checkout}: the text for {role} holds none of {', '.join(wanted)}")
    return text


def told(text: str, instruction: str, reference: str = "") -> str:
    """Put instruction and reference in their places.

    >>> told('Asked: {instruct}, "{{}}"', "a red {reference}")
    'Asked: a red {reference}, "{}"'
    """
    values = {**dict.fromkeys(INSTRUCTION, instruction), **dict.fromkeys(REFERENCE, reference)}
    is_format = any(mark in text for mark in values if mark.startswith("{"))
    return filled(text, {**_BRACES, **values} if is_format else values)


def apart(*parts: Part) -> tuple[Part, ...]:
    """Put a blank line between the parts of a question, which otherwise follow each other at once.

    >>> apart("Look:", "a cup")
    ('Look:', '\\n\\n', 'a cup')
    """
    return tuple(one for part in parts for one in ("\n\n", part))[1:]


def _of_variables(checkout: Path, role: str, source: str, variables: Sequence[str]) -> str:
    scripts = [str(path.relative_to(checkout)) for path in sorted(checkout.rglob("*.py"))] if variables else []
    for script in scripts:
        try:
            return "\n".join(string_named(checkout, script, variable) for variable in variables)
        except ValueError:
            continue  # another file assigns them
    named = f", nor a Python file that assigns {', '.join(variables)}" if variables else ""
    raise ValueError(f"--prompts {checkout} has no {role}.txt{named}: put there what {source} tells its judge for it")
