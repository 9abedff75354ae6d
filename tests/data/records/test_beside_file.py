"""Records of several sets: each one's images are beside its own file."""

import gzip
import os
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from actors.store.store import Store
from data.build.requests import open_requests, read_requests
from data.check.check import CheckRules, check
from data.errors import RecordError
from data.formats.reader import open_records
from data.records.image_paths import ImageRules
from data.records.on_bad import BadRecords, OnBad
from data.split import SplitRules, split
from data.table import index_file
from data.table.record_table import open_tasks
from tests.support.record_files import rl_record, write_lines

SETS = ("one", "deeper/two", "three")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def sets(tmp_path):
    """Three folders with records of their own; all have an image of the same name."""
    for number, name in enumerate(SETS):
        folder = tmp_path / "sets" / name
        folder.mkdir(parents=True)
        records = [rl_record(10 * number + own, origin_image_path="images/before.png") for own in range(number + 1)]
        write_lines(folder / "train.jsonl", records)
        (folder / "images").mkdir()
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / "images" / "before.png")
    return tmp_path / "sets"


def expected(sets):
    return sorted(
        (f"a red box number {10 * number + own}", f"{sets}/{name}/images/before.png", f"{sets}/{name}/x.png")
        for number, name in enumerate(SETS)
        for own in range(number + 1)
    )


def found(path, rules=None, **options):
    return sorted((task.instruction, task.before, task.after) for task in open_tasks(path, rules, **options))


def changed_to(suffix, sets):
    for file in sets.rglob("train.jsonl"):
        if suffix == ".jsonl.gz":
            file.with_name("train.jsonl.gz").write_bytes(gzip.compress(file.read_bytes()))
        elif suffix == ".parquet":
            rows = [raw.value for raw in open_records(file)]
            pq.write_table(pa.Table.from_pylist(rows), file.with_suffix(".parquet"))
        if suffix != ".jsonl":
            file.unlink()
    return sets / "**" / f"train{suffix}"


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
def test_each_files_images_are_beside_it(sets, suffix, monkeypatch):
    monkeypatch.setattr(index_file, "_SMALL", 0)  # an index is written, and read the second time
    pattern = changed_to(suffix, sets)
    for options in ({}, {}, {"on_bad": OnBad.SKIP}, {"on_bad": OnBad.SKIP}):
        assert found(pattern, **options) == expected(sets)
    tasks = open_tasks(pattern)
    places = random.Random(0).sample(range(len(tasks)), len(tasks))
    assert sorted((tasks[place].instruction, tasks[place].before, tasks[place].after) for place in places) == expected(
        sets
    )
    summary = check(pattern, CheckRules())
    assert (summary.num_records, summary.bad.num) == (6, 0)


def test_a_copy_that_was_made_in_another_folder_is_read_from_this_one(sets, monkeypatch):
    monkeypatch.chdir(sets.parent)
    assert found(Path("sets/**/train.jsonl")) == expected(sets)
    monkeypatch.chdir(sets)
    assert found(Path("**/train.jsonl")) == expected(sets)


def test_where_a_recipe_says_where_images_are_it_holds_for_all_files(sets):
    root = sets / "three"
    assert {after for _, _, after in found(sets / "**/train.jsonl", ImageRules(folder=root))} == {f"{root}/x.png"}
    assert {after for _, _, after in found(sets / "**/train.jsonl", ImageRules(root=root))} == {f"{root}/x.png"}


def test_an_image_that_is_in_another_folder_alone_is_missing(sets):
    (sets / "one" / "x.png").unlink()
    (sets / "x.png").write_bytes((sets / "three" / "x.png").read_bytes())
    with pytest.raises(RecordError, match=r"one/train.jsonl:1: field edited_image_path: there is no image at .*/one/x"):
        found(sets / "**/train.jsonl")
    assert len(found(sets / "**/train.jsonl", on_bad=OnBad.SKIP)) == 5


def test_a_split_leads_to_the_same_images(sets, tmp_path):
    done = split(sets / "**/train.jsonl", SplitRules(0.5), out=tmp_path / "out")
    assert sorted(found(done.paths["train"]) + found(done.paths["heldout"])) == [
        (text, *map(os.path.realpath, images)) for text, *images in expected(sets)
    ]


def test_requests_of_several_folders_too(sets, tmp_path):
    for file in sets.rglob("train.jsonl"):
        write_lines(file, [{"request": "which red?", "images": ["images/before.png"]}])
    store, bad = Store(tmp_path / "store"), BadRecords()
    requests = [request for _, request in read_requests(open_requests(sets / "**/train.jsonl"), store, bad)]
    assert sorted(store.get_image(request.images[0]).tobytes()[0] for request in requests) == [0, 1, 2]
