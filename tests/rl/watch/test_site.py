"""`interleave watch`: what a run's page is told, whatever the run's folder holds."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from actors.store.append_log import AppendLog
from actors.store.ledger import SAMPLES
from actors.store.store import Store
from rl.run_dir.ended import noting_the_end
from rl.run_dir.lock import locked
from rl.tracking.metrics_file import append_metrics
from rl.watch.site import Site, about_run
from rollout.types import Evidence, Failure, Group, Response, Reward, Sample, Scores, Stage, Task
from tests.support.finished_run import GROUPS, NUM_STEPS, N, add_rows, finished_run
from tests.support.stored_squares import StoredSquares

HOSTILE = "</script><img src=x onerror=alert(1)> \u202e \x00 \ud83d"
REPO = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watch") / "run"
    return finished_run(folder, generator=StoredSquares(Store(folder / "store")))


@pytest.fixture
def run_dir(made, tmp_path):
    shutil.copytree(made.folder, tmp_path / "run")
    for step in range(1, NUM_STEPS + 1):
        row = {"step": step, "time": 1000.0 + step, "reward/mean": 0.5, "seconds/step": 36.0, "judge/usd": 0.25}
        row |= {"seconds/waiting_for_rollouts": 27.0, "seconds/update": 8.0, "idle/judge": 0.5, "idle/generator": 0.1}
        row |= {"rollout/samples": 32.0, "failures/judge": 2.0, "failures/sample": 0.0}
        append_metrics(tmp_path / "run", row)
    return tmp_path / "run"


def asked(site, path, **query):
    reply = site.answer(path, query)
    assert reply is not None
    assert reply.content_type == "application/json"
    return json.loads(reply.body)


def add_line(run_dir, **row):
    log = AppendLog(run_dir / "ledger", SAMPLES)
    log.append([row])
    log.close()


def test_the_page_is_told_how_far_a_run_is_what_it_cost_and_who_waits(run_dir):
    data = asked(Site(run_dir), "data")
    state = data["state"]
    assert (state["name"], state["steps"]["done"], state["is_alive"]) == ("run", NUM_STEPS, False)
    left = state["steps"]["all"] - NUM_STEPS
    assert state["cost"]["so_far"] == {"hours": 0.03, "US dollars": 0.75}
    assert state["cost"]["at_end"] == pytest.approx({"hours": 0.03 + 0.01 * left, "US dollars": 0.75 + 0.25 * left})
    assert state["failures"]["stages"] == [{"name": "judge", "total": 6.0, "recent": 6.0}]
    assert state["waits"]["stages"] == {"waiting for rollouts": 27.0, "update": 8.0, "other": 1.0}
    assert "waits for rollouts 75% of a step" in state["waits"]["sentence"]
    assert "the busiest of the other roles is generator" in state["waits"]["sentence"]
    assert data["charts"][0]["title"] == "reward"


def test_curves_are_sent_again_only_if_they_have_changed(run_dir):
    site = Site(run_dir)
    first = asked(site, "data")
    again = asked(site, "data", since=first["version"])
    assert "charts" not in again
    assert again["state"]["steps"] == first["state"]["steps"]
    append_metrics(run_dir, {"step": 4, "reward/mean": 0.9, "seconds/step": 30.0})
    assert asked(site, "data", since=first["version"])["charts"][0]["lines"][0]["values"][-1] == 0.9


def test_why_a_run_ended_is_told(run_dir):
    site = Site(run_dir)
    assert asked(site, "data")["state"]["how"] == "ended"
    with pytest.raises(KeyboardInterrupt), noting_the_end(run_dir):
        raise KeyboardInterrupt
    assert asked(site, "data")["state"]["how"] == "interrupted"
    with locked(run_dir):
        state = asked(site, "data")["state"]
        assert (state["is_alive"], state["how"]) == (True, "running")
        assert f"process {os.getpid()} on" in state["why"]
        shutil.copytree(run_dir / ".lock", run_dir / "kept")
    (run_dir / "kept").rename(run_dir / ".lock")
    (held,) = (run_dir / ".lock").iterdir()
    held.write_text(json.dumps(json.loads(held.read_text()) | {"started": "another"}))
    state = asked(site, "data")["state"]
    assert (state["is_alive"], state["how"]) == (False, "killed")
    assert state["why"].endswith("; no step is saved yet: the same command with --resume auto goes on")
    (run_dir / "checkpoints").mkdir()
    (run_dir / "checkpoints" / "latest").write_text("step_2")
    assert "; step 2 is saved: the same command" in asked(site, "data")["state"]["why"]


def test_what_a_run_does_outside_its_steps_is_told(run_dir):
    metrics, ledger = run_dir / "metrics.jsonl", run_dir / "ledger"
    assert asked(Site(run_dir), "data")["state"]["phase"] == ""
    metrics.unlink()
    ledger.rename(run_dir / "kept")
    with locked(run_dir):
        assert asked(Site(run_dir), "data")["state"]["phase"] == "starting the actors"
        (run_dir / "kept").rename(ledger)
        assert asked(Site(run_dir), "data")["state"]["phase"] == "evaluating before training"
        append_metrics(run_dir, {"step": 0, "eval/reward_before": 0.5})
        assert asked(Site(run_dir), "data")["state"]["phase"] == "in its first step"
        append_metrics(run_dir, {"step": 1, "reward/mean": 0.5, "seconds/step": 1.0})
        assert asked(Site(run_dir), "data")["state"]["phase"] == ""
        append_metrics(run_dir, {"step": 50, "reward/mean": 0.5, "seconds/step": 1.0})
        assert asked(Site(run_dir), "data")["state"]["phase"] == "evaluating and exporting"


def test_the_newest_groups_come_first_with_their_images(run_dir):
    site = Site(run_dir)
    found = asked(site, "groups")["groups"]
    assert [group["phase"] for group in found[:2]] == ["after", "after"]
    assert len([group for group in found if group["step"] == NUM_STEPS and group["phase"] == "train"]) == GROUPS
    group = found[2]
    assert len(group["samples"]) == N
    sample = next(each for group in found for each in group["samples"] if each["image"])
    reply = site.answer(f"image/{sample['image']}", {})
    assert reply is not None
    assert (reply.content_type, reply.body[:4], reply.is_fixed) == ("image/png", b"\x89PNG", True)


def test_hostile_texts_stay_data_and_are_bounded(run_dir):
    task = Task("t", HOSTILE, HOSTILE * 1000, None, "gone.png", True, Scores(9.0, float("nan"), HOSTILE))
    evidence = Evidence(task, Response((), (1,), HOSTILE, (), 0), None, HOSTILE)
    unparsable = Sample("t", 0, 0, evidence, Reward({HOSTILE: 0.0}, -1.0), None, {HOSTILE: 1.0})
    failed = Sample("t", 1, 0, None, None, Failure(Stage.SAMPLE, HOSTILE * 1000))
    add_rows(run_dir, [Group(task, (unparsable, failed))], step=9)
    reply = Site(run_dir).answer("groups", {})
    assert reply is not None
    assert reply.content_type == "application/json"
    group = json.loads(reply.body)["groups"][0]
    assert group["instruction"] == HOSTILE
    assert len(group["prompt"]) < 4100
    assert len(group["samples"][1]["failure"]["error"]) < 4100
    assert group["scores"]["quality"] is None


def test_scripts_make_no_markup_of_texts():
    for path in [*(REPO / "rl/watch").glob("*.js"), REPO / "rl/inspection/elements.js"]:
        text = path.read_text(encoding="utf-8")
        for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            assert sink not in text, f"{path}: {sink}"
    page = (REPO / "rl/watch/page.html").read_text(encoding="utf-8")
    assert "http" not in page
    assert "style=" not in page
    assert "<style" not in page
    assert page.count("<script") == page.count("<script src=")


def test_only_images_that_the_page_was_told_of_are_served(run_dir, tmp_path):
    secret = Store(run_dir / "store").put_image(Image.new("RGB", (4, 4), (1, 2, 3)))
    (tmp_path / "secret.txt").write_text("do not read")
    os.mkfifo(tmp_path / "pipe")
    site = Site(run_dir)
    refs = [
        "sha256:../../../secret",
        "sha256:" + "0" * 63,
        str(tmp_path / "secret.txt"),
        str(tmp_path / "pipe"),
        "\x00",
    ]
    for index, ref in enumerate(refs):
        task = Task("t", "a", "b", None, ref, True, Scores(1.0, 1.0, ""))
        sample = Sample("t", index, 0, None, None, Failure(Stage.SAMPLE, "x"))
        add_rows(run_dir, [Group(replace(task, id=f"t{index}"), (replace(sample, task_id=f"t{index}"),))], step=9)
    groups = asked(site, "groups")["groups"]
    for group in groups[: len(refs)]:
        assert group["after"] is not None
        assert site.answer(f"image/{group['after']}", {}) is None
    for path in (
        f"image/{secret.removeprefix('sha256:')}",
        "image/../recipe.yaml",
        "image/%2e%2e/recipe.yaml",
        "image/",
        "image//etc/passwd",
        "../recipe.yaml",
        "recipe.yaml",
        "page.py",
        "/etc/passwd",
    ):
        assert site.answer(path, {}) is None, path


def test_rows_that_a_resumed_run_made_again_are_not_shown(run_dir):
    site = Site(run_dir)
    attempts = AppendLog(run_dir / "ledger", "attempts")
    attempts.append([{"attempt": 1, "first_step": 2, "host": "here", "started": 0.0}])
    attempts.close()
    found = asked(site, "groups")["groups"]
    assert {(group["phase"], group["step"]) for group in found} == {("train", 1)}


def test_a_torn_end_of_the_ledger_is_passed_over(run_dir):
    site = Site(run_dir)
    before = asked(site, "groups")["groups"]
    log = sorted((run_dir / "ledger").glob("samples-*.log"))[-1]
    with log.open("ab") as file:
        file.write(b'01234567 {"phase": "train", "st')
    assert asked(site, "groups")["groups"] == before


def test_a_run_that_has_done_nothing_yet_has_a_page(run_dir):
    shutil.rmtree(run_dir / "ledger")
    (run_dir / "metrics.jsonl").unlink()
    site = Site(run_dir)
    data = asked(site, "data")
    assert (data["state"]["how"], data["charts"], data["areas"]) == ("not begun", [], {})
    assert asked(site, "groups")["groups"] == []
    assert asked(site, "family", area="judge") == []


@pytest.mark.slow
def test_a_folder_without_a_run_and_a_recipe_of_another_version(run_dir, tmp_path):
    """Slow: YAML that is nested 5,000 deep takes its time."""
    with pytest.raises(ValueError, match="is not the folder of a run"):
        about_run(tmp_path)
    recipe = run_dir / "recipe.yaml"
    recipe.write_text(recipe.read_text() + "of_the_future: 1\n")
    assert about_run(run_dir).num_gpus is None
    assert about_run(run_dir).num_steps
    assert about_run(run_dir, tmp_path).store == tmp_path
    for damaged, told in ((b"a: [", "is not YAML: line 1"), (b"[" * 5000, "nested too deeply"), (b"\x80", "UTF-8")):
        recipe.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"recipe {recipe} .*{told}"):
            about_run(run_dir)


@pytest.mark.slow
def test_nothing_heavy_is_imported_and_nothing_is_written(run_dir):
    """Slow: it starts processes of Python."""
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")}
    script = (
        "import sys; from pathlib import Path; import rl.cli.watch; from actors.web.loopback import LoopbackServer\n"
        "from rl.watch.site import Site; site = Site(Path(sys.argv[1]))\n"
        "for path in ('', 'page.js', 'elements.js', 'data', 'groups', 'family'): assert site.answer(path, {})\n"
        "print(sorted({'torch', 'ray', 'vllm', 'verl', 'transformers', 'diffusers', 'matplotlib'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, str(run_dir)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=REPO)
    assert found.stdout == "[]\n", found.stderr
    assert {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")} == before
