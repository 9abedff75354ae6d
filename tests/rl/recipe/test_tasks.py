"""What a recipe says of its data reaches the reading of it."""

from typing import Any

import pytest

from rl.recipe import tasks as rl_records
from rl.recipe.config import DataConfig
from tests.support.record_files import rl_record, write_lines


def test_a_recipe_says_how_paths_are_read_and_what_a_bad_record_does(tmp_path, capsys):
    records: list[Any] = [
        rl_record(1),
        rl_record(2, edited_image_path="/theirs/x.png", origin_image_path="/a/white.png"),
        "{",
    ]
    path = write_lines(tmp_path / "tasks.jsonl", records)
    with pytest.raises(ValueError, match=r"tasks.jsonl:2: .*there is no image|tasks.jsonl:3: not JSON"):
        rl_records.read_tasks(DataConfig(), path)
    settings = DataConfig(
        image_root=str(tmp_path), prefixes=[f"/theirs={tmp_path}"], white_canvas="white.png", on_bad="skip"
    )
    (tasks,) = rl_records.read_tasks(settings, path)
    assert [(task.id, task.before) for task in tasks] == [("tasks-1", None), ("tasks-2", None)]
    assert "tasks.jsonl: 1 bad record left out (1 json)" in capsys.readouterr().err


def test_a_large_file_is_read_as_it_is_drawn(tmp_path, monkeypatch):
    path = write_lines(tmp_path / "tasks.jsonl", [rl_record(1), rl_record(2, edited_image_path="gone.png")])
    monkeypatch.setattr(rl_records, "_READ_AT_ONCE", 1)
    (tasks,) = rl_records.read_tasks(DataConfig(), path)
    assert (len(tasks), tasks[0].id) == (2, "tasks-1")
    with pytest.raises(ValueError, match=r"tasks.jsonl:2: field edited_image_path: there is no image"):
        tasks[1]


def test_images_may_start_at_a_prefix_inside_the_root(tmp_path):
    path = write_lines(tmp_path / "tasks.jsonl", [rl_record(edited_image_path="y.png")])
    (tmp_path / "images").mkdir()
    (tmp_path / "x.png").rename(tmp_path / "images" / "y.png")
    settings = DataConfig(image_prefix=str(tmp_path / "images"), image_root=str(tmp_path))
    ((task,),) = rl_records.read_tasks(settings, path)
    assert task.after == str(tmp_path / "images" / "y.png")


def test_wrong_settings_say_what_would_be_right():
    with pytest.raises(ValueError, match=r"data.on_bad is 'drop'; expected raise or skip"):
        DataConfig(on_bad="drop")
    with pytest.raises(ValueError, match="expected old=new"):
        DataConfig(prefixes=["/a"])


def test_no_more_than_the_first_tasks_are_read(tmp_path):
    path = write_lines(
        tmp_path / "tasks.jsonl", [rl_record(1), rl_record(2), rl_record(3, edited_image_path="gone.png")]
    )
    assert [task.id for task in rl_records.first_tasks(DataConfig(), path, 2)] == ["tasks-1", "tasks-2"]
    with pytest.raises(ValueError, match=r"tasks.jsonl:3: field edited_image_path: there is no image"):
        rl_records.first_tasks(DataConfig(), path, 3)
