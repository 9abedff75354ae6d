"""The list of licences is that of the lock file, and says what the packages say."""

import re

import pytest

from rl.cli.licences import NOT_HERE, licence_of, markdown, of_lock
from rl.cli.main import main
from rl.recipe.config import REPO

LOCK = REPO / "requirements.lock"
ROW = re.compile(r"\| ([\w.-]+) \| (\S+) \| (.+) \|")


def rows(lines):
    return {found[1]: (found[2], found[3]) for line in lines if (found := ROW.fullmatch(line))}


def test_the_page_names_what_the_lock_names():
    """`interleave licences --markdown > docs/licences.md` writes it anew; what is not installed here may differ."""
    written = rows((REPO / "docs" / "licences.md").read_text(encoding="utf-8").splitlines())
    here = rows(markdown(LOCK))
    assert {name: version for name, (version, _) in written.items()} == {
        name: version for name, (version, _) in here.items()
    }
    changed = {
        name: (licence, written[name][1])
        for name, (_, licence) in here.items()
        if NOT_HERE not in (licence, written[name][1]) and licence != written[name][1]
    }
    assert changed == {}


def test_it_is_said_where_packages_say_it():
    assert licence_of(["MIT OR Apache-2.0"], ["License :: OSI Approved"], "x") == "MIT OR Apache-2.0"
    assert licence_of(None, None, "BSD\n\nCopyright") == "BSD"
    assert licence_of(None, [], None) == "not said: see its files"


def test_the_command(capsys):
    assert main(["licences"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(list(of_lock(LOCK)))
    assert any(line.startswith("torch  2.") for line in lines)


def test_without_a_lock_it_says_so(tmp_path):
    with pytest.raises(ValueError, match=r"there is no .*lock"):
        list(of_lock(tmp_path / "lock"))
