"""What a resumed run goes on from is looked at before anything starts: what is damaged, and what would be right."""

import json
from pathlib import Path

import pytest

from rl.kept_checkpoints import saved_folders
from rl.run_dir.resume import check_run_dir, check_unfinished, saved_in
from rl.whole_files import check_files, check_newest, explained, last_step
from tests.support.interrupted_run import learn_until
from tests.support.training import make_recipe


def pointer(run_dir: Path) -> Path:
    return run_dir / "checkpoints" / "latest"


def older(run_dir: Path, name: str = "step_000001") -> None:
    """Add a checkpoint that is whole."""
    (run_dir / "checkpoints" / name).mkdir()
    (run_dir / "checkpoints" / name / "state.json").write_text(json.dumps({"step": 1}))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is empty"),
        (b"step_", "it is 'step_'"),
        (b"7", "it is '7'"),
        (b"\x80\x00", "it is '�"),
        (b"x" * 100_000, f"it is '{'x' * 40}'"),
    ],
)
def test_a_damaged_name_of_the_newest_checkpoint_is_told_with_what_is_whole(tmp_path, content, told):
    learn_until(tmp_path, 2)
    pointer(tmp_path).write_bytes(content)
    expected = (
        rf"{pointer(tmp_path)} is damaged: {told}.*; expected a checkpoint's name; to go on from step_000002, which"
    )
    for look in (last_step, check_newest):
        with pytest.raises(ValueError, match=expected):
            look(tmp_path)
    with pytest.raises(ValueError, match=expected):
        check_run_dir(make_recipe(tmp_path), True)
    with pytest.raises(ValueError, match=expected):
        check_unfinished(whole_but_for_latest(tmp_path))
    assert saved_in(tmp_path).startswith("which step is saved is not known: ")  # a line that tells of something else


def whole_but_for_latest(run_dir: Path):
    for name in ("report.html", "export/config.json"):
        (run_dir / name).parent.mkdir(exist_ok=True)
        (run_dir / name).touch()
    (run_dir / "report.html").touch()
    return make_recipe(run_dir)


@pytest.mark.parametrize("state", [None, "", "{}", '{"step": 1}', '{"step": "2"}'])
def test_a_checkpoint_that_is_not_whole_is_told_with_the_one_before(tmp_path, state):
    learn_until(tmp_path, 2)
    older(tmp_path)
    older(tmp_path, "step_old")
    file = tmp_path / "checkpoints" / "step_000002" / "state.json"
    file.unlink() if state is None else file.write_text(state)
    with pytest.raises(ValueError, match=r"step_000002 is the newest checkpoint, and is not whole: .*from step_000001"):
        check_run_dir(make_recipe(tmp_path), True)
    (tmp_path / "checkpoints" / "step_000001" / "state.json").unlink()
    with pytest.raises(ValueError, match=r"not whole: .*; put it back from a copy, or choose another run_dir"):
        check_newest(tmp_path)


def test_what_the_ranks_noted_in_a_checkpoint_is_looked_at_too(tmp_path):
    learn_until(tmp_path, 2)
    ranks = tmp_path / "checkpoints" / "step_000002" / "policy" / "policy.json"
    ranks.parent.mkdir()
    ranks.write_text('{"version": 2')
    with pytest.raises(
        ValueError, match=rf"step_000002 is the newest checkpoint, and is not whole: {ranks} is damaged"
    ):
        check_newest(tmp_path)


def test_a_folder_of_another_name_is_no_checkpoint(tmp_path):
    learn_until(tmp_path, 2)
    older(tmp_path, "step_old")
    check_newest(tmp_path)
    assert list(saved_folders(tmp_path)) == [2]
    assert last_step(tmp_path / "none") == 0


def test_damaged_versions_are_told_with_their_copy(tmp_path):
    (tmp_path / "metrics.jsonl").touch()
    (tmp_path / "versions.json").write_text('{"judge": ')
    with pytest.raises(ValueError, match=r"versions\.json is damaged: .*; put it back from a copy"):
        explained(tmp_path)
    for number in (0, 9, 10):
        (tmp_path / f"versions-{number}.json").touch()
    with pytest.raises(ValueError, match=rf"versions\.json is damaged: .*; {tmp_path}/versions-10\.json was written"):
        check_run_dir(make_recipe(tmp_path), True)


@pytest.mark.parametrize("name", ["metrics.jsonl", "ended.json", "checkpoints/latest", "ledger/attempts-000001-a.log"])
def test_a_folder_or_a_lost_link_where_a_run_writes_a_file_is_named(tmp_path, name):
    file = tmp_path / name
    file.mkdir(parents=True)
    with pytest.raises(ValueError, match=rf"{file} is a folder; a run writes a file of this name: move it away"):
        check_run_dir(make_recipe(tmp_path), False)
    file.rmdir()
    file.symlink_to(tmp_path / "gone")
    with pytest.raises(ValueError, match=rf"{file} is a link that leads nowhere"):
        check_files(tmp_path)
    (tmp_path / "gone").touch()
    check_files(tmp_path)
