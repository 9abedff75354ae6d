"""A file is there whole or as before, and takes no device's place; no text costs a run its report."""

import json
import os

import pytest

from rl.atomic_write import atomic_write
from tests.support.unsayable import HALF


def test_a_text_is_written_as_utf_8_and_half_a_character_as_json_has_it(tmp_path):
    path = tmp_path / "new" / "figures.json"
    atomic_write(path, json.dumps({"why": f"café {HALF}"}, ensure_ascii=False))
    assert path.read_text(encoding="utf-8") == '{"why": "café half \\ud83d"}'
    assert json.loads(path.read_text(encoding="utf-8")) == {"why": f"café {HALF}"}


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_replaced_by_one(tmp_path, make):
    path = tmp_path / "page.html"
    make(path)
    mode = path.stat().st_mode
    with pytest.raises(FileExistsError, match="it is no file") as error:
        atomic_write(path, "text")
    assert error.value.filename == str(path)
    assert path.stat().st_mode == mode
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_and_its_folders_are_made_or_replaced(tmp_path):
    path = tmp_path / "new" / "page.html"
    for text in ("one", "two"):
        atomic_write(path, text)
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]
