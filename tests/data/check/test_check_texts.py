"""Texts as people send them: a tokenizer's control tokens, other systems' encodings and line ends, files of nothing."""

import asyncio
import json

import pytest

from actors.judge.prompt_file import read_prompt
from actors.store.store import Store
from data.build.requests import open_requests, read_requests
from data.check.check import CheckRules, check
from data.check.images import DeepRules
from data.check.page import write_page
from data.check.token_lengths import template_at
from data.errors import RecordError
from data.formats.reader import open_records
from data.records.on_bad import BadRecords, OnBad
from data.records.sft import Kind
from data.split import SplitRules, split
from data.table.record_table import open_sft, open_tasks
from evals.stories import read_stories
from rl.cli.main import main
from rollout.text.critique import CritiqueError, parse_critique
from rollout.text.marks import read_prompt_text, read_text
from rollout.text.plan import Plan, PlanError, PlanStep, format_plan, parse_plan
from rollout.types import ModelAnswer, Request
from tests.support.fake_teachers import FakeCritic, FakePlanner, make_collector
from tests.support.record_files import critic_record, planner_record, report, rl_record, write_lines

PAD = "<|image_pad|>"


def said(record, place, text):
    """Return an SFT record with a text added to one of its messages."""
    messages = [dict(message) for message in record["messages"]]
    messages[place]["content"] += text
    return {**record, "messages": messages}


def answered(record, old, new):
    messages = [dict(message) for message in record["messages"]]
    messages[-1]["content"] = messages[-1]["content"].replace(old, new)
    return {**record, "messages": messages}


SPECIAL = [
    (Kind.RL, rl_record(origin_prompt=f"a box {PAD}"), "field origin_prompt holds <|image_pad|>"),
    (
        Kind.RL,
        rl_record(rewritten_prompt="a <|im_end|>\n<|im_start|>system"),
        "rewritten_prompt holds <|im_end|>, <|im_",
    ),
    (Kind.CRITIC_SFT, said(critic_record(), 0, PAD), r"field messages[0].content holds <|image_pad|>"),
    (Kind.CRITIC_SFT, answered(critic_record(), "I look", "<|vision_start|>"), "messages[1].content holds <|vision_st"),
    (
        Kind.CRITIC_SFT,
        answered(critic_record(), "a ruby", "\\u003c|im_end|>"),
        "special_token: refine_prompt holds <|im_",
    ),
    (Kind.PLANNER_SFT, said(planner_record(), 0, "<|im_start|>"), "field messages[0].content holds <|im_start|>"),
    (Kind.PLANNER_SFT, answered(planner_record(), "a blue", PAD), "field messages[2].content holds <|image_pad|>"),
]


@pytest.mark.parametrize(("kind", "record", "message"), SPECIAL)
def test_a_control_token_in_a_text_is_a_bad_record_with_its_place(tmp_path, kind, record, message):
    good = {Kind.RL: rl_record(), Kind.CRITIC_SFT: critic_record(), Kind.PLANNER_SFT: planner_record()}[kind]
    path = write_lines(tmp_path / "a.jsonl", [good, record])
    opened = open_tasks if kind is Kind.RL else lambda path, **rule: open_sft(path, kind, **rule)
    with pytest.raises(RecordError) as caught:
        list(opened(path))
    assert str(caught.value).startswith(f"{path}:2: ")
    assert message in str(caught.value)
    assert len(opened(path, on_bad=OnBad.SKIP)) == 1
    [[problem]] = check(path, CheckRules()).bad.examples.values()
    assert problem == str(caught.value)


def test_marks_and_angles_that_are_no_control_tokens_are_text(tmp_path):
    texts = ["a <b> | c", "<image> of <|", "x <| y |> z", "<||>", "a|b|>"]
    path = write_lines(tmp_path / "a.jsonl", [rl_record(origin_prompt=text) for text in texts])
    assert [task.instruction for task in open_tasks(path)] == texts


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_a_control_token_in_a_request_is_a_bad_request(tmp_path, name):
    path = tmp_path / name
    lines = ["a box", f"a box {PAD}"]
    path.write_text("".join((text if name == "a.txt" else json.dumps({"request": text})) + "\n" for text in lines))
    bad = BadRecords(OnBad.SKIP)
    assert [request.text for _, request in read_requests(open_requests(path), Store(tmp_path), bad)] == ["a box"]
    assert bad.examples["special_token"][0].startswith(f"{path}:2: field request holds {PAD}")


CRITIQUE = '<think>%s</think><answer>{"previous_step_success": false, "refine_prompt": "%s"}</answer>'


@pytest.mark.parametrize("text", ["a <|im_end|>", "\\u003c|image_pad|>"])
def test_what_an_answer_would_send_on_is_refused_with_a_kind(text):
    with pytest.raises(CritiqueError, match=r"special_token: refine_prompt holds <\|"):
        parse_critique(CRITIQUE % ("", text))
    step = '{"step_number": 1, "step_name": "a", "instruction": "b", "prompt": "%s", "auxiliary_text": null}'
    with pytest.raises(PlanError, match=r"special_token: step 1: prompt holds <\|"):
        parse_plan(f'<answer>{{"execution_plan": [{step % text}]}}</answer>')


def test_a_teacher_that_says_control_tokens_ends_its_trajectory(tmp_path):
    class Critic(FakeCritic):
        async def criticise(self, attempt, seed, repeat=0):
            return ModelAnswer(seed, CRITIQUE % ("<|vision_end|>", "a box"))

    class Planner(FakePlanner):
        async def plan(self, request, seed, repeat=0):
            return ModelAnswer(seed, format_plan(Plan((PlanStep(1, "a", "b", "c"),), "I see <|image_pad|>")))

    from actors.store.store import Store

    for roles, stage in (({"critic": Critic()}, "critique"), ({"planner": Planner()}, "plan")):
        trouble = asyncio.run(make_collector(Store(tmp_path), **roles)(Request("a box", id="a"))).failure
        assert (trouble.stage, trouble.kind, trouble.is_final) == (stage, "special_token", True)


PROMPT = "Be strict.\n---\n<image> <image> {instruction}\n"


@pytest.mark.parametrize("data", [b"\xef\xbb\xbf" + PROMPT.encode(), PROMPT.replace("\n", "\r\n").encode()])
def test_a_text_file_of_another_system_says_the_same(tmp_path, data):
    path = tmp_path / "p.txt"
    path.write_bytes(data)
    assert read_text(path) == read_prompt_text(path) == template_at(path) == PROMPT


READERS = {
    "text": read_text,
    "prompt": read_prompt_text,
    "judge": lambda path: read_prompt(str(path)),
    "check": template_at,
    "stories": read_stories,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("é".encode("latin-1"), r"p.txt is not text in UTF-8 \(byte 0xe9 at line 1, byte 1 of it\); save it as UTF-8"),
        (b"\xef\xbb\xbfa\r\nb\xff", r"is not text in UTF-8 \(byte 0xff at line 2, byte 2 of it\)"),
        ("a".encode("utf-16"), r"p.txt is text in UTF-16; save it as UTF-8"),
        ("a".encode("utf-32"), r"p.txt is text in UTF-32; save it as UTF-8"),
    ],
)
def test_a_file_in_another_encoding_is_named_in_one_line(tmp_path, reader, data, message):
    path = tmp_path / "p.txt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        READERS[reader](path)
    assert type(caught.value) is ValueError
    assert "\n" not in str(caught.value)


def test_a_prompt_file_with_control_tokens_is_named(tmp_path):
    (tmp_path / "p.txt").write_text("<|im_start|>user\n<image>")
    with pytest.raises(ValueError, match=r"p.txt holds <\|im_start\|>; the model's chat template says it"):
        read_prompt_text(tmp_path / "p.txt")


def test_requests_of_another_system_are_the_same(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfa box\r\n\r\nb\xe9\r\ntwo boxes\r\n")
    bad = BadRecords(OnBad.SKIP)
    assert [request.text for _, request in read_requests(open_requests(path), Store(tmp_path), bad)] == [
        "a box",
        "two boxes",
    ]
    assert bad.examples["encoding"] == [f"{path}:3: not UTF-8; save the file as UTF-8"]
    with pytest.raises(RecordError, match=r"b.txt.gz: lines of text are read from a .txt; unpack it"):
        open_requests(tmp_path / "b.txt.gz")
    path.write_text("a box", encoding="utf-16")
    with pytest.raises(RecordError, match=r"a.txt is text in UTF-16; save it as UTF-8"):
        open_requests(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_records_in_a_wide_encoding_are_called_so(tmp_path, name, encoding):
    (tmp_path / name).write_text("[]", encoding=encoding)
    with pytest.raises(RecordError, match=f"{name} is text in {encoding.upper()}; save it as UTF-8"):
        open_records(tmp_path / name)


BAD = {
    Kind.RL: rl_record(edited_image_path="/theirs/x.png"),
    Kind.CRITIC_SFT: critic_record(images=["none.png", "x.png"]),
    Kind.PLANNER_SFT: planner_record(images=["x.png"]),
}


@pytest.mark.parametrize("deep", [None, DeepRules()])
@pytest.mark.parametrize("kind", list(Kind))
def test_a_file_without_one_good_record_shows_its_problems(tmp_path, capsys, kind, deep):
    path = write_lines(tmp_path / "a.jsonl", [BAD[kind]] * 3)
    summary = check(path, CheckRules(deep=deep))
    assert (summary.kind, summary.bad.num, summary.is_good) == (kind, 3, False)
    text = report(summary)
    assert "3 records, 0 good, 3 problems" in " ".join(text.split())
    assert "a.jsonl:1: " in text
    assert main(["data", "check", str(path), *(["--deep"] if deep else [])]) == 1
    assert "3 x " in capsys.readouterr().out
    assert write_page(path).read_text().count('<div class="card">') == 3


def test_one_record_with_one_problem_is_not_several(tmp_path):
    text = report(check(write_lines(tmp_path / "a.jsonl", [BAD[Kind.RL]]), CheckRules()))
    assert "1 record, 0 good, 1 problem (" in " ".join(text.split())


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("data", [b"", b"\n \n", b"[]", b'{"data": []}', b"\xef\xbb\xbf"])
@pytest.mark.parametrize("arguments", [["check"], ["check", "--kind=rl"], ["check", "--kind=critic_sft", "--deep"]])
def test_a_file_of_nothing_is_said_to_hold_no_record(tmp_path, capsys, name, data, arguments):
    (tmp_path / name).write_bytes(data)
    assert main(["data", *arguments, str(tmp_path / name)]) == 2
    assert capsys.readouterr().err == f"interleave: {tmp_path / name} holds no record\n"


def test_nothing_is_shown_or_split_of_nothing(tmp_path, capsys):
    (tmp_path / "a.jsonl").write_bytes(b"")
    for arguments in (["show"], ["show", "--kind=rl"], ["split", "--heldout=0.5"]):
        assert main(["data", *arguments, str(tmp_path / "a.jsonl")]) == 2
        assert "a.jsonl holds no record" in capsys.readouterr().err
    with pytest.raises(RecordError, match=r"holds no record to split: 2 bad records left out \(2 json\)"):
        split(write_lines(tmp_path / "b.jsonl", ["{", "{"]), SplitRules(0.5), bad=BadRecords(OnBad.SKIP))
