"""10,000 files of the public system's forms, each damaged somewhere: located errors, or what every part can take."""

import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.store.store import Store
from data.build.records import critic_record, planner_record
from data.build.requests import open_requests, read_requests
from data.build.trajectory_log import row_of_trajectory, trajectory_of
from data.errors import RecordError
from data.formats.reader import open_records
from data.public.import_records import images_of, read_record_file
from data.public.recorded_story import Files, answer_record, story_record
from data.public.sequences import PLACE, sequence_of
from data.records.image_paths import ImageResolver, ImageRules
from data.records.on_bad import BadRecords, OnBad, good_records
from data.records.sft import Kind, read_sft
from data.table.record_table import parser
from rollout.types import Trajectory
from tests.support.public_records import FOLDER, answer_to_ueval, plan_step, save_picture, save_record, story

EVERY = pytest.mark.parametrize("times", [100, pytest.param(900, marks=pytest.mark.slow)])
"""How many files for each share of the ten."""
RULES = ImageRules(white_canvas="white.png")
JUNK = (
    *(None, True, False, 0, 1, -1, 2**70, 1.5, math.nan, math.inf, "", " ", "None", "null", "1", "white.png", "\ud800"),
    *(
        "<image>",
        "<|im_end|>",
        "</think>",
        "<answer>",
        "a\0b",
        "../../etc/passwd",
        "/",
        "..",
        "True",
        "x" * 300,
        [],
        {},
    ),
    *([[]], {"": {}}, {"bytes": None, "path": "x"}, {"sha256": "0"}, ["a"], "None}, {'step_number': 2", "\n", "{}"),
)
CRITIC = "<think>a</think><answer>{'previous_step_success': True, 'refine_prompt': ''}</answer>"
ASKED = '<image><image>A: "a box"\nB: ""'
RL = {
    "origin_prompt": "a box",
    "rewritten_prompt": "",
    "origin_image_path": "white.png",
    "edited_image_path": "x.png",
    "evaluation": {"success": False, "semantics": 3, "quality": 8},
}


def sft(asked: str, answer: str, images: list[str]) -> dict[str, Any]:
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "images": images}


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key) of every value inside a value."""
    for key in range(len(value)) if isinstance(value, list) else list(value) if isinstance(value, dict) else ():
        yield value, key
        yield from places_in(value[key])


def damaged(draw: random.Random, make: Callable[[], Any]) -> bytes:
    """Return the bytes of a file whose values, keys or bytes were changed in one to three places."""
    record = make()
    for _ in range(draw.choice((0, 1, 1, 1, 2, 3))):
        places = list(places_in(record))
        if not places:
            break
        container, key = draw.choice(places)
        what = draw.randrange(6)
        if what < 3:
            container[key] = draw.choice(JUNK)
        elif what == 3:
            del container[key]
        elif what == 4 and isinstance(container, dict):
            container[draw.choice(("", "steps", "1", "id", "version", "x\ud800"))] = container[key]
        elif isinstance(container[key], str):
            text = container[key]
            cut = draw.randrange(len(text) + 1)
            container[key] = text[:cut] + draw.choice(("", "'", '"', "}", "{", "\\", "<think>", ", ")) + text[cut + 1 :]
    data = bytearray(json.dumps(record).encode())
    for _ in range(draw.choice((0, 0, 0, 0, 1, 4))):
        where = draw.randrange(len(data))
        data[where : where + draw.randrange(3)] = draw.choice(
            (b"", b"\xff", b"\0", b"[", b"{", b'"', b",", b"[" * 9999)
        )
        data = data or bytearray(b" ")
    return bytes(data)


def is_located(error: RecordError, file: Path) -> bool:
    return str(file) in str(error) and bool(error.kind) and str(error).isprintable()


@pytest.mark.parametrize(("make", "share"), [(story, 4), (answer_to_ueval, 1)])
@EVERY
def test_a_damaged_record_is_refused_with_its_place_or_can_be_used_everywhere(make, share, times, tmp_path):
    """Slow with all files: writing and reading them takes most of the time."""
    num = share * times
    file = save_record(tmp_path, make(), FOLDER)
    save_record(tmp_path, answer_to_ueval(), FOLDER)
    draw, num_read, refused = random.Random(f"{make.__name__}{num}"), 0, list[RecordError]()
    for _ in range(num):
        file.write_bytes(damaged(draw, make))
        try:
            trajectory = read_record_file(file, tmp_path, RULES).trajectory
        except RecordError as error:
            refused.append(error)
            continue
        num_read += 1
        check_usable(trajectory)
    assert all(is_located(error, file) for error in refused)
    assert num / 20 < num_read < num


def check_usable(trajectory: Trajectory) -> None:
    """Take a trajectory through all that is made of one."""
    assert all(Path(image).is_file() for image in images_of(trajectory))
    row = json.loads(json.dumps(row_of_trajectory(trajectory)))
    assert trajectory_of(row) == trajectory
    for record in (story_record(trajectory, Files("a")), answer_record(trajectory, Files("a"))):
        json.dumps(record, ensure_ascii=False).encode()
    for has_reflection in (False, True):
        if (sequence := sequence_of(trajectory, has_reflection=has_reflection)) is not None:
            assert (sequence.question + sequence.answer).count(PLACE) == len(sequence.images)
    if trajectory.plan is not None:
        record = planner_record(trajectory, "{request}", lambda ref: ref)
        read_sft(record, Kind.PLANNER_SFT, ImageResolver(Path("/")), default_id="")
    for place, attempt in enumerate(trajectory.attempts):
        if attempt.critique is not None:
            template = "<image><image>{instruction} {prompt}"
            record = critic_record(trajectory, place, template, lambda ref: ref)
            assert read_sft(record, Kind.CRITIC_SFT, ImageResolver(Path("/")), default_id="").answer == attempt.critique


@pytest.mark.parametrize(
    ("kind", "make", "share"),
    [
        (Kind.RL, lambda: json.loads(json.dumps(RL)), 1),
        (Kind.CRITIC_SFT, lambda: sft(ASKED, CRITIC, ["white.png", "x.png"]), 2),
        (Kind.PLANNER_SFT, lambda: sft("a day", json.dumps({"execution_plan": [plan_step(1)]}), []), 1),
    ],
)
@EVERY
def test_a_damaged_file_of_records_is_refused_with_its_place(kind, make, share, times, tmp_path):
    """Slow with all files: writing and reading them takes most of the time."""
    num = share * times
    save_picture(tmp_path / "x.png", 1)
    file, draw, num_read = tmp_path / "records.json", random.Random(f"{kind}{num}"), 0
    refused: list[RecordError] = []
    for number in range(num):
        data = damaged(draw, make)
        file.write_bytes(data if number % 2 else b"[" + data + b"]")
        bad = BadRecords(OnBad.RAISE)
        try:
            records = open_records(file)
            parse = parser(kind, records, ImageResolver(tmp_path, RULES))
            num_read += len(list(good_records(records, parse, bad)))
        except RecordError as error:
            refused.append(error)
    assert all(is_located(error, file) for error in refused)
    assert num / 20 < num_read < num


@EVERY
def test_a_damaged_file_of_requests_is_refused_with_its_place(times, tmp_path):
    """Slow with all files: writing and reading them takes most of the time."""
    save_picture(tmp_path / "x.png", 1)
    file, draw, store, num_read = tmp_path / "prompt40k.jsonl", random.Random(times), Store(tmp_path / "store"), 0
    refused: list[RecordError] = []
    for _ in range(times):
        file.write_bytes(
            damaged(draw, lambda: {"id": 3, "user_input": "How is a cat drawn?", "user_input_image": ["x.png"]})
        )
        try:
            num_read += len(list(read_requests(open_requests(file), store, BadRecords(OnBad.RAISE))))
        except RecordError as error:
            refused.append(error)
    assert all(is_located(error, file) for error in refused)
    assert times / 20 < num_read < times
