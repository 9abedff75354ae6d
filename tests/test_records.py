"""RL records: what loads, and where an error is."""

import json

import pytest
from PIL import Image

from data.records import RecordError, load_tasks

GOOD = {
    "origin_prompt": "a red box",
    "rewritten_prompt": "",
    "origin_image_path": None,
    "edited_image_path": "x.png",
    "evaluation": {"success": False, "semantics": 3, "quality": 8.5},
}


@pytest.fixture
def write(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")

    def write(*records):
        path = tmp_path / "tasks.jsonl"
        path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records))
        return path

    return write


def test_a_record_becomes_a_task(write, tmp_path):
    (task,) = load_tasks(write(GOOD))
    assert (task.id, task.before, task.after) == ("tasks-1", None, str(tmp_path / "x.png"))
    assert (task.scores.semantics, task.scores.quality, task.is_success) == (3.0, 8.5, False)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", r"tasks.jsonl:2: not JSON"),
        ("[]", "expected an object, found a list"),
        ({**GOOD, "origin_prompt": 3}, "field origin_prompt is a int, expected str"),
        ({key: GOOD[key] for key in GOOD if key != "evaluation"}, "field evaluation is missing"),
        ({**GOOD, "edited_image_path": "none.png"}, "there is no image at"),
        (
            {**GOOD, "evaluation": {**GOOD["evaluation"], "semantics": 80}},
            "semantics is 80, expected a number from 0 to 10",
        ),
        ({**GOOD, "evaluation": {**GOOD["evaluation"], "quality": float("nan")}}, "quality is nan"),
        ({**GOOD, "evaluation": {**GOOD["evaluation"], "quality": True}}, "quality is True"),
        ({**GOOD, "evaluation": {**GOOD["evaluation"], "success": "yes"}}, "field success is a str"),
    ],
)
def test_a_broken_record_is_located(write, record, message):
    with pytest.raises(RecordError, match=message):
        load_tasks(write(GOOD, record))


def test_an_id_twice_is_refused(write):
    with pytest.raises(RecordError, match="'a' appears twice"):
        load_tasks(write({**GOOD, "id": "a"}, {**GOOD, "id": "a"}))


def test_an_empty_or_missing_file_is_refused(write, tmp_path):
    with pytest.raises(RecordError, match="holds no record"):
        load_tasks(write())
    with pytest.raises(RecordError, match="does not exist"):
        load_tasks(tmp_path / "none.jsonl")
