"""What a killed run is resumed from, and what may have been mended meanwhile."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from actors.config import GeneratorConfig, JudgeConfig, PolicyConfig
from actors.store.append_log import AppendLog
from rl.recipe.config import DataConfig, Recipe, RolloutConfig
from rl.recipe.resumable import forbidden_changes
from rl.run_dir.lock import locked
from rl.run_dir.provenance import write_provenance
from rl.run_dir.resume import AUTO, check_run_dir, is_resumed
from rl.tracking.metrics_file import append_metrics, read_metrics
from tests.support.interrupted_run import learn_until
from tests.support.training import make_recipe

SOURCES = {"reward": {"gain": "gain@1"}}
MENDED = {"reward": {"gain": "gain@2"}}


def whole_recipe(folder: Path, **changes) -> Recipe:
    """Return a recipe that can be read again."""
    whole = {
        "data": DataConfig("train.jsonl", "heldout.jsonl"),
        "policy": PolicyConfig(model="tiny-critic"),
        "generator": GeneratorConfig(model="tiny-flux"),
    }
    return make_recipe(folder, **{**whole, **changes})


def evaluated(run_dir: Path) -> None:
    """Leave what a run does before its first step."""
    AppendLog(run_dir / "ledger", "samples").append([{"phase": "before"}])
    append_metrics(run_dir, {"step": 0, "eval/reward_before": 0.5})
    (run_dir / "evaluation_before.json").write_text("{}")


@pytest.mark.parametrize(
    "left",
    [[], ["versions-0.json"], ["versions-0.json", "versions.json"], [".recipe.yaml.unfinished"], ["recipe.yaml"]],
)
def test_a_run_that_was_killed_before_its_folder_was_whole_starts(tmp_path, left):
    recipe = whole_recipe(tmp_path / "run")
    lock = Path(recipe.run_dir) / ".lock"
    lock.mkdir(parents=True)
    (lock / "killed.json").write_text(
        json.dumps({"host": "here", "pid": 2**22 + 1, "since": 0, "machine": "x", "started": ""})
    )
    (lock / "killed.json").touch()
    for name in left:
        (Path(recipe.run_dir) / name).write_text("torn: [")
    lock.rename(lock.with_name(".lock-killed"))
    with locked(Path(recipe.run_dir)):
        assert not is_resumed(AUTO, Path(recipe.run_dir))
        check_run_dir(recipe, False)
        assert is_resumed(True, Path(recipe.run_dir))
        check_run_dir(recipe, True, SOURCES)  # plain --resume starts it, too
        write_provenance(recipe, SOURCES)


def test_what_was_never_started_is_not_resumed_but_for_auto(tmp_path):
    recipe = whole_recipe(tmp_path / "run")
    with locked(tmp_path / "run"):
        assert not is_resumed(AUTO, tmp_path / "run")
        check_run_dir(recipe, False)
        with pytest.raises(ValueError, match=r"run holds no run to resume; --resume auto starts one"):
            check_run_dir(recipe, True)


def test_auto_goes_on_with_what_is_there(tmp_path):
    recipe = whole_recipe(tmp_path)
    write_provenance(recipe, SOURCES)
    evaluated(tmp_path)
    assert is_resumed(AUTO, tmp_path)
    check_run_dir(recipe, True, SOURCES)


def test_before_anything_was_learned_all_may_be_mended_and_is_measured_again(tmp_path, capsys):
    recipe = whole_recipe(tmp_path, judge=JudgeConfig(kind="openai", model="judge-1"))
    write_provenance(recipe, SOURCES)
    evaluated(tmp_path)
    mended = replace(recipe, judge=JudgeConfig(kind="openai", model="judge-2"))
    check_run_dir(mended, True, MENDED)
    write_provenance(mended, MENDED)
    assert not (tmp_path / "evaluation_before.json").exists()
    assert read_metrics(tmp_path) == []
    told = capsys.readouterr().err
    assert 'begins again with a different judge.model (was "judge-1", now "judge-2"), reward.gain (was gain@1' in told
    assert told.count("\n") == 1
    noted = json.loads((tmp_path / "versions.json").read_text())["changed"]
    assert [(one["after"], one["key"]) for one in noted] == [("", "judge.model"), ("", "reward.gain")]


def test_what_may_change_anyway_measures_nothing_again(tmp_path):
    recipe = whole_recipe(tmp_path)
    write_provenance(recipe, SOURCES)
    evaluated(tmp_path)
    write_provenance(replace(recipe, num_steps=99), SOURCES)
    assert (tmp_path / "evaluation_before.json").exists()
    assert json.loads((tmp_path / "versions.json").read_text())["changed"][0]["changed"] == "num_steps (was 20, now 99)"


def test_a_key_that_recipe_and_sources_both_have_is_told_once(tmp_path):
    recipe = whole_recipe(tmp_path, judge=JudgeConfig(kind="openai", model="judge-1"))
    write_provenance(recipe, {"judge": {"model": "judge-1"}})
    evaluated(tmp_path)
    learn_until(tmp_path, 7)
    other = replace(recipe, judge=JudgeConfig(kind="openai", model="judge-2"))
    sources = {"judge": {"model": "judge-2"}}
    with pytest.raises(ValueError, match=r'a different judge.model \(was "judge-1", now "judge-2"\); put it back'):
        check_run_dir(other, True, sources)
    write_provenance(other, sources)
    assert [one["key"] for one in json.loads((tmp_path / "versions.json").read_text())["changed"]] == ["judge.model"]
    with pytest.raises(ValueError, match=r"a different judge.model \(was judge-2, now judge-2@1\); put it back"):
        check_run_dir(other, True, {"judge": {"model": "judge-2@1"}})


def test_what_was_learned_from_is_changed_only_by_name(tmp_path):
    recipe = whole_recipe(tmp_path)
    write_provenance(recipe, SOURCES)
    evaluated(tmp_path)
    learn_until(tmp_path, 7)
    other = replace(recipe, rollout=RolloutConfig(groups_per_step=4, n=4))
    options = "--accept-changed rollout.n --accept-changed reward.gain"
    with pytest.raises(ValueError, match=rf"a different rollout\.n \(was 8, now 4\), reward\.gain .* add {options}$"):
        check_run_dir(other, True, MENDED)
    with pytest.raises(ValueError, match=r"a different reward\.gain \(was"):
        check_run_dir(other, True, MENDED, ["rollout", "reward.gai"])
    check_run_dir(other, True, MENDED, ["rollout.n", "reward"])
    write_provenance(other, MENDED)
    assert (tmp_path / "evaluation_before.json").exists()
    check_run_dir(other, True, MENDED)


def test_where_a_run_stops_for_failures_may_be_set_anew(tmp_path):
    was, is_now = (make_recipe(tmp_path, rollout=RolloutConfig(max_failure_share=share)) for share in (0.5, 0.9))
    assert forbidden_changes(was, is_now) == []


def test_a_part_of_the_folder_that_cannot_be_written_to_is_said_before_anything_starts(tmp_path):
    (tmp_path / "checkpoints").write_text("no folder")
    with pytest.raises(ValueError, match=rf"{tmp_path}/checkpoints is no folder; a run needs one there"):
        check_run_dir(make_recipe(tmp_path), False)
    (tmp_path / "checkpoints").unlink()
    (tmp_path / "ledger").symlink_to(tmp_path / "gone")
    with pytest.raises(ValueError, match=rf"{tmp_path}/ledger is no folder; a run needs one there"):
        check_run_dir(make_recipe(tmp_path), False)


def test_versions_name_this_package_and_vllm(tmp_path):
    write_provenance(whole_recipe(tmp_path))
    versions = json.loads((tmp_path / "versions.json").read_text())
    assert versions["interleave-thinker"]
    assert versions["vllm"]


def test_a_run_goes_on_from_another_working_folder_and_however_its_paths_are_written(tmp_path, monkeypatch):
    (tmp_path / "at/first").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "at/first")
    recipe = whole_recipe(Path("runs/one"), store="runs/store")
    write_provenance(recipe, {"reward": {"gain": "./mine.py:gain@1"}})
    learn_until(Path("runs/one"), 7)
    spelled = replace(recipe, run_dir="runs/../runs/one", store="./runs/store/")
    check_run_dir(spelled, True, {"reward": {"gain": "././mine.py:gain@1"}})
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "at/first/runs"
    moved = replace(recipe, run_dir=str(runs / "one"), store=str(runs / "store"))
    check_run_dir(moved, True, {"reward": {"gain": f"{tmp_path}/at/first/mine.py:gain@1"}})
    with pytest.raises(ValueError, match=r'a different store \(was "runs/store", now "runs/other"\); put it back'):
        check_run_dir(replace(moved, store="runs/other"), True)


def test_the_same_text_from_another_working_folder_is_another_store_while_the_first_is_there(tmp_path, monkeypatch):
    first, other, run_dir = tmp_path / "first", tmp_path / "other", tmp_path / "run"
    for folder in (first, other):
        (folder / "runs/store").mkdir(parents=True)
    monkeypatch.chdir(first)
    recipe = whole_recipe(run_dir, store="runs/store")
    write_provenance(recipe)
    learn_until(run_dir, 7)
    check_run_dir(recipe, True)
    monkeypatch.chdir(other)
    with pytest.raises(ValueError, match=r"a different store \(was ") as error:
        check_run_dir(recipe, True)
    assert (
        f'(was "runs/store" in {first}, now in {other}: start in {first}, or give its whole path); put it back'
        in str(error.value)
    )
    assert str(error.value).endswith("add --accept-changed store")
    assert "\n" not in str(error.value)
    check_run_dir(recipe, True, accepted=["store"])
    check_run_dir(replace(recipe, store=f"{first}/runs/store"), True)
    first.rename(tmp_path / "gone")
    check_run_dir(recipe, True)


def test_a_folder_that_was_moved_is_still_its_runs(tmp_path):
    recipe = whole_recipe(tmp_path / "one")
    write_provenance(recipe, SOURCES)
    learn_until(tmp_path / "one", 7)
    (tmp_path / "one").rename(tmp_path / "two")
    check_run_dir(replace(recipe, run_dir=str(tmp_path / "two")), True, SOURCES)
