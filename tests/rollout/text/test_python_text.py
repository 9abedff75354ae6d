"""Texts out of Python files: what is plain is read, and nothing is ever computed, imported or run."""

import pytest

from rollout.text.marks import read_prompt_text
from rollout.text.python_text import python_text, split_name

SOURCE = '''
import os
open(os.environ["NOT_THERE"])

PLAN = """Plan {text_input} as {"a": [1]}.
"""
CRITIC: str = ("Compare " "both: " + "{original_instruction}, " + f"then {{}} " + r"{rewritten_prompt}")
FIRST = LAST = "one"
LAST = "two"
FILLED = f"{PLAN} and more"
CALLED = PLAN.strip()
NUMBER = 3
BYTES = b"bytes"
LATER: str
def inside():
    HIDDEN = "hidden"
'''


def text_of(name: str) -> str:
    return python_text(SOURCE, name, "system.py")


def test_literals_are_read_whatever_the_rest_of_the_file_would_do():
    assert text_of("PLAN") == 'Plan {text_input} as {"a": [1]}.\n'
    assert text_of("CRITIC") == "Compare both: {original_instruction}, then {} {rewritten_prompt}"
    assert (text_of("FIRST"), text_of("LAST")) == ("one", "two")


@pytest.mark.parametrize("name", ["FILLED", "CALLED", "NUMBER", "BYTES"])
def test_what_would_have_to_be_computed_is_refused_with_its_line(name):
    line = next(number for number, text in enumerate(SOURCE.split("\n"), 1) if text.startswith(name))
    with pytest.raises(ValueError, match=rf"^system\.py:{line}: {name} is no plain text; expected texts in quotes"):
        text_of(name)


@pytest.mark.parametrize(
    ("name", "hint"), [("PLANS", r"; did you mean PLAN\?"), ("HIDDEN", ""), ("LATER", ".*"), ("inside", "")]
)
def test_a_name_that_is_not_there_is_said(name, hint):
    with pytest.raises(ValueError, match=rf"^system\.py gives nothing the name {name} at its top level{hint}$"):
        text_of(name)


@pytest.mark.parametrize(
    "source", ["A = (", "print 3", "A = '\0'", f"A = {'(' * 5000}", f"A = {'1 + ' * 50_000}1"], ids=len
)
def test_what_is_no_python_is_one_line(source):
    with pytest.raises(ValueError, match=r"^system\.py cannot be read as Python: [^\n]+$"):
        python_text(source, "A", "system.py")


def test_a_python_file_needs_the_name_of_its_text():
    assert split_name("a:b/x.py:NAME") == ("a:b/x.py", "NAME")
    for path in ("x.py", "x.py:"):
        with pytest.raises(ValueError, match=r"^x\.py:? is a Python file: say which .* like x\.py:NAME$"):
            split_name(path)


def test_the_public_systems_fields_are_read_as_ours(tmp_path):
    (tmp_path / "system.py").write_text(SOURCE)
    assert read_prompt_text(tmp_path / "system.py", "PLAN").startswith("Plan {request} as")
    critic = read_prompt_text(tmp_path / "system.py", "CRITIC")
    assert critic == "Compare both: {instruction}, then {} {prompt}"
    (tmp_path / "marked.py").write_text("A = '<|im_end|>'")
    with pytest.raises(ValueError, match=r"marked\.py holds <\|im_end\|>"):
        read_prompt_text(tmp_path / "marked.py", "A")
    (tmp_path / "half.py").write_text(r"A = 'plan \ud83d'")
    with pytest.raises(ValueError, match=r"A of .*half\.py holds half a character"):
        read_prompt_text(tmp_path / "half.py", "A")
