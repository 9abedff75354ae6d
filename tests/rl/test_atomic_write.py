"""A file is whole, or what it was; no text costs a run its report."""

import json

import pytest

from rl.atomic_write import atomic_write
from tests.support.unsayable import HALF


def test_a_text_is_written_as_utf_8_and_half_a_character_as_json_has_it(tmp_path):
    path = tmp_path / "new" / "figures.json"
    atomic_write(path, json.dumps({"why": f"café {HALF}"}, ensure_ascii=False))
    assert path.read_text(encoding="utf-8") == '{"why": "café half \\ud83d"}'
    assert json.loads(path.read_text(encoding="utf-8")) == {"why": f"café {HALF}"}


def test_what_fails_leaves_what_was_there(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="file"):
        atomic_write(tmp_path / "file", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
