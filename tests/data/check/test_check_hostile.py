"""One file with everything that can be wrong in it: each record is counted by kind and located, none ends the run."""

import json
from typing import Any

import pytest

from data.check.check import CheckRules, check
from data.check.images import DeepRules
from data.check.page import write_page
from data.records.image_paths import ImageRules
from data.records.on_bad import OnBad
from data.records.sft import Kind
from data.table.record_table import open_sft, open_tasks
from tests.support.record_files import (
    critic_record,
    planner_record,
    rl_record,
    save_image,
    save_png_header,
    write_lines,
)


def scored(value: object) -> dict:
    return rl_record(evaluation={"success": False, "semantics": value, "quality": 5})


STEP = {"step_name": "a", "instruction": "b", "prompt": "c", "auxiliary_text": None}
LONG_PLAN = json.dumps({"execution_plan": [{"step_number": number, **STEP} for number in range(1, 10_001)]})

HOSTILE_RL: list[tuple[Any, str]] = [
    (json.dumps(rl_record())[:-9], "json"),
    ("", ""),
    ("\r", ""),
    ("[" * 100_000, "json"),
    ('{"evaluation": ' * 5_000 + "1" + "}" * 5_000, "json"),
    (b"\x00" * 100, "json"),
    (json.dumps(rl_record()).encode().replace(b"red", b"\xff\xfe"), "encoding"),
    (b"\xef\xbb\xbf" + json.dumps(rl_record()).encode(), "json"),
    (b'{"x": "' + b"y" * 17_000_000 + b'"}', "too_long"),
    (json.dumps(rl_record())[:-1] + ', "origin_prompt": "again"}', "duplicate_key"),
    ("null", "not_object"),
    ("17", "not_object"),
    ([], "not_object"),
    ({}, "missing"),
    (scored(float("nan")), "score"),
    (scored(float("-inf")), "score"),
    (scored("7"), "score"),
    (scored(10.001), "score"),
    (scored(-1e-9), "score"),
    (scored([5]), "score"),
    (scored(10**400), "score"),
    (scored(-(10**400)), "score"),
    (json.dumps(scored(0)).replace(": 0,", ": 1e999,"), "score"),
    (rl_record(evaluation={"success": 1, "semantics": 5, "quality": 5}), "type"),
    (rl_record(origin_prompt=None), "type"),
    (rl_record(origin_prompt="\u2003"), "empty"),
    (rl_record(origin_prompt="\ud800"), "unicode"),
    (rl_record(version=99), "version"),
    (rl_record(id={}), "type"),
    (rl_record(edited_image_path="none.png"), "image_missing"),
    (rl_record(edited_image_path="a\0.png"), "image_missing"),
    (rl_record(edited_image_path="\udcff"), "image_missing"),
    (rl_record(edited_image_path="x" * 100_000), "image_missing"),
    (rl_record(edited_image_path="/dev/zero"), "image_outside"),
    (rl_record(edited_image_path="../" * 40 + "etc/passwd"), "image_outside"),
    (rl_record(edited_image_path="link.png"), "image_outside"),
    (rl_record(origin_image_path={"canvas": "white"}), "type"),
    (rl_record(1, id="same"), ""),
    (rl_record(2, id="same"), "duplicate_id"),
    (rl_record(3, edited_image_path="huge.png"), "image_too_large"),
    (rl_record(4, edited_image_path="cut.png"), "image_broken"),
    (rl_record(5), ""),
]


SAME = next(line for line, (record, _) in enumerate(HOSTILE_RL, 1) if record == rl_record(1, id="same"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    save_image(root.parent / "outside.png")
    (root / "link.png").symlink_to(root.parent / "outside.png")
    save_png_header(root / "huge.png", 100_000, 100_000)
    (root / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    lines = [json.dumps(line) if isinstance(line, dict | list) else line for line, _ in HOSTILE_RL]
    return write_lines(root / "rl.jsonl", lines)


def expected(kinds):
    return {kind: kinds.count(kind) for kind in kinds if kind}


def test_a_check_counts_and_locates_every_one(hostile):
    summary = check(hostile, CheckRules(images=ImageRules(root=hostile.parent), deep=DeepRules()))
    assert summary.bad.counts == expected([kind for _, kind in HOSTILE_RL])
    for line, (_, kind) in enumerate(HOSTILE_RL, 1):
        examples = summary.bad.examples.get(kind, [])
        if kind and len(examples) < 3:
            assert any(example.startswith(f"{hostile}:{line}: ") for example in examples), (line, kind)
    for examples in summary.bad.examples.values():
        assert all(example.isprintable() and len(example) < 100_000 for example in examples)


def test_training_leaves_out_what_is_bad(hostile):
    tasks = open_tasks(hostile, ImageRules(root=hostile.parent), on_bad=OnBad.SKIP)
    numbers = [line for line, (_, kind) in enumerate(HOSTILE_RL, 1) if kind in ("", "image_too_large", "image_broken")]
    assert [task.id for task in tasks] == [
        "same" if line == SAME else f"rl-{line}" for line in numbers if line not in (2, 3)
    ]
    assert "bad records left out" in tasks.left_out


def test_a_page_shows_them_all(hostile):
    page = write_page(hostile, limit=0, rules=ImageRules(root=hostile.parent)).read_text(encoding="utf-8")
    assert page.count('<div class="card">') == len(HOSTILE_RL) - 2


@pytest.mark.parametrize(
    "number", [number for number, (_, kind) in enumerate(HOSTILE_RL) if kind.startswith("image_o")]
)
def test_reading_whole_stops_at_the_place(tmp_path, number):
    record, _ = HOSTILE_RL[number]
    (tmp_path / "root").mkdir()
    save_image(tmp_path / "outside.png")
    (tmp_path / "root" / "link.png").symlink_to(tmp_path / "outside.png")
    path = write_lines(tmp_path / "root" / "rl.jsonl", [rl_record(), record])
    with pytest.raises(ValueError, match=r"rl.jsonl:2: field edited_image_path: .* leads out of the image root"):
        list(open_tasks(path, ImageRules(root=tmp_path / "root")))


def told(record: dict, answer: str) -> dict:
    return {**record, "messages": [*record["messages"][:-1], {"role": "assistant", "content": answer}]}


HOSTILE_SFT: dict[Kind, list[tuple[dict, str]]] = {
    Kind.CRITIC_SFT: [
        (critic_record(), ""),
        (critic_record(messages=[[]] * 3), "type"),
        (critic_record(messages=[{"role": "user", "content": ["x"]}]), "type"),
        (told(critic_record(), ""), "answer.tags"),
        (told(critic_record(), "<think></think><answer>" + "[" * 100_000 + "</answer>"), "answer.json"),
        (told(critic_record(), "<think></think><answer>" + "(" * 100_000 + "</answer>"), "answer.json"),
        (critic_record(images=[{"canvas": "white", "size": [100_000, 100_000]}, "x.png"]), "canvas"),
        (critic_record(images=[None, "x.png"]), "type"),
        (critic_record(images=["../x.png", "x.png"]), "image_outside"),
    ],
    Kind.PLANNER_SFT: [
        (planner_record(), ""),
        (told(planner_record(), f"<answer>{LONG_PLAN}</answer>"), "answer.num_steps"),
        (told(planner_record(), f"<answer>{LONG_PLAN.replace('null', 'None')}</answer>"), "answer.json"),
        (told(planner_record(), '<answer>{"execution_plan": NaN}</answer>'), "answer.type"),
        (planner_record(images=["x.png"]), "marks"),
    ],
}


@pytest.mark.parametrize("kind", list(HOSTILE_SFT))
@pytest.mark.parametrize("is_array", [False, True])
def test_conversations_are_counted_alike(tmp_path, kind, is_array):
    records = [record for record, _ in HOSTILE_SFT[kind]]
    path = write_lines(tmp_path / "sft.jsonl", records)
    if is_array:
        path = tmp_path / "sft.json"
        path.write_text(json.dumps(records))
    rules = ImageRules(root=tmp_path)
    summary = check(path, CheckRules(images=rules))
    assert (summary.kind, summary.bad.counts) == (kind, expected([problem for _, problem in HOSTILE_SFT[kind]]))
    assert len(open_sft(path, kind, rules, on_bad=OnBad.SKIP)) == 1


def test_a_json_file_that_is_cut_off_keeps_what_was_whole(tmp_path):
    path = write_lines(tmp_path / "x.jsonl", []).with_suffix(".json")
    path.write_text(json.dumps([rl_record(number) for number in range(5)])[:-100])
    summary = check(path, CheckRules())
    assert (summary.num_records, summary.bad.counts) == (5, {"json": 1})
    assert summary.bad.examples["json"] == [f"{path}: record 5: not JSON (the file ends before the array does)"]
