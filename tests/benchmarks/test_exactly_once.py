"""The counts of `benchmarks/exactly_once` are held to notes made by hand: each breach is found."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from actors.store.append_log import AppendLog, read_log
from actors.store.ledger import CALLS
from benchmarks.exactly_once import count, verdict
from benchmarks.exactly_once.count import BREACHES, Counted, Kill
from benchmarks.exactly_once.matrix import KEPT, Cell, Tried, cells
from benchmarks.exactly_once.service import key_of_stored
from rl.recipe.config import REPO
from rl.tracking.metrics_file import read_metrics

QUIET = Console(quiet=True)
KILL_AT = """
import os, sys
from benchmarks.exactly_once.trap import Aim, Trap
trap = Trap(Aim(sys.argv[1], int(sys.argv[2]), seed=1))
trap.watch_files()
from pathlib import Path
from actors.store.append_log import AppendLog
from actors.store.store import Store
from rl.tracking.metrics_file import append_metrics
run = Path(sys.argv[3])
log = AppendLog(run / "ledger", "samples")
for n in (1, 2):
    log.append([{"n": n}])
    append_metrics(run, {"step": n})
    Store(run / "store").put_call(str(n) * 4, {"n": n})
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "nth", "left"),
    [
        ("sample rows", 2, (1, 0, 0)),
        ("metrics", 2, (2, 1, 1)),
        ("store", 3, (2, 2, 1)),
        ("store", 4, (2, 2, 2)),
    ],
)
def test_a_kill_comes_at_its_instant_and_may_tear_a_row(tmp_path, moment, nth, left):
    """What is whole afterwards: rows of a log, rows of metrics, answers in a store.

    Slow: it starts processes of Python.
    """
    process = subprocess.run([sys.executable, "-c", KILL_AT, moment, str(nth), str(tmp_path)], cwd=REPO, check=False)
    assert process.returncode == -signal.SIGKILL
    rows = [row for path in (tmp_path / "ledger").glob("*.log") for row in read_log(path.parent, "samples")]
    answers = list(tmp_path.glob("store/calls/*/*.json"))
    assert (len(rows), len(read_metrics(tmp_path)), len(answers)) == left


def calls_of(tmp_path: Path, committed: list[str], billed: list[str]) -> list[str]:
    """Leave a store and a bill; return the keys by which the service would have noted the calls."""
    keys, bill = {}, AppendLog(tmp_path / "run/ledger", CALLS)
    (tmp_path / "store/calls/ab").mkdir(parents=True)
    for name in committed:
        request = {"service": "generator", "prompt": name, "seed": 1}
        (tmp_path / "store/calls/ab" / f"{name}.json").write_text(json.dumps({"request": request}))
        keys[name] = key_of_stored(request)
    bill.append([{"key": name, "outcome": "answer"} for name in billed])
    return [keys[name] for name in committed]


def test_a_call_under_way_may_be_made_once_more_and_no_other(tmp_path):
    a, b, c = calls_of(tmp_path, ["a", "b", "c"], ["a", "b", "b", "c"])
    kill = Kill(notes=2, committed=[a])  # b was under way
    good, again, twice = Counted(), Counted(), Counted()
    count._count_calls(good, tmp_path, [kill], [a, b, b, c])
    assert (good.again, good.repeated, good.in_flight, good.unbilled) == (0, 1, 1, 0)
    count._count_calls(again, tmp_path, [kill], [a, b, b, c, a])
    assert again.again == 1
    count._count_calls(twice, tmp_path, [kill], [a, b, b, b, c])
    assert (twice.again, twice.repeated) == (1, 1)


def test_an_answer_that_is_used_and_not_billed_is_found_and_one_billed_twice(tmp_path):
    a, b = calls_of(tmp_path, ["a", "b"], ["b", "b"])
    counted = Counted()
    count._count_calls(counted, tmp_path, [], [a, b])
    assert counted.unbilled == 2


def test_a_task_that_is_lost_and_one_that_is_learned_from_twice_are_found(tmp_path):
    for name, learned in (("alone", [["x/1", "x/2"], ["x/3"]]), ("killed", [["y/1", "y/2"], ["y/2"]])):
        (tmp_path / name / "run/export").mkdir(parents=True)
        (tmp_path / name / "run/export/learned.json").write_text(json.dumps(learned))
    counted = Counted()
    count._count_learned(counted, tmp_path / "killed", tmp_path / "alone")
    assert (counted.lost, counted.twice) == (1, 1)


def test_rows_that_are_there_twice_or_not_at_all_are_found():
    counted = Counted()
    once, twice = [{"step": 1, "reward/mean": 0.1}], [{"step": 1, "reward/mean": 0.1}] * 2
    assert counted._compare("metrics", count.kinds_of(twice), count.kinds_of(once)) == 1
    assert counted.missing == 0
    assert counted._compare("metrics", count.kinds_of(once), count.kinds_of(twice)) == 0
    assert counted.missing == 1


@pytest.mark.slow
def test_every_breach_is_a_missed_bar_and_so_are_too_few_kills(tmp_path):
    """Slow: seconds of computing."""
    run = Counted(repeated=2, in_flight=3)
    tried = [Tried(cell, kills=4, runs=[run]) for cell in cells()]
    assert verdict.show(tried, 200, QUIET) == []
    assert verdict.show(tried, 4 * len(cells()) + 1, QUIET) == ["kills"]
    for name in BREACHES:
        breach: Any = {name: 1}
        broken = [*tried[1:], replace(tried[0], runs=[replace(run, **breach)])]
        assert verdict.show(broken, 200, QUIET) == [name.replace("_", " in ")]
    differs = Tried(Cell("driver", "update", 0), 4, runs=[replace(run, difference=1e-4)])
    assert verdict.show([*tried, differs], 200, QUIET) == ["difference of metrics at k=0"]
    ahead = replace(differs, cell=Cell("driver", "update", 1))  # steps in flight are drawn by newer weights
    assert verdict.show([*tried, ahead], 200, QUIET) == []
    verdict.save(tried, 200, tmp_path / "out.json")
    assert all(bar["is_met"] for bar in json.loads((tmp_path / "out.json").read_text())["bars"])


def test_the_matrix_has_each_cell_once_and_kept_groups_where_there_are_any():
    assert len(set(cells())) == len(cells())
    assert {cell.k for cell in cells() if cell.moment == KEPT} == {1, 2}


def test_a_cell_is_read_as_it_was_saved(tmp_path):
    tried = Tried(Cell("both", "rollout", 2), 3, 1.5, [Counted(lost=1, wrong=["lost: x"])])
    tried.save(tmp_path / "cell.json")
    assert Tried.load(tmp_path / "cell.json") == tried
    assert [path.name for path in tmp_path.iterdir()] == ["cell.json"]
