"""Sequences for unified models: what they say in both forms, and that `datasets` opens them without a network."""

import hashlib
import io
import json
import os
import socket
from pathlib import Path

import pytest
from PIL import Image

from actors.store.store import Store
from data.build.trajectory_log import TrajectoryLog
from data.formats.reader import open_records
from data.public.export_records import Form, export_records
from data.public.import_records import import_records
from data.records.on_bad import BadRecords
from tests.support.public_records import FOLDER, save_record, story

EASY = """<gthink>
two parts are enough
</gthink>
<plan>
draw part 1
</plan>
<image><img_token></image>
<plan>
draw part 2
</plan>
<image><img_token></image>
<info>
It has 2 parts.
</info>
"""
FIRST_TRY = """<plan>
draw part 1
</plan>
<image><img_token></image>
<critic>
<think>
I look at step1_0.png é
</think>
{"success": false, "refine_prompt": "draw part 1, larger"}
</critic>
<image><img_token></image>
<critic>
<think>
I look at step1_4.png é
</think>
{"success": true, "refine_prompt": ""}
</critic>
<plan>
draw part 2
</plan>
"""


@pytest.fixture(autouse=True)
def _imported(monkeypatch, tmp_path):
    """Import a story that is complete, and one that is not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    save_record(Path("saved"), story())
    unfinished = story(folder="13_b")
    unfinished["steps"] = unfinished["steps"][:2]
    save_record(Path("saved"), unfinished, "13_b")
    import_records(Path("saved"), Path("imported"), BadRecords())


def exported(form: Form, **options):
    log = TrajectoryLog(Path("imported/trajectories"))
    return export_records(log, Store(Path("imported/store")), Path("out"), form, **options)


def digest_of_saved(name: str) -> str:
    return hashlib.sha256((Path("saved") / FOLDER / name).read_bytes()).hexdigest()


def test_the_easy_form_has_the_accepted_images_of_complete_stories():
    done = exported(Form.EASY)
    assert (done.num_written, done.num_left_out) == (1, 1)
    (row,) = json.loads(Path("out/sequences.json").read_text())
    assert row.keys() == {"messages", "images"}
    assert row["messages"] == [
        {"role": "user", "content": "How is a cat drawn?"},
        {"role": "assistant", "content": EASY},
    ]
    assert [Path(name).stem for name in row["images"]] == [
        digest_of_saved("step1_4.png"),
        digest_of_saved("step2_6.png"),
    ]
    assert all((Path("out") / name).is_file() for name in row["images"])


def test_with_reflection_every_try_is_there_with_what_the_critic_said():
    exported(Form.REFLECTION)
    (row,) = json.loads(Path("out/sequences.json").read_text())
    answer = row["messages"][1]["content"]
    assert FIRST_TRY in answer
    assert answer.endswith("</critic>\n<info>\nIt has 2 parts.\n</info>\n")
    names = ("step1_0.png", "step1_4.png", "step2_6.png")
    assert [Path(name).stem for name in row["images"]] == [digest_of_saved(name) for name in names]


@pytest.mark.slow
@pytest.mark.parametrize("form", [Form.EASY, Form.REFLECTION])
def test_the_data_set_opens_without_a_network_and_holds_the_same(form, monkeypatch):
    """Slow: `datasets` takes seconds to import."""
    exported(form)
    (row,) = json.loads(Path("out/sequences.json").read_text())
    Path("out").rename("json")
    exported(form, is_dataset=True)
    import datasets

    def refused(*arguments):
        raise AssertionError("no network is needed")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    (loaded,) = datasets.load_dataset("out", cache_dir="cache")["train"]
    assert loaded["messages"] == row["messages"]
    for image, name in zip(loaded["images"], row["images"], strict=True):
        with Image.open(Path("json") / name) as kept:
            assert (image.size, image.tobytes()) == (kept.size, kept.tobytes())
    (raw,) = [record.value for record in open_records(Path("out/data"))]  # what our own readers see
    assert [hashlib.sha256(image["bytes"]).hexdigest() for image in raw["images"]] == [
        Path(name).stem for name in row["images"]
    ]
    assert Image.open(io.BytesIO(raw["images"][0]["bytes"])).format == "PNG"


def test_no_story_that_is_complete_is_an_error_and_nothing_is_written():
    lost = story(folder="13_b")
    lost["steps"] = lost["steps"][:1]
    save_record(Path("other"), lost, "13_b")
    import_records(Path("other"), Path("half"), BadRecords())
    log = TrajectoryLog(Path("half/trajectories"))
    with pytest.raises(ValueError, match="none of 1 trajectories can be written as easy: every step has to have been"):
        export_records(log, Store(Path("half/store")), Path("out"), Form.EASY)
    assert not Path("out").exists()
