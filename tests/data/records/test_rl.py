"""RL records: what loads, and where an error is."""

import json
import re

import pytest
import yaml

from data.errors import RecordError, shown
from data.records.on_bad import OnBad
from data.split import SplitRules, split
from data.table.record_table import open_tasks
from rl.recipe.config import REPO
from tests.support.record_files import rl_record, write_lines

GOOD = rl_record()


@pytest.fixture
def write(tmp_path):
    return lambda *records: write_lines(tmp_path / "tasks.jsonl", records)


def changed(name, value):
    return {**GOOD, "evaluation": {**GOOD["evaluation"], name: value}}


def test_a_record_becomes_a_task(write, tmp_path):
    (task,) = open_tasks(write(GOOD))
    assert (task.id, task.before, task.after) == ("tasks-1", None, str(tmp_path / "x.png"))
    assert (task.scores.semantics, task.scores.quality, task.is_success) == (3.0, 8.5, False)


def test_what_may_be_left_out(write):
    bare = {name: GOOD[name] for name in ("origin_prompt", "edited_image_path", "evaluation")}
    (task, numbered, versioned) = open_tasks(write(bare, {**bare, "id": 7}, {**GOOD, "version": 1, "more": [1]}))
    assert (task.prompt, task.before) == ("", None)
    assert (numbered.id, versioned.id) == ("7", "tasks-3")


def test_the_guides_example_is_a_record_and_its_recipe_names_what_a_split_writes(tmp_path):
    text = (REPO / "docs" / "records.md").read_text(encoding="utf-8")
    [example] = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]
    others = [{**example, "origin_prompt": f"add box {number}"} for number in range(20)]
    file = write_lines(tmp_path / "critic_rl.jsonl", [example, *others])
    for name in ("table.png", "table_box.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    task = next(iter(open_tasks(file)))
    assert (task.before, task.after) == tuple(
        str(tmp_path / example[f"{kind}_image_path"]) for kind in ("origin", "edited")
    )
    assert (task.prompt, task.is_success, task.scores.quality) == (example["rewritten_prompt"], False, 8.5)
    said, own = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert yaml.safe_load(own)["data"] == yaml.safe_load(said)["data"], "the recipe for a laptop names the same files"
    assert yaml.safe_load(said)["data"] == {
        side: path.name for side, path in split(file, SplitRules(0.5)).paths.items()
    }


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", r"tasks.jsonl:2: not JSON"),
        ("", r"^$"),
        ("[]", "expected an object, found a list"),
        ({**GOOD, "version": 2}, "tasks.jsonl:2: field version is 2; this reader knows version 1"),
        ({**GOOD, "version": True}, "field version is True"),
        ({**GOOD, "origin_prompt": 3}, "field origin_prompt is a number, expected a string"),
        ({**GOOD, "origin_prompt": " "}, "field origin_prompt is empty"),
        ({**GOOD, "origin_prompt": "a \ud83d"}, "field origin_prompt holds half a character"),
        ({**GOOD, "rewritten_prompt": ["a"]}, "field rewritten_prompt is a list, expected a string"),
        ({**GOOD, "id": True}, "field id is a boolean, expected a string or a whole number"),
        ({**GOOD, "id": ""}, "field id is empty"),
        ({key: GOOD[key] for key in GOOD if key != "evaluation"}, "field evaluation is missing"),
        ({key: GOOD[key] for key in GOOD if key != "origin_prompt"} | {"orign_prompt": ""}, r"mean origin_prompt\?$"),
        ({**GOOD, "edited_image_path": "none.png"}, "field edited_image_path: there is no image at"),
        ({**GOOD, "edited_image_path": "."}, "field edited_image_path: there is no image at"),
        ({**GOOD, "origin_image_path": 5}, "field origin_image_path is a number, expected a path"),
        (changed("semantics", 80), "evaluation: field semantics is 80, expected a number from 0 to 10"),
        (changed("semantics", "x" * 10**6), "field semantics is 'x+...x+', expected a number"),
        (changed("quality", float("nan")), "quality is nan"),
        (changed("quality", float("inf")), "quality is inf"),
        (changed("quality", True), "quality is True"),
        (changed("success", "yes"), "evaluation: field success is a string, expected true or false"),
        (changed("success", None), "evaluation: field success is null, expected true or false"),
    ],
)
def test_a_broken_record_is_located(write, record, message):
    path = write(GOOD, record)
    if record == "":
        assert len(open_tasks(path)) == 1, "a blank line is none"
        return
    with pytest.raises(RecordError, match=message) as caught:
        list(open_tasks(path))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("rewriten_prompt", "rewritten_prompt"),
        ("original_image_path", "origin_image_path"),
        ("origin_image", "origin_image_path"),
        ("Rewritten_Prompt", "rewritten_prompt"),
    ],
)
def test_a_field_with_almost_the_name_of_one_that_is_not_there_is_a_slip(write, slip, meant):
    bare = {name: GOOD[name] for name in GOOD if name != meant}
    with pytest.raises(RecordError, match=rf"tasks.jsonl:2: field '{slip}' is unknown; did you mean {meant}\?"):
        list(open_tasks(write(GOOD, {**bare, slip: "x.png"})))
    bad = open_tasks(write(GOOD, {**bare, slip: "x.png"}), on_bad=OnBad.SKIP)
    assert len(bad) == 1
    assert "1 unknown_field" in bad.left_out
    # What is as the message advises, says nothing, or stands beside the field itself, is none.
    assert (
        len(list(open_tasks(write({**bare, slip: "x.png", meant: None}, {**bare, slip: None}, {**GOOD, slip: 1})))) == 3
    )


def test_fields_of_other_names_are_passed_over(write):
    bare = {name: GOOD[name] for name in ("origin_prompt", "edited_image_path", "evaluation")}
    names = (
        "catgory",
        "prompt",
        "edit_prompt",
        "negative_prompt",
        "refined_prompt",
        "input_image_path",
        "idx",
        "x" * 999,
    )
    others = dict.fromkeys((*names, "mask_image_path", "conversion", "score", "image"), "some")
    assert list(open_tasks(write(bare))) == list(open_tasks(write(bare | others)))


def test_an_id_twice_is_refused(write):
    with pytest.raises(RecordError, match=r"tasks.jsonl:2: the id of line 1 appears again"):
        open_tasks(write({**GOOD, "id": "a"}, {**GOOD, "id": "a"}))


def test_an_empty_or_missing_file_is_refused(write, tmp_path):
    with pytest.raises(RecordError, match="holds no record"):
        open_tasks(write())
    with pytest.raises(RecordError, match="does not exist"):
        open_tasks(tmp_path / "none.jsonl")


def test_a_file_may_be_a_json_array(tmp_path, write):
    write()
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps([GOOD, rl_record(1, is_success=True)], indent=4))
    assert [task.is_success for task in open_tasks(path)] == [False, True]
    path.write_text(json.dumps([GOOD, {}]))
    with pytest.raises(RecordError, match=r"tasks.json: record 2: field evaluation is missing"):
        list(open_tasks(path))


def test_an_error_can_be_printed_whatever_the_file_holds():
    error = RecordError("type", f"field {shown('a')} \x1b[2J\n\ud800", where="f:1")
    assert str(error) == "f:1: field 'a' \\x1b[2J\\n\\ud800"
