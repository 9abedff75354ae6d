"""`interleave data split`: no prompt on both sides, the same each time, and nothing lost."""

import json
from collections import Counter
from datetime import datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.check.check import CheckRules, check
from data.errors import RecordError
from data.records.on_bad import BadRecords, OnBad
from data.split import SplitRules, side_of, split
from data.table.record_table import open_tasks
from rl.cli.main import main
from tests.support.record_files import critic_record, rl_record, write_lines


def records_in(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def many(tmp_path):
    records = [rl_record(number % 200, rewritten_prompt=f"try {number}") for number in range(600)]
    return write_lines(tmp_path / "rl.jsonl", records)


def test_no_prompt_is_on_both_sides_and_no_record_is_lost(many):
    done = split(many, SplitRules(0.2))
    train, heldout = (records_in(done.paths[side]) for side in ("train", "heldout"))
    key = json.dumps
    assert Counter(map(key, train)) + Counter(map(key, heldout)) == Counter(map(key, records_in(many)))
    prompts = [{record["origin_prompt"] for record in side} for side in (train, heldout)]
    assert not prompts[0] & prompts[1]
    assert 20 <= len(prompts[1]) <= 60
    assert done.num_records == {"train": len(train), "heldout": len(heldout)}
    summary = check(done.paths["train"], CheckRules(against=done.paths["heldout"]))
    assert (summary.is_good, summary.overlap.num_records) == (True, 0)


def test_the_seed_decides_and_nothing_else(many, tmp_path):
    heldout = [
        {record["origin_prompt"] for record in records_in(split(many, rules, out=tmp_path / name).paths["heldout"])}
        for name, rules in (("a", SplitRules(0.2)), ("b", SplitRules(0.2)), ("c", SplitRules(0.2, seed=1)))
    ]
    assert heldout[0] == heldout[1] != heldout[2]
    wider = split(many, SplitRules(0.4), out=tmp_path / "d").paths["heldout"]
    assert heldout[0] < {record["origin_prompt"] for record in records_in(wider)}, (
        "a larger share holds the smaller one"
    )


def test_case_and_spacing_make_no_other_prompt():
    rules = SplitRules(0.5)
    for number in range(20):
        assert side_of(f"A red  box {number}", rules) == side_of(f"a RED box {number}\n", rules)


def test_relative_images_are_found_from_the_new_folder(many, tmp_path):
    done = split(many, SplitRules(0.2), out=tmp_path / "far" / "away")
    task = open_tasks(done.paths["heldout"])[0]
    assert task.after == str(tmp_path / "x.png")
    sft = write_lines(
        tmp_path / "sft.jsonl", [critic_record(number, images=["x.png", "/abs.png"]) for number in range(50)]
    )
    images = records_in(split(sft, SplitRules(0.5), out=tmp_path / "far").paths["train"])[0]["images"]
    assert images == ["../x.png", "/abs.png"]


def test_paths_of_an_image_column_are_found_from_the_new_folder(tmp_path):
    images = [{"bytes": None, "path": path} for path in ("x.png", "/abs.png", None)]
    sft = write_lines(tmp_path / "sft.jsonl", [critic_record(number, images=images) for number in range(50)])
    moved = records_in(split(sft, SplitRules(0.5), out=tmp_path / "far").paths["train"])[0]["images"]
    assert moved == [{"bytes": None, "path": path} for path in ("../x.png", "/abs.png", None)]


def test_sft_records_are_split_by_what_the_user_said(tmp_path):
    path = write_lines(
        tmp_path / "c.jsonl", [critic_record(number % 20, is_success=number > 19) for number in range(40)]
    )
    done = split(path, SplitRules(0.5))
    sides = [
        {record["messages"][0]["content"] for record in records_in(done.paths[side])} for side in ("train", "heldout")
    ]
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 20


def test_a_pattern_finds_the_prompt_inside_a_text(tmp_path):
    said = [f'Instruction: "box {number % 20}"\nRewritten: "try {number}"' for number in range(60)]
    path = write_lines(tmp_path / "c.jsonl", [rl_record(origin_prompt=text) for text in said])
    done = split(path, SplitRules(0.5, pattern=r'Instruction: "(.*?)"\nRewritten'))
    sides = [
        {record["origin_prompt"].split('"')[1] for record in records_in(done.paths[side])}
        for side in ("train", "heldout")
    ]
    assert not sides[0] & sides[1]
    with pytest.raises(RecordError, match=r"c.jsonl:1: --pattern finds no prompt in"):
        split(path, SplitRules(0.5, pattern="Wish: (.*)"), out=tmp_path / "other")


def test_another_field_may_hold_the_prompt(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [rl_record(number, story=f"s{number % 9}") for number in range(40)])
    done = split(path, SplitRules(0.5, by="story"))
    sides = [{record["story"] for record in records_in(done.paths[side])} for side in ("train", "heldout")]
    assert not sides[0] & sides[1]
    with pytest.raises(RecordError, match=r"a.jsonl:1: field other holds no prompt to split by"):
        split(path, SplitRules(0.5, by="other"), out=tmp_path / "b")


def test_bad_records_stop_it_or_are_left_out(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [*[rl_record(number) for number in range(30)], "{", {"a": 1}])
    with pytest.raises(RecordError, match=r"a.jsonl:31: not JSON"):
        split(path, SplitRules(0.5))
    assert not list(tmp_path.glob("a_*"))
    done = split(path, SplitRules(0.5), bad=BadRecords(OnBad.SKIP))
    assert (sum(done.num_records.values()), done.bad.counts) == (30, {"json": 1, "missing": 1})


def test_what_a_split_will_not_do(many, tmp_path):
    one = write_lines(tmp_path / "one.jsonl", [rl_record()])
    with pytest.raises(ValueError, match=r"no record is on the (train|heldout) side"):
        split(one, SplitRules(0.5))
    assert not list(tmp_path.glob("one_*"))
    for share in (0, 1, -0.1, 1.5):
        with pytest.raises(ValueError, match="expected a share between 0 and 1"):
            SplitRules(share)
    with pytest.raises(ValueError, match="not a regular expression"):
        SplitRules(0.5, pattern="(")
    with pytest.raises(ValueError, match="needs a group"):
        SplitRules(0.5, pattern="x")
    split(many, SplitRules(0.2))
    with pytest.raises(ValueError, match=r"rl_train.jsonl exists"):
        split(many, SplitRules(0.2))


def test_rows_of_parquet_become_lines(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", []).with_suffix(".parquet")
    pq.write_table(pa.Table.from_pylist([rl_record(number) for number in range(40)]), path)
    done = split(path, SplitRules(0.5))
    assert sum(len(open_tasks(done.paths[side])) for side in ("train", "heldout")) == 40


@pytest.mark.parametrize("value", [b"PNG", datetime(2024, 1, 1), Decimal("1.5"), [{"inside": b"PNG"}]])
def test_what_json_has_no_word_for_is_a_bad_record(tmp_path, value):
    path = tmp_path / "a.parquet"
    rows = [rl_record(number, note=None if number else value) for number in range(20)]
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(RecordError, match=r"a.parquet: row 1: field note \(\w+\) holds a value that JSON lacks"):
        split(path, SplitRules(0.5))
    done = split(path, SplitRules(0.5), bad=BadRecords(OnBad.SKIP))
    assert (sum(done.num_records.values()), done.bad.counts) == (19, {"type": 1})


def test_the_command_says_what_it_wrote(many, capsys):
    assert main(["data", "split", str(many), "--heldout", "0.2"]) == 0
    out = capsys.readouterr().out
    assert str(many.with_name("rl_train.jsonl")) in out
    assert "records" in out
    assert main(["data", "split", str(many), "--heldout", "2"]) == 2
