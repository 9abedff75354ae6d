"""A file that cannot be written whole is named in one line; what was there before stays, and no half of one is left."""

import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rl.cli import main as cli
from rl.recipe.config import REPO
from tests.support.finished_run import finished_run

TASKS = str(REPO / "recipes" / "shapes" / "tasks" / "train.jsonl")
OLD = "what was there before"


@contextmanager
def files_of_at_most(num_bytes: int) -> Iterator[None]:
    """Have longer files fail, as on a disk without room.

    What is imported meanwhile is not compiled to a file: Python would leave half of one, and read it the next time.
    """
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
    writes_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        sys.dont_write_bytecode = writes_bytecode


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("full") / "run").folder


def outcome(arguments, capsys, num_bytes=300) -> str:
    """Return what a command that fails says on its one line."""
    with files_of_at_most(num_bytes):
        assert cli.main(arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith("interleave: ")
    assert told.endswith(f": {os.strerror(27)}\n")
    assert told.count("\n") == 1
    return told


def halves(folder: Path) -> list[Path]:
    """Return the files that have only been begun."""
    return [path for path in folder.rglob("*") if path.name.startswith(".") or path.suffix in (".writing", ".part")]


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        (["shapes", "requests", "--count", "30", "--stories", "--out", "{out}"], "requests.jsonl"),
        (["shapes", "requests", "--count", "30", "--out", "{out}"], ""),
        (["data", "show", TASKS, "--limit", "2", "--out", "{out}/page.html"], "page.html"),
        (["data", "split", TASKS, "--heldout", "0.3", "--out", "{out}"], ""),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else value,
)
def test_what_a_command_writes(tmp_path, arguments, file, capsys):
    out = tmp_path / "out"
    out.mkdir()
    if file:
        (out / file).write_text(OLD)
    assert str(out / file) in outcome([part.format(out=out) for part in arguments], capsys)
    assert not file or (out / file).read_text() == OLD
    assert halves(out) == []


@pytest.mark.parametrize(
    "arguments",
    [["data", "show", TASKS, "--limit", "1"], ["inspect", "{run}"]],
    ids=["data show", "inspect"],
)
def test_a_page_takes_the_place_of_no_device_and_no_folder(tmp_path, run_dir, arguments, capsys):
    arguments = [part.format(run=run_dir) for part in arguments]
    os.mkfifo(tmp_path / "fifo")
    for out, told in ((tmp_path / "fifo", "no file"), (tmp_path, "a folder")):
        assert cli.main([*arguments, "--out", str(out)]) == 2
        assert capsys.readouterr().err == f"interleave: --out is {out}, which is {told}; expected a file\n"
    assert (tmp_path / "fifo").is_fifo()


@pytest.mark.parametrize(
    "arguments",
    [
        ["data", "split", TASKS, "--heldout", "0.3"],
        ["data", "verl", str(REPO / "recipes" / "shapes_grpo.yaml")],
        ["shapes", "requests"],
        ["shapes", "records"],
        ["shapes", "build"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_file_where_a_folder_is_made_is_one_line_before_anything_is_done(tmp_path, arguments, capsys):
    (tmp_path / "file").touch()
    assert cli.main([*arguments, "--out", f"{tmp_path}/file"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"interleave: --out is {tmp_path}/file, which cannot be written to by user ")
    assert told.endswith(": Not a directory; expected a folder that can be made and written to\n")


def test_of_a_copy_the_new_file_is_named(tmp_path, capsys, monkeypatch):
    (tmp_path / "source").write_bytes(b"x" * 5000)

    def copy(*_):
        shutil.copyfile(tmp_path / "source", tmp_path / "copy")

    monkeypatch.setattr("rl.run_dir.compare.compare_runs", copy)
    assert outcome(["compare", "a", "b"], capsys) == f"interleave: {tmp_path}/copy: {os.strerror(27)}\n"


def test_data_for_verl_and_the_index_that_it_needs(tmp_path, capsys):
    (tmp_path / "train.parquet").write_text(OLD)
    arguments = ["data", "verl", str(REPO / "recipes" / "shapes_grpo.yaml"), "--out", str(tmp_path)]
    assert f"{tmp_path}/train.parquet" in outcome(arguments, capsys, 20_000)
    assert (tmp_path / "train.parquet").read_text() == OLD
    assert halves(tmp_path) == []
    assert f"{tempfile.gettempdir()}/" in outcome(arguments, capsys)


def test_a_check_that_has_no_room_for_what_it_notes(capsys):
    assert f"{tempfile.gettempdir()}/" in outcome(["data", "check", TASKS, "--deep"], capsys)


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        (["inspect"], "inspect.html"),
        (["ledger"], "ledger/samples.parquet"),
        (["rescore", "--trust-code"], "rescored/own.parquet"),
    ],
)
def test_what_is_made_of_a_run(run_dir, arguments, file, capsys):
    (run_dir / file).parent.mkdir(exist_ok=True)
    (run_dir / file).write_text(OLD)
    assert str(run_dir / file) in outcome([*arguments, str(run_dir)], capsys)
    assert (run_dir / file).read_text() == OLD
    assert halves(run_dir) == []
