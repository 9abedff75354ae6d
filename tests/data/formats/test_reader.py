"""Files of records: each format, read in parts, where one bad record ends nothing."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import RecordError
from data.formats import json_array, json_lines, strict_json
from data.formats.json_array import JsonArray
from data.formats.json_lines import JsonLines
from data.formats.reader import open_records


def values(path):
    return [raw.value if raw.error is None else raw.error.kind for raw in open_records(path)]


def write(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_lines_as_editors_write_them(tmp_path, newline, bom):
    path = write(tmp_path / "a.jsonl", bom + newline.join(['{"a": 1}', "", " ", '{"b": "é"}']).encode())
    raws = list(open_records(path))
    assert [(raw.number, raw.value) for raw in raws] == [(1, {"a": 1}), (4, {"b": "é"})]
    data = path.read_bytes()
    assert [json.loads(data[raw.start : raw.start + raw.length]) for raw in raws] == [raw.value for raw in raws]


HOSTILE_LINES = [
    (b'{"a": 1', "json"),
    (b'{"a": 1}}', "json"),
    (b"\x00", "json"),
    (b'{"a": "\x00"}', "json"),
    (b'{"a": "\xff"}', "encoding"),
    (b"\xef\xbb\xbf{}", "json"),
    (b"[" * 50_000, "json"),
    (b'{"a":' * 50_000, "json"),
    (b'{"a": 1, "a": 2}', "duplicate_key"),
    (b'{"a": {"b": 1, "b": 2}}', "duplicate_key"),
    (b'{"a": ' + b"9" * 5000 + b"}", "json"),
    (b"nul", "json"),
    (b"{'a': 1}", "json"),
]


def test_no_hostile_line_ends_the_reading(tmp_path):
    good = b'{"good": 1}'
    path = write(
        tmp_path / "a.jsonl", b"\n".join(part for bad, _ in HOSTILE_LINES for part in (good, bad)) + b"\n" + good
    )
    assert [value for value in values(path) if isinstance(value, str)] == [kind for _, kind in HOSTILE_LINES]
    assert values(path).count({"good": 1}) == len(HOSTILE_LINES) + 1
    bad = next(raw for raw in open_records(path) if raw.error)
    assert str(bad.error).startswith(f"{path}:2: not JSON")


def test_a_line_too_long_is_stepped_over(tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines, "MAX_RECORD", 100)
    monkeypatch.setattr(json_lines, "_BLOCK", 64)
    long = json.dumps({"a": "x" * 1000})
    path = write(tmp_path / "a.jsonl", f'{{"a": 1}}\n{long}\n{{"b": 2}}\n{long}')
    assert values(path) == [{"a": 1}, "too_long", {"b": 2}, "too_long"]
    raws = list(JsonLines(path))
    assert [raw.number for raw in raws] == [1, 2, 3, 4]
    assert raws[3].start + raws[3].length == path.stat().st_size


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('"\\,[]{} a', max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(JSON, max_size=6), st.integers(1, 40), st.sampled_from([None, 1]), st.sampled_from(["", "\n ", "\ufeff"])
)
@settings(max_examples=60)
def test_an_array_is_read_as_json_reads_it_whatever_the_blocks(tmp_path_factory, items, block, indent, before):
    path = tmp_path_factory.getbasetemp() / "array.json"
    write(path, before + json.dumps(items, indent=indent) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_array, "_BLOCK", block)
        raws = list(JsonArray(path))
    data = path.read_bytes()
    assert [raw.error for raw in raws] == [None] * len(items)
    assert [raw.value for raw in raws] == items
    assert [json.loads(data[raw.start : raw.start + raw.length]) for raw in raws] == items


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", []),
        (" [ ] ", []),
        ("[", ["json"]),
        ('[{"a": 1}', ["json"]),
        ('[{"a": 1},', [{"a": 1}, "json"]),
        ('[{"a": 1}, {"b": "', [{"a": 1}, "json"]),
        ('[{"a": 1},]', [{"a": 1}, "json"]),
        ("[1,,2]", [1, "json", 2]),
        ("[1 2]", ["json"]),
        ('[{"a": nul}, {"b": 2}]', ["json", {"b": 2}]),
        ('[{"a": 1, "a": 1}, "x]", 3]', ["duplicate_key", "x]", 3]),
        ("[1] [2]", [1, "json"]),
        ("[1]\n\n", [1]),
        ("[{]}", ["json"]),
        ("[" * 5000 + "]" * 5000, ["json"]),
        ('["\\\\", "\\"]"]', ["\\", '"]']),
    ],
)
@pytest.mark.parametrize("block", [1, 7, 2**20])
def test_arrays_broken_in_all_ways(tmp_path, monkeypatch, text, expected, block):
    monkeypatch.setattr(json_array, "_BLOCK", block)
    assert values(write(tmp_path / "a.json", text)) == expected


@pytest.mark.parametrize("filling", ["x", "\\\\", "\\", "[", "{}", ",", '\\"', '"'])
@pytest.mark.parametrize("block", [16, 17])
def test_an_element_too_long_is_dropped_as_it_is_read(tmp_path, monkeypatch, filling, block):
    monkeypatch.setattr(json_array, "_BLOCK", block)
    monkeypatch.setattr(json_array, "MAX_RECORD", 64)
    path = write(tmp_path / "a.json", f"[1, {json.dumps(filling * 500)}, 2, {json.dumps([filling] * 500)}, 3]")
    raws = list(JsonArray(path))
    assert [raw.value if raw.error is None else raw.error.kind for raw in raws] == [1, "too_long", 2, "too_long", 3]
    assert str(raws[1].error).startswith(f"{path}: record 2: ")


def test_the_scanner_keeps_no_more_than_a_record_and_a_block(tmp_path, monkeypatch):
    monkeypatch.setattr(json_array, "_BLOCK", 16)
    monkeypatch.setattr(json_array, "MAX_RECORD", 64)
    path = write(tmp_path / "a.json", b'["' + b"\\" * 2000 + b'", [' + b"1," * 1000 + b"1]]")
    largest = 0
    keep = json_array._Scanner._keep

    def watch(scanner, start):
        nonlocal largest
        keep(scanner, start)
        largest = max(largest, len(scanner._buffer))

    monkeypatch.setattr(json_array._Scanner, "_keep", watch)
    assert len(list(JsonArray(path))) == 2
    assert largest <= 64 + 16


def test_rows_of_a_parquet_file(tmp_path, monkeypatch):
    monkeypatch.setattr("data.formats.arrow._NUM_ROWS", 2)
    rows = [{"a": number, "inside": {"b": [str(number)]}} for number in range(5)]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=3)
    records = open_records(path)
    raws = list(records)
    assert [raw.value for raw in raws] == rows
    assert [raw.number for raw in raws] == [1, 2, 3, 4, 5]
    assert (records.where(2), records.position, records.size) == (f"{path}: row 2", 5, 5)


def test_a_damaged_row_group_ends_no_other(tmp_path):
    path = tmp_path / "a.parquet"
    rows = [{"a": "x" * 1000 + str(number)} for number in range(6)]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=3, compression="snappy", use_dictionary=False)
    data = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    start = column.data_page_offset
    data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(data)
    raws = list(open_records(path))
    assert [raw.number for raw in raws] == [1, 4, 5, 6]
    assert "rows 1 to 3 cannot be read" in str(raws[0].error)


@pytest.mark.parametrize(
    "made", [pa.array([0, 10**18, 1], pa.timestamp("us")), pa.array([0, 2**31 - 1, 1], pa.date32())]
)
def test_a_date_that_python_cannot_hold_spoils_its_row_alone(tmp_path, made):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": ["x", "y", "z"], "made": made}), path)
    raws = list(open_records(path))
    assert [raw.number for raw in raws] == [1, 2, 3]
    assert [raw.value and raw.value["a"] for raw in raws] == ["x", None, "z"]
    assert raws[1].error.kind == "value"
    assert str(raws[1].error).startswith(f"{path}: row 2: field made holds a value that cannot be read (")


@pytest.mark.parametrize("data", [b"PAR1", b"PAR1" + b"x" * 100 + b"PAR1"])
def test_what_only_begins_as_parquet(tmp_path, data):
    with pytest.raises(RecordError, match="is not a readable Parquet file"):
        open_records(write(tmp_path / "a.parquet", data))


def test_a_folder_must_be_a_saved_dataset(tmp_path):
    with pytest.raises(RecordError, match="is a folder, but neither one that Hugging Face `datasets` saved"):
        open_records(tmp_path)
    for split in ("test", "train"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "dataset_info.json").write_text("{}")
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["test", "train"]}')
    with pytest.raises(RecordError, match=r"holds the splits test, train; name one, like .*/test"):
        open_records(tmp_path)


@pytest.mark.slow
def test_rows_of_a_saved_dataset(tmp_path, monkeypatch):
    """Slow: importing `datasets` takes seconds."""
    import datasets

    monkeypatch.setattr("data.formats.arrow._NUM_ROWS", 2)
    rows = [{"a": number, "inside": {"b": [str(number)]}} for number in range(5)]
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "saved"))
    raws = list(open_records(tmp_path / "saved"))
    assert [(raw.number, raw.value) for raw in raws] == list(enumerate(rows, 1))


def test_a_record_of_fifty_megabytes_is_not_held(tmp_path):
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(b'{"a": 1}\n{"a": "')
        for _ in range(50):
            file.write(b"x" * 2**20)
        file.write(b'"}\n{"b": 2}\n')
    assert values(path) == [{"a": 1}, "too_long", {"b": 2}]
    assert strict_json.MAX_RECORD < 50 * 2**20
