"""Functions by name, and what they are by content."""

import pytest

from rewards.functions.import_path import FunctionError, identity_of


def test_an_identity_is_that_of_the_file_and_the_file_is_not_run(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text("raise SystemExit\n")
    before = identity_of(f"{mine}:score")
    assert before.startswith(f"{mine}:score@")
    assert identity_of(f"{mine}:other").rpartition("@")[2] == before.rpartition("@")[2]
    mine.write_text("raise SystemExit  # changed\n")
    assert identity_of(f"{mine}:score") != before


def test_an_import_path_has_the_identity_of_its_file():
    by_name = identity_of("rewards.format.is_parsed")
    assert by_name.rpartition("@")[2] == identity_of("rewards/format.py:is_parsed").rpartition("@")[2]


@pytest.mark.parametrize("path", ["no.such.module", "sys.exit", "./no_such_file.py:score", "score"])
def test_what_has_no_file_has_no_identity(path):
    with pytest.raises(FunctionError):
        identity_of(path)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("./no_such_file.py:score", "there is no file {}/no_such_file.py"),
        ("my_juge:MyJudge", "there is no module my_juge; modules are imported from {}"),
    ],
)
def test_what_is_not_there_is_said_once(path, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FunctionError) as error:
        identity_of(path)
    assert str(error.value) == said.format(tmp_path)
