"""Data as the hub has it: packed, in shards, wrapped in an object, with images as bytes; records keep their places."""

import gzip
import io
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from actors.store.store import Store
from data.build.requests import open_requests, read_requests
from data.check.check import CheckRules, check
from data.check.images import DeepRules
from data.check.page import write_page
from data.errors import RecordError
from data.formats.json_wrapper import fault_behind, find_list
from data.formats.reader import open_records
from data.records.image_paths import ImageRules
from data.records.on_bad import BadRecords, OnBad
from data.records.sft import Kind
from data.split import SplitRules, split
from data.table import index_file
from data.table.record_table import open_sft, open_tasks
from rl.recipe.config import DataConfig
from rl.recipe.paths import resolve_data
from rl.recipe.tasks import read_tasks
from tests.support.record_files import critic_record, planner_record, rl_record, save_image

RECORDS = [rl_record(number, is_success=number % 3 == 0) for number in range(9)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "interleave"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set").mkdir()
    save_image(tmp_path / "set" / "x.png")
    return tmp_path / "set"


def lines_of(records):
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def write(path, data):
    path.write_bytes(data)
    return path


def told(path):
    """Return what training, the check and the page say of a file, without their places."""
    tasks = open_tasks(path)
    summary = check(path, CheckRules(kind=Kind.RL))
    assert (summary.num_records, summary.is_good) == (len(tasks), True), summary.bad.summary()
    page = write_page(path, out=path.parent / "page.html")
    assert page.read_text().count('<div class="card">') == len(tasks)
    return [(task.instruction, task.is_success, task.after) for task in tasks]


def plain(folder):
    return told(write(folder.parent / "set" / "plain.jsonl", lines_of(RECORDS)))


@pytest.mark.parametrize("small", [0, 2**30])
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl.gz", gzip.compress(lines_of(RECORDS))),
        ("a.jsonl", gzip.compress(lines_of(RECORDS))),
        ("two.jsonl.gz", gzip.compress(lines_of(RECORDS[:4])) + gzip.compress(lines_of(RECORDS[4:]))),
        ("bom.jsonl.gz", gzip.compress(b"\xef\xbb\xbf" + lines_of(RECORDS).replace(b"\n", b"\r\n"))),
        ("a.json.gz", gzip.compress(json.dumps(RECORDS).encode())),
        ("d.json.gz", gzip.compress(json.dumps({"data": RECORDS}).encode())),
        ("data.json", json.dumps({"data": RECORDS}).encode()),
        ("train.json", json.dumps({"train": RECORDS}, indent=2).encode()),
        ("about.json", json.dumps({"version": "1", "info": {"a": [{}]}, "data": RECORDS, "n": 9}, indent=1).encode()),
        ("bom.json", b"\xef\xbb\xbf" + json.dumps({"data": RECORDS}, indent=2).replace("\n", "\r\n").encode()),
    ],
)
def test_one_file_is_read_as_it_is_or_as_it_unpacks(folder, monkeypatch, small, name, data):
    monkeypatch.setattr(index_file, "_SMALL", small)
    expected = plain(folder)
    assert told(write(folder / name, data)) == expected
    assert open_tasks(folder / name)[0].id.startswith(f"{name.partition('.')[0]}-1")


def parquet(path, records):
    pq.write_table(pa.Table.from_pylist(records), path)
    return path


@pytest.mark.parametrize("is_pattern", [False, True])
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".json", ".parquet"])
def test_shards_are_one_set(folder, suffix, is_pattern):
    expected = plain(folder)
    for shard, records in enumerate((RECORDS[:4], RECORDS[4:5], RECORDS[5:])):
        path = folder.parent / "set" / f"train-{shard:05d}-of-00003{suffix}"
        if suffix == ".parquet":
            parquet(path, records)
        elif suffix == ".json":
            path.write_text(json.dumps(records))
        else:
            data = lines_of(records).rstrip(b"\n") + b"\n\n" * (shard == 0)
            path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    (folder / "plain.jsonl").unlink()
    (folder / "page.html").unlink()
    (folder / "dataset_infos.json").write_text("{}")
    path = folder / f"train-*{suffix}" if is_pattern else folder
    assert told(path) == expected
    assert told(path) == expected, "from the copy that is there"
    assert len({task.id for task in open_tasks(path)}) == len(RECORDS)
    assert list(open_tasks(path).labels) == [record["evaluation"]["success"] for record in RECORDS]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
def test_a_bad_record_of_a_shard_is_located_there(folder, suffix):
    bad = {**RECORDS[0], "edited_image_path": "none.png"}
    for shard, records in enumerate(([RECORDS[0], RECORDS[1]], [RECORDS[2], bad, RECORDS[3]])):
        path = folder / f"{shard}{suffix}"
        if suffix == ".parquet":
            parquet(path, records)
        else:
            data = b"\n" + lines_of(records) + b" \n"
            path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    where = f"{folder}/1{suffix}: row 2" if suffix == ".parquet" else f"{folder}/1{suffix}:3"
    summary = check(folder, CheckRules())
    assert summary.bad.examples["image_missing"][0].startswith(f"{where}: field edited_image_path: ")
    for _ in range(2):  # the second time from the copy
        with pytest.raises(RecordError) as caught:
            list(open_tasks(folder))
        assert caught.value.where == where
    assert f"for example {where}: " in open_tasks(folder, on_bad=OnBad.SKIP).left_out


def test_a_shard_that_changes_is_read_anew(folder):
    for shard in range(2):
        write(folder / f"{shard}.jsonl", lines_of(RECORDS[shard : shard + 1]))
    assert len(open_tasks(folder)) == 2
    write(folder / "1.jsonl", lines_of(RECORDS[1:5]))
    assert len(open_tasks(folder)) == 5


def test_one_id_in_two_shards_is_a_bad_record(folder):
    for shard in range(2):
        write(folder / f"{shard}.jsonl", lines_of([{**RECORDS[shard], "id": "same"}]))
    with pytest.raises(RecordError, match=r"1.jsonl:1: the id of line 1 appears again"):
        open_tasks(folder)
    assert check(folder, CheckRules()).bad.counts == {"duplicate_id": 1}


def test_files_that_do_not_belong_together_are_named(folder):
    with pytest.raises(RecordError, match=r"nor one of record files \(.parquet, .jsonl"):
        open_records(folder)
    (folder / "data").mkdir()
    write(folder / "data" / "a.jsonl", b"{}\n")
    with pytest.raises(RecordError, match="; name one of its folders: data"):
        open_records(folder)
    write(folder / "train-0.jsonl", lines_of(RECORDS))
    write(folder / "test-0.jsonl", lines_of(RECORDS))
    with pytest.raises(RecordError, match=rf"holds the splits test, train; name one, like {folder}/test\*"):
        open_records(folder)
    write(folder / "more.parquet", b"")
    with pytest.raises(RecordError, match=r"holds .jsonl and .parquet files; name some, like .*/\*.jsonl"):
        open_records(folder)
    with pytest.raises(RecordError, match=r"no file matches .*/none-\*"):
        open_records(folder / "none-*")


def image_bytes(colour):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
    return buffer.getvalue()


def column(colour):
    return {"bytes": image_bytes(colour), "path": None}


def test_images_held_as_bytes_become_files_by_content(folder, tmp_path, cache):
    records = [
        rl_record(0, origin_image_path=column("red"), edited_image_path=column("blue")),
        rl_record(1, origin_image_path=None, edited_image_path={"bytes": None, "path": "x.png"}),
        rl_record(2, origin_image_path={"bytes": None, "path": None}, edited_image_path=column("blue")),
    ]
    path = parquet(folder / "a.parquet", records)
    assert check(path, CheckRules()).is_good
    assert not cache.exists(), "a check that looks at no image writes none"
    summary = check(path, CheckRules(images=ImageRules(root=folder), deep=DeepRules()))
    assert (summary.is_good, summary.deep.num_images) == (True, 3)
    for _ in range(2):
        first, second, third = open_tasks(path, ImageRules(root=folder))
        assert (second.after, second.before, third.before) == (str(folder / "x.png"), None, None)
        assert first.after == third.after != first.before
        assert os.path.isabs(first.after)
        assert Store(tmp_path).get_image(first.after).getpixel((0, 0)) == (0, 0, 255)
        assert Store(tmp_path).get_image(str(first.before)).getpixel((0, 0)) == (255, 0, 0)
    os.unlink(first.after)
    with pytest.raises(RecordError, match=r"row 1: field edited_image_path: its image at .* is gone"):
        list(open_tasks(path))


def test_conversations_and_requests_hold_images_as_bytes_too(folder, tmp_path):
    path = parquet(folder / "c.parquet", [critic_record(images=[column("red"), column("blue")])])
    [record] = open_sft(path, Kind.CRITIC_SFT)
    assert Store(tmp_path).get_image(str(record.images[1])).getpixel((0, 0)) == (0, 0, 255)
    assert check(path, CheckRules(deep=DeepRules())).deep.num_images == 2
    path = parquet(folder / "r.parquet", [{"request": "paint it", "images": [column("red")]}])
    store = Store(tmp_path / "store")
    [(_, request)] = read_requests(open_requests(path), store, BadRecords())
    assert store.get_image(request.images[0]).getpixel((0, 0)) == (255, 0, 0)


def test_bytes_that_are_no_image_are_bad_when_they_are_looked_at(folder):
    path = parquet(folder / "a.parquet", [rl_record(edited_image_path={"bytes": b"no image", "path": "a.png"})])
    assert check(path, CheckRules(deep=DeepRules())).bad.counts == {"image_broken": 1}


@pytest.mark.parametrize("value", [{"bytes": "aGk=", "path": None}, {"sha256": "../../x"}, {"path": 3}, {"url": "x"}])
def test_what_is_no_image_column_is_said_to_be_none(folder, value):
    path = write(folder / "a.jsonl", lines_of([rl_record(edited_image_path=value)]))
    with pytest.raises(RecordError, match=r"a.jsonl:1: field edited_image_path") as caught:
        list(open_tasks(path))
    assert caught.value.kind == "type"


def test_a_split_writes_images_held_as_bytes_beside_it(folder):
    records = [rl_record(number, edited_image_path=column("red")) for number in range(12)]
    done = split(parquet(folder / "a.parquet", records), SplitRules(0.3), out=folder / "out")
    tasks = [task for path in done.paths.values() for task in open_tasks(path)]
    assert len(tasks) == 12
    assert {task.after for task in tasks} == {str(next((folder / "out" / "images").glob("*/*")))}


def test_shards_are_split_as_one(folder):
    for shard in range(3):
        write(folder / f"train-{shard}.jsonl", lines_of(rl_record(10 * shard + number) for number in range(10)))
    done = split(folder / "train-*.jsonl", SplitRules(0.3), out=folder / "out")
    assert sum(done.num_records.values()) == 30
    assert done.paths["train"].name == "train_train.jsonl"
    assert open_tasks(done.paths["train"])[0].after == str(folder / "x.png")


def test_a_recipe_names_shards_by_a_pattern(folder, monkeypatch):
    for shard in range(2):
        write(folder / f"train-{shard}.jsonl", lines_of(RECORDS[:3]))
    assert len(read_tasks(DataConfig(), resolve_data(f"{folder}/train-*.jsonl"))[0]) == 6
    monkeypatch.chdir(folder)
    assert len(read_tasks(DataConfig(), resolve_data("train-*.jsonl"))[0]) == 6


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json.gz"])
def test_a_packed_file_cut_off_is_a_problem_with_its_place(folder, name):
    data = lines_of(RECORDS) if "jsonl" in name else json.dumps(RECORDS).encode()
    noise = os.urandom(20_000).hex().encode()  # else too little is packed to be cut
    whole = gzip.compress(data + b" " + noise if "jsonl" in name else data[:-1] + b', "' + noise + b'"]')
    path = write(folder / name, whole[:-9000])
    summary = check(path, CheckRules())
    assert summary.num_records >= len(RECORDS)
    [[problem]] = summary.bad.examples.values()
    assert problem.startswith(f"{path}:")
    assert "cannot be read from here on" in problem
    with pytest.raises(RecordError, match=r"a.jsonl?.gz cannot be unpacked \(Compressed file ended"):
        open_tasks(path)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"PK\x03\x04...", "a ZIP archive"),
        (b"\x28\xb5\x2f\xfd...", "compressed with zstd"),
        (b"BZh91AY", "compressed with bzip2"),
        (b"\xfd7zXZ\x00", "compressed with xz"),
        (b"ARROW1\0\0", "an Arrow file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    ],
)
def test_what_is_not_read_is_called_by_its_name(folder, data, what):
    for name, content in (("a.jsonl", data), ("b.jsonl.gz", gzip.compress(data))):
        with pytest.raises(RecordError, match=f"{name} is {what}.*; expected JSONL"):
            open_records(write(folder / name, content))


def test_a_second_list_beside_the_first_is_said(folder):
    for indent in (None, 2):
        path = folder / "a.json"
        path.write_text(json.dumps({"train": RECORDS[:2], "test": RECORDS[2:]}, indent=indent))
        with pytest.raises(RecordError, match=r"record 3: not JSON \(the list test is next to the list train; write"):
            open_tasks(path)


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b'{"data": []}', ("data", 9)),
        (b'{"a": "}{", "b": [1, {"data": [{}]}], "data":[\n{', ("data", 45)),
        (b'{"data": [1, 2]}', None),
        (b'{"data": [{}]}\n{"data": [{}]}\n', None),
        (b'{"data": [{"a": 1}], "origin_prompt": "x"}', None),
        (b'{"data": {"a": 1}}', None),
        (b'{"messages": [{"role": "user"}]}', None),
        (b"{", None),
        (b"", None),
        (b"{]", None),
        (b'{"a": [', None),
        (b'{"\\"data": 1, "rows": [{', ("rows", 22)),
    ],
)
def test_a_list_of_records_is_found_in_its_object(head, found):
    assert find_list(head) == found


@pytest.mark.parametrize(
    ("tail", "fault"),
    [
        (b"}", ""),
        (b' , "n": [1]}\n', ""),
        (b"", "does not end"),
        (b"} x", "does not end"),
        (b', "n": ' + b"[" * 100_000, "does not end"),
    ],
)
def test_what_stands_behind_the_list_is_no_more_than_settings(tail, fault):
    assert fault in fault_behind(tail, "data")
    assert bool(fault) == bool(fault_behind(tail, "data"))


def test_plans_are_told_in_a_wrapper(folder):
    path = folder / "p.json"
    path.write_text(json.dumps({"data": [planner_record(0), planner_record(1)]}))
    assert (check(path, CheckRules()).kind, len(open_sft(path, Kind.PLANNER_SFT))) == (Kind.PLANNER_SFT, 2)


def test_rows_keep_their_numbers_behind_a_damaged_group(folder):
    path = folder / "a.parquet"
    rows = [rl_record(number, pad="x" * 3000 + str(number)) for number in range(6)]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=3, use_dictionary=False)
    data = bytearray(path.read_bytes())
    metadata = pq.ParquetFile(path).metadata.row_group(0)
    place = next(i for i in range(metadata.num_columns) if metadata.column(i).path_in_schema == "pad")
    start, size = metadata.column(place).data_page_offset, metadata.column(place).total_compressed_size
    data[start : start + size] = b"\xff" * size
    path.write_bytes(data)
    assert [task.id for task in open_tasks(path, on_bad=OnBad.SKIP)] == ["a-4", "a-5", "a-6"]


def test_lines_that_are_no_records_keep_their_message(folder):
    with pytest.raises(RecordError, match=r"none of its first records can be read \(.*a.txt:1: not JSON"):
        check(write(folder / "a.txt", b"a prompt\nand more\n"), CheckRules())
