"""What documents tell to type is there: commands and options, modules, make's targets, the headings of links."""

import contextlib
import io
import re
import shlex
from functools import cache

import pytest

from rl.cli.ledger import with_ledger_sql
from rl.cli.main import _parser
from tests.support.source_tree import REPO

DOCUMENTS = [REPO / "README.md", REPO / "CONTRIBUTING.md", *sorted((REPO / "docs").glob("*.md"))]
TEXTS = {path: path.read_text(encoding="utf-8") for path in DOCUMENTS}
_COMMAND = re.compile(r"""^[ ]*(?:\$ |> )?(?:\S*/bin/)?interleave ((?:[^"\n]|"[^"]*")*)""", re.MULTILINE)


def blocks(text):
    return re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text):
    """Yield the words of each command of ours in a block; what is in double quotes may go over several lines."""
    for block in blocks(text):
        for said in _COMMAND.findall(block.replace("\\\n", " ")):
            yield with_ledger_sql(shlex.split(said, comments=True))


parser = cache(_parser)
"""Makes one for all commands: to make it takes a hundredth of a second."""
COMMANDS = [
    pytest.param(words, id=f"{path.stem}: {' '.join(words)}"[:100])
    for path, text in TEXTS.items()
    for words in commands(text)
]


def test_many_commands_are_looked_at():
    assert len(COMMANDS) > 60


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_takes_what_is_typed(words):
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.suppress(SystemExit):
        _, left = parser().parse_known_args([word for word in words if word not in ("--resume", "auto")])
        assert [word for word in left if word.startswith("-")] == []
    assert said.getvalue() == ""


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_modules_and_targets_are_there(path):
    modules = re.findall(r"python3? -m ((?:benchmarks|actors|rl|tests)[\w.]*)", TEXTS[path])
    names = [module.rstrip(".").replace(".", "/") for module in modules]
    assert [name for name in names if not any((REPO / name).with_suffix(end).exists() for end in (".py", ""))] == []
    known = re.findall(r"^([a-z][\w-]*):", (REPO / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"`make ([a-z-]+)`|^\$ make ([a-z-]+)", TEXTS[path], re.MULTILINE)) <= {
        pair for name in known for pair in ((name, ""), ("", name))
    }


def slug(heading):
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_headings_that_are_there(path):
    lost = []
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", TEXTS[path]):
        file = (path.parent / target).resolve() if target else path
        headings = re.findall(r"^#+ (.+)", file.read_text(encoding="utf-8"), re.MULTILINE)
        if anchor not in map(slug, headings):
            lost.append(f"{target}#{anchor}")
    assert lost == []


def test_every_page_is_named_where_readers_begin():
    """In README, or from a page that README names."""
    named = {target for text in TEXTS.values() for target in re.findall(r"\]\((?:docs/)?(\w+\.md)", text)}
    assert {path.name for path in (REPO / "docs").glob("*.md")} - named == set()
