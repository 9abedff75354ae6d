"""The messages that docs/troubleshooting.md explains are those of the code, and the exit codes, too."""

import ast
import re
from functools import cache

import pytest

from rl.cli.run_to_end import INTERRUPTED, TERMINATED
from rl.preemption import EXIT_CODE
from tests.support.source_tree import PACKAGES, REPO, modules, nodes

PAGE = (REPO / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ANYTHING = r"[^\n]*?"
MESSAGES = re.findall(r"^\| `([^`]+)` \| ", PAGE, re.MULTILINE)


@cache
def texts() -> list[str]:
    """All texts in our code, with a mark where something is filled in."""
    found = []
    for package in PACKAGES:
        for path in modules(package):
            for node in nodes(path):
                if isinstance(node, ast.JoinedStr):
                    parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return list(dict.fromkeys(found))


def test_the_page_explains_many():
    assert len(MESSAGES) >= 35


@pytest.mark.parametrize("message", MESSAGES)
def test_each_message_is_one_of_ours(message):
    pieces = message.split("...")
    pattern = re.compile(rf"(?:\.\.\.|{ANYTHING}\0{ANYTHING})".join(map(re.escape, pieces)))
    assert any(pattern.search(text) for text in texts() if max(pieces, key=len) in text), message


def test_the_exit_codes_are_ours():
    codes = set(map(int, re.findall(r"\d+", " ".join(re.findall(r"^\| ([\d, ]+) \|", PAGE, re.MULTILINE)))))
    assert {EXIT_CODE, INTERRUPTED, TERMINATED} <= codes == {0, 1, 2, 3, 75, 130, 143}
