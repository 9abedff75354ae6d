"""What the command line says of files that are not there or cannot be written, and of runs that break."""

import pytest

from rl import cli
from rl.config import REPO

SHAPES = str(REPO / "recipes" / "shapes_story.yaml")


@pytest.mark.parametrize(
    "arguments",
    [
        ["shapes", "requests", "--count", "1", "--out"],
        ["generate", "a cat", "--recipe", SHAPES, "--out"],
        ["eval", "stories", SHAPES, "--num", "1", "--out"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_folder_that_cannot_be_made_is_one_line(arguments, tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    assert cli.main([*arguments, str(tmp_path / "file" / "new" / "out")]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"interleave: {tmp_path / 'file'}")
    assert told.endswith(": Not a directory\n")
    assert told.count("\n") == 1


def test_an_error_without_a_file_keeps_its_traceback(monkeypatch):
    def lost(chosen):
        raise ConnectionResetError(104, "the cluster is gone")

    monkeypatch.setattr(cli, "_ledger", lost)
    with pytest.raises(ConnectionResetError):
        cli.main(["ledger", "runs/none"])
