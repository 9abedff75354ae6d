"""What `benchmarks/real_kills` hurts, what it takes for good, and what it would say of a run that lost something."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace

import pytest

from actors.metered.usage_ledger import ANSWER
from actors.store.append_log import AppendLog
from actors.store.ledger import CALLS
from benchmarks.preemption import time_in
from benchmarks.real_kills import verdict
from benchmarks.real_kills.__main__ import hurt_run, main, planned, steps_for, table
from benchmarks.real_kills.cluster_head import HEADS_OF_CLUSTERS
from benchmarks.real_kills.injuries import DRIVER, EACH, KINDS, TITLES, Injury, drawn, find
from benchmarks.real_kills.life import GROUPS, Hurt, N, committed


def test_24_kills_hurt_each_kind_and_are_drawn_by_the_seed():
    kills = drawn(24, seed=0)
    assert min(Counter((kill.who, kill.moment) for kill in kills).values()) >= 2
    assert {(kill.who, kill.moment) for kill in kills} == set(KINDS)
    assert kills == drawn(24, seed=0) != drawn(24, seed=1)
    assert {kill.how for kill in kills} == {"SIGKILL"}


def test_each_kind_of_process_is_killed_and_stopped_once():
    hurt = Counter((injury.who, injury.how) for injury in EACH)
    assert set(hurt) == {(who, how) for who in TITLES for how in ("SIGKILL", "SIGSTOP")} | {(DRIVER, "SIGKILL")}
    assert set(hurt.values()) == {1}


def test_only_some_are_hurt_where_that_is_asked_for(capsys):
    assert {run: len(chosen) for run, chosen in planned(drawn(24, 0), [""], each=False).items()} == {
        f"run-{number}": 6 for number in range(4)
    }
    chosen = planned([], ["raylet"], each=True)
    assert {run: [(one.who, one.how) for one in several] for run, several in chosen.items()} == {
        "run-0": [("raylet", "SIGKILL"), ("raylet", "SIGSTOP")]
    }
    assert planned([], ["head of a cluster", "nobody"], each=True) == {"cluster": [*HEADS_OF_CLUSTERS]}
    assert [one for several in planned([], [""], each=True).values() for one in several] == [*EACH, *HEADS_OF_CLUSTERS]
    with pytest.raises(SystemExit):
        main(["--each", "--only", "raylets"])
    assert "no injury is called raylets: they are called like 'worker stopped during" in capsys.readouterr().err


def test_a_run_beside_a_head_that_hangs_is_not_through_before_it_is_missed():
    assert steps_for(drawn(6, 0)) == 38
    assert steps_for(HEADS_OF_CLUSTERS) == 48


def test_a_folder_of_other_injuries_is_not_gone_on_with(tmp_path):
    (tmp_path / "injuries.json").write_text(json.dumps([asdict(HURT)]))
    with pytest.raises(ValueError, match="is of other injuries"):
        hurt_run(tmp_path, [replace(HURT.injury, how="SIGKILL")], "")


def test_a_process_is_found_by_its_title_below_the_driver_alone():
    code = (
        "import setproctitle, subprocess, sys, time\n"
        "if len(sys.argv) > 1:\n"
        "    setproctitle.setproctitle(sys.argv[1])\n"
        "else:\n"
        "    subprocess.Popen([sys.executable, *sys.orig_argv[1:], 'ray::PolicyWorker.update'])\n"
        "time.sleep(60)\n"
    )
    pytest.importorskip("setproctitle")
    with subprocess.Popen([sys.executable, "-c", code]) as driver:
        try:
            pid = find(driver.pid, TITLES["rank"])
            assert pid != driver.pid
        finally:
            subprocess.run(["kill", "-9", str(pid), str(driver.pid)], check=False)


HURT = Hurt(Injury("rank", "SIGSTOP", "update"), "ended", 12.0, "interleave: rank 1", 1, 7, 6, [], {})


@pytest.mark.parametrize(
    ("changed", "is_good"),
    [
        ({}, True),
        ({"seconds": 31.0}, False),
        ({"line": ""}, False),
        ({"outcome": "hangs"}, False),
        ({"left": ["ray::Engine"]}, False),
        ({"line": "", "outcome": "mended"}, True),
        ({"seconds": 69.0, "injury": HEADS_OF_CLUSTERS[1]}, True),
        ({"seconds": 71.0, "injury": HEADS_OF_CLUSTERS[1]}, False),
        ({"line": "", "injury": Injury(DRIVER, "SIGKILL", "update")}, True),
    ],
)
def test_what_ends_late_or_without_a_line_or_leaves_something_is_missed(changed, is_good):
    assert replace(HURT, **changed).is_good is is_good


def test_the_table_says_who_how_soon_by_which_line_and_what_was_kept():
    assert table([HURT]).splitlines()[-1] == "| rank stopped during update | ended | 12.0 | rank 1 | 7, 6 |"


def test_a_moment_is_aimed_at_by_the_times_of_the_step_before():
    row = {"seconds/waiting_for_rollouts": 4.0, "seconds/update": 2.0, "seconds/saving": 1.0}
    assert time_in("update", row, 0.25) == 5.5


def bill(folder, *keys):
    log = AppendLog(folder / "run" / "ledger", CALLS)
    log.append([{"key": key, "outcome": ANSWER} for key in keys])
    log.close()


def store(folder, *keys):
    for key in keys:
        path = folder / "store" / "calls" / key[:2] / f"{key}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


SAMPLES = Counter(
    ("train", step, f"task-{step}-{group}", index) for step in (1, 2) for group in range(GROUPS) for index in range(N)
)


@pytest.fixture
def _counted(monkeypatch):
    """Two steps, each there once, of which both were learned from."""
    for name, counted in {
        "samples_in": SAMPLES,
        "table_in": SAMPLES,
        "steps_in": Counter({(step, task) for _, step, task, _ in SAMPLES}),
        "kinds_of": Counter({(1, "step"): 1, (2, "step"): 1}),
        "events_in": Counter({("policy/loss", 1): 1}),
    }.items():
        monkeypatch.setattr(verdict, name, lambda *_, counted=counted: Counter(counted))
    monkeypatch.setattr(verdict, "read_ledger", lambda folder: [{"phase": "train", "failure": None}])
    monkeypatch.setattr(verdict, "read_metrics", lambda run: 2 * [{"seconds/step": 1.0, "policy/loss": 0.0}])


def finish(folder, version=2):
    policy = folder / "run" / "checkpoints" / "step_000002" / "policy"
    policy.mkdir(parents=True)
    (policy / "policy.json").write_text(json.dumps({"version": version}))
    (folder / "run" / "checkpoints" / "latest").write_text("step_000002")


@pytest.mark.usefixtures("_counted")
def test_a_run_that_is_whole_has_no_breach_and_a_call_under_way_may_be_paid_twice(tmp_path):
    finish(tmp_path)
    bill(tmp_path, "aa", "bb")
    store(tmp_path, "aa")
    kill = committed(tmp_path / "run", tmp_path / "store")
    bill(tmp_path, "bb")  # its answer was not in the store yet
    store(tmp_path, "bb")
    assert kill == {"aa": 1}
    assert set(verdict.count_breaches(tmp_path, 2, [kill]).values()) == {0}


@pytest.mark.usefixtures("_counted")
def test_an_answer_that_was_on_disk_and_paid_again_and_an_update_too_many_are_breaches(tmp_path):
    finish(tmp_path, version=3)
    bill(tmp_path, "aa")
    store(tmp_path, "aa", "cc")
    kill = committed(tmp_path / "run", tmp_path / "store")
    bill(tmp_path, "aa")
    found = verdict.count_breaches(tmp_path, 2, [kill])
    assert {name: number for name, number in found.items() if number} == {
        "trained twice": 1,
        "paid again": 1,
        "not in the bill": 1,
    }


@pytest.mark.usefixtures("_counted")
def test_what_is_missing_or_there_twice_is_a_breach(tmp_path, monkeypatch):
    finish(tmp_path)
    samples = SAMPLES.copy()
    lost, *_, twice = samples
    monkeypatch.setattr(verdict, "samples_in", lambda run: samples - Counter([lost]) + Counter([twice]))
    monkeypatch.setattr(verdict, "kinds_of", lambda rows: Counter({(1, "step"): 2}))
    failed = [{"phase": phase, "failure": {"stage": "sample"}} for phase in ("train", "before")]
    monkeypatch.setattr(verdict, "read_ledger", lambda folder: failed)
    found = verdict.count_breaches(tmp_path, 2, [])
    assert {name: number for name, number in found.items() if number} == {
        "steps lost": 1,
        "samples lost": 1,
        "samples failed": 1,
        "doubled in metrics": 1,
        "doubled in the ledger": 1,
        "doubled in its table": 1,
    }
