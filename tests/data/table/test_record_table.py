"""Records by number: the same as those read whole, from an index that is made once and never trusted when stale."""

import json
import os
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import RecordError
from data.formats.reader import open_records
from data.records.image_paths import ImageResolver, ImageRules
from data.records.on_bad import OnBad
from data.records.rl import read_task
from data.records.sft import Kind
from data.table import index_file, line_index
from data.table.record_table import open_sft, open_tasks
from tests.support.record_files import critic_record, planner_record, rl_record, write_lines

RECORDS = [rl_record(number, is_success=number % 3 == 0) for number in range(20)]


def plainly_read(path):
    """Read all records, one after the other."""
    places = ImageResolver(path.parent, ImageRules())
    return [read_task(raw.value, places, default_id=f"{path.stem}-{raw.number}") for raw in open_records(path)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "interleave"


@pytest.fixture
def large(monkeypatch):
    """Small files count as large ones, whose index is written."""
    monkeypatch.setattr(index_file, "_SMALL", 0)


def test_a_table_is_the_file(tmp_path):
    path = write_lines(tmp_path / "tasks.jsonl", ["", *RECORDS[:7], "  ", *RECORDS[7:]])
    tasks = open_tasks(path)
    assert list(tasks) == plainly_read(path)
    assert (len(tasks), tasks[0].id, tasks[-1].id) == (20, "tasks-2", "tasks-22")
    assert tasks[3:5] == [tasks[3], tasks[4]]
    assert tasks.labels.tolist() == [task.is_success for task in tasks]
    with pytest.raises(IndexError):
        tasks[20]
    assert not list(tmp_path.glob("*.index"))


TEXT = st.text('ab": {}[]\\\n\u2028é,', max_size=12)


@given(
    st.lists(
        st.tuples(TEXT, TEXT, st.booleans(), st.sampled_from([None, "id", "own", "spaces"])), min_size=1, max_size=8
    ),
    st.integers(150, 2000),
)
@settings(max_examples=40)
def test_labels_and_places_are_those_of_json(tmp_path_factory, drawn, block):
    """Texts that look like keys, keys twice in different objects, any spacing, any size of block."""
    lines = []
    for number, (text, other, is_success, form) in enumerate(drawn):
        record = rl_record(number, is_success=is_success, origin_prompt=f"x{text}", rewritten_prompt=other)
        if form is not None:
            record = {"id": f"own-{number}", "note": {"success": not is_success, "id": "same"}, **record}
        if form == "own":
            record["note"] = '"success": true'
        spaces = (" , ", "  : ") if form == "spaces" else None
        lines.append(json.dumps(record, separators=spaces, ensure_ascii=form == "id"))
    path = write_lines(tmp_path_factory.getbasetemp() / "drawn.jsonl", lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_index, "_BLOCK", block)
        tasks = open_tasks(path)
    assert list(tasks) == plainly_read(path)
    assert tasks.labels.tolist() == [is_success for _, _, is_success, _ in drawn]


def test_an_index_is_made_once(tmp_path, large, monkeypatch):
    path = write_lines(tmp_path / "tasks.jsonl", RECORDS)
    first = list(open_tasks(path))
    assert len(list(tmp_path.glob("tasks.jsonl*.index"))) == 1
    monkeypatch.setattr("data.table.record_table.scan_lines", None)
    assert list(open_tasks(path)) == first


@pytest.mark.parametrize("damage", [b"", b"short", b"\0" * 4096, "cut", "foreign"])
def test_a_damaged_index_is_made_anew(tmp_path, large, damage):
    path = write_lines(tmp_path / "tasks.jsonl", RECORDS)
    first = list(open_tasks(path))
    (index,) = tmp_path.glob("*.index")
    whole = index.read_bytes()
    index.write_bytes({"cut": whole[:-20], "foreign": whole[:-8] + b"12345678"}.get(damage, damage))
    assert list(open_tasks(path)) == first
    assert index.read_bytes() == whole


def test_a_changed_file_gets_a_new_index(tmp_path, large):
    path = write_lines(tmp_path / "tasks.jsonl", RECORDS)
    assert len(open_tasks(path)) == 20
    state = path.stat()
    write_lines(path, RECORDS[:3])
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert len(open_tasks(path)) == 3, "the size tells"
    write_lines(path, [*RECORDS[:2], rl_record(9, is_success=True)])
    assert open_tasks(path)[2].is_success


def test_an_index_goes_to_the_cache_where_the_folder_takes_none(tmp_path, large, cache, monkeypatch):
    path = write_lines(tmp_path / "tasks.jsonl", RECORDS)
    make = tempfile.TemporaryDirectory

    def read_only(dir=None, **settings):
        if dir == tmp_path:
            raise PermissionError(13, "read-only")
        return make(dir=dir, **settings)

    monkeypatch.setattr(tempfile, "TemporaryDirectory", read_only)
    first = list(open_tasks(path))
    assert not list(tmp_path.glob("*.index"))
    assert len(list(cache.glob("tasks.jsonl.*.index"))) == 1
    monkeypatch.setattr("data.table.record_table.scan_lines", None)
    assert list(open_tasks(path)) == first


def test_a_file_that_changes_under_the_index_is_no_silent_matter(tmp_path, large, monkeypatch):
    path = write_lines(tmp_path / "tasks.jsonl", RECORDS)
    scan = line_index.scan_lines

    def scan_and_change(*arguments, **settings):
        scan(*arguments, **settings)
        path.write_text("{}\n")

    monkeypatch.setattr("data.table.record_table.scan_lines", scan_and_change)
    tasks = open_tasks(path)  # the index is that of the file as it was
    with pytest.raises(RecordError, match=r"tasks.jsonl:2: not JSON"):
        tasks[1]
    assert len(list(tmp_path.glob("*.index"))) == 1


def test_a_bad_record_is_an_error_when_it_is_drawn(tmp_path):
    bad = rl_record(1, edited_image_path="none.png")
    cut = json.dumps(rl_record(2))[:-3]
    tasks = open_tasks(write_lines(tmp_path / "tasks.jsonl", [RECORDS[0], bad, cut]))
    assert tasks[0].is_success
    with pytest.raises(RecordError, match=r"tasks.jsonl:2: field edited_image_path: there is no image"):
        tasks[1]
    with pytest.raises(RecordError, match=r"tasks.jsonl:3: not JSON"):
        tasks[2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{}", r"tasks.jsonl:2: field evaluation is missing"),
        ("not json", r"tasks.jsonl:2: not JSON"),
        (rl_record(evaluation={"success": "true"}), r"tasks.jsonl:2: evaluation: field success is a string"),
        (rl_record(evaluation=[]), r"tasks.jsonl:2: field evaluation is a list"),
        ({**rl_record(), "note": {"success": True, "id": 1}, "id": [1]}, r"tasks.jsonl:2: field id is a list"),
        ("x" * 500, r"tasks.jsonl:2: 500 bytes, expected at most"),
    ],
)
def test_what_the_index_needs_is_checked_at_once(tmp_path, monkeypatch, line, message):
    monkeypatch.setattr(line_index, "MAX_RECORD", 400)
    with pytest.raises(RecordError, match=message):
        open_tasks(write_lines(tmp_path / "tasks.jsonl", [RECORDS[0], line, RECORDS[1]]))


def test_an_endless_line_is_not_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(line_index, "MAX_RECORD", 400)
    monkeypatch.setattr(line_index, "_BLOCK", 100)
    with pytest.raises(RecordError, match=r"a line of more than 400 bytes at byte 0"):
        open_tasks(write_lines(tmp_path / "tasks.jsonl", ["x" * 5000]))


@pytest.mark.parametrize("ids", [("a", "a"), (7, "7"), ("é", "\\u00e9"), ("a\\/b", "a/b")])
def test_an_id_twice_is_found_however_it_is_written(tmp_path, ids):
    lines = [
        json.dumps(rl_record(), ensure_ascii=False)[:-1] + f', "id": {one if one == 7 else json.dumps(one)}}}'
        for one in ids
    ]
    lines = [line.replace("\\\\", "\\") for line in lines]
    path = write_lines(tmp_path / "tasks.jsonl", [rl_record(id="b"), *lines])
    with pytest.raises(RecordError, match=r"tasks.jsonl:3: the id of line 2 appears again") as caught:
        open_tasks(path)
    assert caught.value.kind == "duplicate_id"


def test_an_id_inside_a_record_is_not_its_own(tmp_path):
    nested = [rl_record(number, source={"id": "coco"}) for number in range(3)]
    path = write_lines(tmp_path / "tasks.jsonl", nested)
    assert [task.id for task in open_tasks(path)] == ["tasks-1", "tasks-2", "tasks-3"]
    own = [rl_record(3, id="coco"), rl_record(4, id="vg"), rl_record(5, id="coco")]
    with pytest.raises(RecordError, match=r"tasks.jsonl:6: the id of line 4 appears again \(1 such\)"):
        open_tasks(write_lines(path, [*nested, *own]))
    assert len(open_tasks(write_lines(path, [*nested, *own[:2]]))) == 5


def test_skipping_leaves_bad_records_out_and_remembers_them(tmp_path, large, monkeypatch):
    lines = [
        RECORDS[0],
        "{",
        rl_record(edited_image_path="none.png"),
        rl_record(1, id="a"),
        rl_record(2, id="a"),
        RECORDS[3],
    ]
    path = write_lines(tmp_path / "tasks.jsonl", lines)
    tasks = open_tasks(path, on_bad=OnBad.SKIP)
    assert [task.id for task in tasks] == ["tasks-1", "a", "tasks-6"]
    assert tasks.labels.tolist() == [True, False, True]
    assert tasks.left_out.startswith("3 bad records left out (1 json, 1 image_missing, 1 duplicate_id), for example ")
    monkeypatch.setattr("data.table.record_table.good_records", None)
    again = open_tasks(path, on_bad=OnBad.SKIP)
    assert (list(again), again.left_out) == (list(tasks), tasks.left_out)


def test_other_rules_are_another_index(tmp_path, large):
    path = write_lines(tmp_path / "tasks.jsonl", [RECORDS[0], rl_record(edited_image_path="/theirs/x.png")])
    assert len(open_tasks(path, on_bad=OnBad.SKIP)) == 1
    rules = ImageRules(prefixes=(("/theirs", str(tmp_path)),))
    assert len(open_tasks(path, rules, on_bad=OnBad.SKIP)) == 2


def test_a_file_of_nothing_but_bad_records_is_refused(tmp_path):
    path = write_lines(tmp_path / "tasks.jsonl", ["{", "["])
    with pytest.raises(RecordError, match=r"holds no record that is good: 2 bad records left out \(2 json\)"):
        open_tasks(path, on_bad=OnBad.SKIP)
    with pytest.raises(RecordError, match=r"holds no record$"):
        open_tasks(write_lines(path, ["", " "]))


def test_a_json_array_is_a_table_too(tmp_path, large):
    lines = write_lines(tmp_path / "lines.jsonl", [critic_record(number) for number in range(4)])
    path = tmp_path / "sft.json"
    path.write_text(json.dumps([critic_record(number) for number in range(4)], indent=4))
    records, same = open_sft(path, Kind.CRITIC_SFT), open_sft(lines, Kind.CRITIC_SFT)
    assert [record.messages for record in records] == [record.messages for record in same]
    assert [record.id for record in records] == ["sft-1", "sft-2", "sft-3", "sft-4"]
    assert (records.labels.any(), same.labels.any()) == (np.False_, np.False_)
    path.write_text(json.dumps([critic_record(), {}]))
    with pytest.raises(RecordError, match=r"sft.json: record 2: field messages is missing"):
        open_sft(path, Kind.CRITIC_SFT)


def test_rows_of_parquet_become_lines_once(tmp_path, cache, monkeypatch):
    rows = [*RECORDS, rl_record(20, evaluation={"success": None, "semantics": 1, "quality": 1})]
    path = write_lines(tmp_path / "tasks.jsonl", []).with_suffix(".parquet")
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(RecordError, match=r"tasks.parquet: row 21: evaluation: field success is null"):
        open_tasks(path)
    tasks = open_tasks(path, on_bad=OnBad.SKIP)
    assert list(tasks) == plainly_read(write_lines(tmp_path / "tasks.jsonl", RECORDS))
    assert "tasks.parquet: row 21: " in tasks.left_out
    assert len(list(cache.glob("tasks.parquet.*.jsonl"))) == 1
    monkeypatch.setattr("data.formats.arrow.ParquetRows.__iter__", None)
    assert len(open_tasks(path, on_bad=OnBad.SKIP)) == 20


def test_plans_are_read_one_by_one(tmp_path):
    records = open_sft(write_lines(tmp_path / "p.jsonl", [planner_record(1), planner_record(2)]), Kind.PLANNER_SFT)
    assert records[1].answer.steps[0].prompt == "a blue sky 2"
