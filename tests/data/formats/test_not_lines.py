"""A file that is no lines of JSON is told as what it is, once; one with bad lines among good ones is read."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.check.check import CheckRules, check
from data.errors import RecordError
from data.formats.reader import open_records
from rl.cli.main import main
from tests.support.record_files import rl_record

RECORDS = [rl_record(number) for number in range(3)]
LINES = "".join(f"{json.dumps(record)}\n" for record in RECORDS)

OTHERS: dict[str, tuple[str | bytes, str]] = {
    "csv": ("origin_prompt,edited_image_path\na,b.png\n", "is a table in CSV"),
    "quoted csv": ('"origin_prompt","edited image"\n"a","b"\n', "is a table in CSV"),
    "tsv": ("origin_prompt\tedited_image_path\na\tb\n", "is a table in CSV"),
    "pretty": ("\n".join(json.dumps(record, indent=2) for record in RECORDS), "is JSON objects over several lines"),
    "pretty with marks": ("\ufeff\r\n" + json.dumps(RECORDS[0], indent=1).replace("\n", "\r\n"), "over several lines"),
    "commas": (LINES.replace("}\n", "},\n"), "is JSON objects with commas between them"),
    "one line": (LINES.replace("\n", ""), "is JSON objects one after the other on a line"),
    "old mac": (LINES.replace("\n", "\r"), "is text whose lines end with carriage returns alone"),
    "python": ("\n".join(map(str, RECORDS)), "is written as Python prints dicts"),
    "comment": ("// mine\n[1]", "begins with a comment"),
    "html": ("<!doctype html>\n<p>404", "is a page in HTML"),
    "utf-16": (LINES.encode("utf-16-le"), "is text in UTF-16; save it as UTF-8"),
    "utf-32": (json.dumps(RECORDS).encode("utf-32-be"), "is text in UTF-32; save it as UTF-8"),
    "twice": (gzip.compress(gzip.compress(LINES.encode())), "is compressed with gzip twice"),
    "pickle": (b"\x80\x04\x95\x0b\0\0\0", "is a Python pickle"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_a_file_is_and_what_would_be_right(tmp_path, capsys, case):
    data, told = OTHERS[case]
    path = tmp_path / "a.jsonl"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    assert main(["data", "check", str(path)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"interleave: {path} {told}") or told in line, line
    assert "--kind" not in line
    if case != "twice":
        (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
        with pytest.raises(RecordError, match=told):
            open_records(tmp_path / "a.jsonl.gz")


@pytest.mark.parametrize("bad", ["a,b\n", "{'a': 1}\n", '{"a":\n', "// mine\n", '{"a": 1} {"a": 2}\n', "\0\0\0\0\n"])
def test_a_bad_line_ends_nothing(tmp_path, bad):
    path = tmp_path / "a.jsonl"
    path.write_text(bad + LINES)
    assert [raw.value for raw in open_records(path)] == [None, *RECORDS]


@pytest.mark.parametrize(
    "data", ["a," + " " * 10**6 + "!", "nul", '"text"\n', "[", "{", '{"a": 1', "a text\n", "\0" * 1000, '{"a": 1}}\n']
)
def test_what_could_be_anything_is_read_line_by_line(tmp_path, data):
    path = tmp_path / "a.jsonl"
    path.write_text(data)
    assert len(list(open_records(path))) == 1


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("a text\n", r"none of its first records can be read \(.*a\.jsonl:1: not JSON"),
        ("7\n", "its first record is a number, expected an object"),
        ('{"a": 1}\n', r"its first records show no kind: one has the fields 'a'; expected origin_prompt .* --kind to"),
        ("{}\n", "its first records show no kind: one is empty; expected origin_prompt"),
    ],
)
def test_only_records_of_no_kind_are_asked_for_theirs(tmp_path, data, told):
    (tmp_path / "a.jsonl").write_text(data)
    with pytest.raises(RecordError, match=told) as error:
        check(tmp_path / "a.jsonl", CheckRules())
    assert ("--kind" in str(error.value)) == data.startswith("{")


def test_columns_of_one_name_are_refused(tmp_path):
    table = pa.Table.from_pylist(RECORDS)
    twice = pa.Table.from_arrays(
        [*table.columns, table["edited_image_path"]], names=[*table.column_names, "origin_prompt"]
    )
    pq.write_table(twice, tmp_path / "a.parquet")
    with pytest.raises(RecordError, match=r"a\.parquet has 2 columns of the name 'origin_prompt'"):
        open_records(tmp_path / "a.parquet")
    scores = pa.StructArray.from_arrays([pa.array([1.0]), pa.array([2.0])], names=["semantics", "semantics"])
    nested = pa.ListArray.from_arrays([0, 1], pa.StructArray.from_arrays([scores], names=["evaluation"]))
    pq.write_table(pa.Table.from_arrays([nested], names=["tries"]), tmp_path / "b.parquet")
    with pytest.raises(RecordError, match=r"2 columns of the name 'tries\.evaluation\.semantics'"):
        open_records(tmp_path / "b.parquet")
