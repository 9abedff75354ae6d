"""`interleave data check`: what it counts, what it calls bad, and where."""

import json
from typing import Any

import pytest

from data.check.check import CheckRules, check, detect_kind
from data.errors import RecordError
from data.formats.reader import open_records
from data.records.image_paths import ImageRules
from data.records.sft import Kind
from data.table import digest_log
from data.table.digest_log import DigestLog, content_of, digest_of
from data.table.record_table import open_tasks
from rl.cli.main import main
from tests.support.record_files import critic_record, planner_record, report, rl_record, write_lines


def test_rl_records_are_counted(tmp_path):
    records = [
        rl_record(number % 4, is_success=number % 4 == 0, rewritten_prompt="ab" * (number % 2)) for number in range(12)
    ]
    summary = check(write_lines(tmp_path / "a.jsonl", records), CheckRules())
    assert (summary.kind, summary.num_records, summary.bad.num, summary.is_good) == (Kind.RL, 12, 0, True)
    statistics = summary.statistics
    assert statistics.num == {True: 3, False: 9}
    assert (statistics.semantics[True][9], statistics.semantics[False][3], statistics.quality[False][8]) == (3, 9, 9)
    assert (statistics.prompts.num, statistics.num_from_nothing) == (6, 12)
    assert (summary.prompts.num_distinct, summary.prompts.most) == (4, 3)
    assert summary.copies.num_later == 8
    assert summary.examples_of_copies[0] == (f"{tmp_path}/a.jsonl:1", f"{tmp_path}/a.jsonl:5")
    text = " ".join(report(summary).split())
    assert "success 3 25.0 % █" in text
    assert "4 different source prompts, 3.0 records each, at most 3" in text
    assert "no bad records" in text


def test_sft_records_are_counted(tmp_path):
    records = [critic_record(number, is_success=number == 0) for number in range(4)]
    statistics = check(write_lines(tmp_path / "c.jsonl", records), CheckRules()).statistics
    assert (statistics.verdicts[True], statistics.verdicts[False], statistics.num_canvases) == (1, 3, 4)
    text = "<answer>" + repr(json.loads(planner_record()["messages"][-1]["content"][8:-9])) + "</answer>"
    python = planner_record(1, messages=[*planner_record()["messages"][:-1], {"role": "assistant", "content": text}])
    summary = check(write_lines(tmp_path / "p.jsonl", [planner_record(), python]), CheckRules())
    assert (summary.kind, summary.statistics.modes, summary.statistics.steps) == (
        "planner_sft",
        {"narrative": 2},
        {2: 2},
    )
    assert "1 answers are Python literals" in report(summary)


def test_every_bad_record_is_counted_and_located(tmp_path):
    good = [rl_record(1), rl_record(2, id="a")]
    bad: list[Any] = [
        "{",
        rl_record(3, edited_image_path="no.png"),
        rl_record(4, evaluation={}),
        rl_record(5, id="a"),
        "[1]",
    ]
    path = write_lines(tmp_path / "a.jsonl", [*good, *bad])
    summary = check(path, CheckRules())
    assert summary.bad.counts == {"json": 1, "image_missing": 1, "missing": 1, "duplicate_id": 1, "not_object": 1}
    assert summary.bad.examples["duplicate_id"] == [f"{path}:6: its id already appears at {path}:2"]
    assert summary.num_records == 7
    text = report(summary)
    assert "1 x image_missing" in text
    assert f"{path}:4: field edited_image_path: there is no image at" in text.replace("\n", " ").replace("  ", " ")
    assert not summary.is_good


def test_only_the_first_examples_of_a_kind_are_kept(tmp_path):
    summary = check(write_lines(tmp_path / "a.jsonl", [rl_record(), *["{"] * 50]), CheckRules())
    assert (summary.bad.counts["json"], len(summary.bad.examples["json"])) == (50, 3)


def test_a_limit_ends_the_reading(tmp_path):
    assert (
        check(write_lines(tmp_path / "a.jsonl", [rl_record(), rl_record(), "{"]), CheckRules(limit=2)).num_records == 2
    )


def test_white_canvases_by_path_are_told(tmp_path):
    records = [rl_record(number, origin_image_path="/theirs/white.png") for number in range(3)]
    path = write_lines(tmp_path / "a.jsonl", records)
    rules = ImageRules(white_canvas="white.png")
    summary = check(path, CheckRules(images=rules))
    assert (summary.is_good, summary.statistics.num_from_nothing, summary.num_canvas_paths) == (True, 3, 3)
    (tmp_path / "white.png").write_bytes((tmp_path / "x.png").read_bytes())
    summary = check(path, CheckRules(images=ImageRules(prefixes=(("/theirs", str(tmp_path)),))))
    assert summary.num_called_white == 3
    assert "if that means no image: --white-canvas white.png" in report(summary)


def test_prompts_that_two_files_share_are_found(tmp_path):
    one = write_lines(tmp_path / "a.jsonl", [rl_record(1), rl_record(2), rl_record(2)])
    other = write_lines(tmp_path / "b.jsonl", ["{", rl_record(3), rl_record(2, edited_image_path="gone.png")])
    summary = check(one, CheckRules(against=other))
    assert summary.overlap is not None
    assert (summary.overlap.num_records, summary.is_good) == (2, False)
    assert summary.overlap.examples[0] == (f"{one}:2", f"{other}:3")
    assert check(one, CheckRules(against=write_lines(tmp_path / "c.jsonl", [rl_record(9)]))).is_good


def test_the_kind_shows_in_the_first_records(tmp_path):
    for kind, record in zip(Kind, (rl_record(), critic_record(), planner_record()), strict=True):
        assert detect_kind(open_records(write_lines(tmp_path / "a.jsonl", ["{", {}, record]))) is kind
    with pytest.raises(RecordError, match="set --kind to one of rl, critic_sft, planner_sft"):
        check(write_lines(tmp_path / "a.jsonl", [{"a": 1}]), CheckRules())


def test_a_digest_is_of_what_a_record_says_and_not_of_its_name(tmp_path):
    records = [rl_record(1), rl_record(1, id="b"), rl_record(2), rl_record(1, is_success=True)]
    first, renamed, *others = map(content_of, open_tasks(write_lines(tmp_path / "a.jsonl", records)))
    assert first == renamed
    assert first not in others
    assert digest_of("a", "b") == 0xD671F8867F47BBB9, "the same in every process"


def test_a_log_of_digests_counts_as_a_dictionary_does(tmp_path, monkeypatch):
    monkeypatch.setattr(digest_log, "_PART", 16)
    monkeypatch.setattr(digest_log, "_BUFFER", 32)
    names = [f"{number * number % 61}" for number in range(300)]
    log, other = DigestLog(tmp_path / "log"), DigestLog(tmp_path / "other")
    for number, name in enumerate(names):
        log.add(digest_of(name), number)
    for number in range(10):
        other.add(digest_of(str(number)), number)
    repeats = log.repeats()
    assert repeats.num_distinct == len(set(names))
    assert repeats.num_later == 300 - len(set(names))
    assert repeats.most == max(map(names.count, names))
    assert all(names[first] == names[later] and names.index(names[first]) == first for first, later in repeats.examples)
    later = sorted(int(number) for part in log.later() for number in part)
    assert later == [number for number, name in enumerate(names) if name in names[:number]]
    num_shared, examples = log.shared_with(other)
    assert num_shared == sum(name in map(str, range(10)) for name in names)
    assert all(names[own] == str(their) for own, their in examples)


@pytest.mark.parametrize(("records", "code"), [([rl_record()], 0), ([rl_record(), "{"], 1), (["{"], 2), ([], 2)])
def test_the_exit_code_says_whether_records_are_bad(tmp_path, capsys, records, code):
    assert main(["data", "check", str(write_lines(tmp_path / "a.jsonl", records))]) == code
    shown = capsys.readouterr()
    assert ("records/s" in shown.out) == (code < 2)
    assert ("interleave: " in shown.err) == (code == 2)


def test_options_of_the_command_reach_the_check(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    path = write_lines(tmp_path / "a.jsonl", [rl_record(edited_image_path="/theirs/x.png")])
    (tmp_path / "x.png").rename(tmp_path / "images" / "x.png")
    options = ["--image-root", str(tmp_path / "images"), "--prefix", f"/theirs={tmp_path}/images", "--kind", "rl"]
    assert main(["data", "check", str(path), *options]) == 0
    assert main(["data", "check", str(path), "--image-root", str(tmp_path / "none")]) == 2
    assert main(["data", "check", str(path), "--model", "x"]) == 2
    assert main(["data", "check", str(path), "--prefix", "x"]) == 2
    assert "--model, --prompt and --largest-image belong to --deep" in capsys.readouterr().err
    assert main(["data", "check", str(path), "--deep", "--max-pixels", "100"]) == 2
    assert "give --model, or --largest-image for a limit" in capsys.readouterr().err
