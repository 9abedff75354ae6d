"""SQL over a run's folder: what is in its tables, and what a query may not do."""

import json
import sys

import pytest

from actors.store.learned import LearnedLog
from rl.cli.main import main
from rl.run_dir.sql import TABLES, ask
from rl.tracking.metrics_file import append_metrics
from tests.support.finished_run import GROUPS, NUM_STEPS, N, finished_run

pytest.importorskip("duckdb")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a run with three steps of training, an evaluation, metrics and what a step learned from."""
    made = finished_run(tmp_path_factory.mktemp("sql") / "run")
    learned = LearnedLog(made.folder / "ledger", 0)
    learned.append(1, 0, [(group, number > 0) for number, group in enumerate(made.steps[1])])
    learned.close()
    append_metrics(made.folder, {"step": 1, "time": 5.0, "reward/mean": 0.5})
    append_metrics(made.folder, {"step": 1, "time": 6.0, "eval/reward": 0.25})
    return made


def test_nested_columns_are_read_as_what_they_are(run):
    query = (
        "select step, count(*), count(failure), max(reward.terms.format) from samples where phase = 'train' group by 1"
    )
    rows = {step: (count, failed, best) for step, count, failed, best in ask(run.folder, query).rows}
    assert sorted(rows) == list(range(1, NUM_STEPS + 1))
    for step, groups in run.steps.items():
        failed = sum(not sample.is_valid for group in groups for sample in group.samples)
        assert rows[step] == (GROUPS * N, failed, 1.0)


def test_metrics_have_a_column_each_and_groups_say_what_was_learned_from(run):
    assert ask(run.folder, 'select step, "reward/mean", "eval/reward" from metrics').rows == [
        (1, 0.5, None),
        (1, None, 0.25),
    ]
    found = ask(run.folder, "select step, version, begun_for, is_learned, len(behind) from groups order by task_id")
    assert [row[3] for row in found.rows].count(True) == GROUPS - 1
    assert {(row[:3], row[4]) for row in found.rows} == {((1, 0, 1), N)}
    assert ask(run.folder, "select attempt, first_step from attempts").rows == [(0, 1)]


def test_all_tables_are_there_where_none_is_named(run):
    assert [name for (name,) in ask(run.folder, "show tables").rows] == sorted(TABLES)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("select * from read_text('{folder}/recipe.yaml')", "file system operations are disabled"),
        ("select * from '{folder}/ledger/*.parquet'", "file system operations are disabled"),
        ("select count(*) from glob('/*')", "file system operations are disabled"),
        ("copy (select 1) to '{folder}/x.csv'", "expected one SELECT: a run is only read"),
        ("set enable_external_access = true", "expected one SELECT"),
        ("select 1; select 2", "expected one SELECT"),
        ("drop table samples", "expected one SELECT"),
        ("", "expected one SELECT"),
        ("select rewrd from samples", 'Referenced column "rewrd" not found'),
        ("select * from sampels", "tables are samples, calls, groups, attempts, metrics"),
        ("select 1 +", "syntax error"),
        ("select * from TABLES", "does not exist"),
    ],
)
def test_what_does_not_work_is_one_line(run, query, told, capsys):
    before = sorted(run.folder.rglob("*"))
    assert main(["ledger", "sql", str(run.folder), query.format(folder=run.folder)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("interleave: ")
    assert told in said.err
    assert said.err.count("\n") == 1
    assert sorted(run.folder.rglob("*")) == before


def test_answers_are_tables_json_or_csv(run, capsys):
    query = "select 1 as a, {'b': 'x,y'} as s, [1, 2] as l, null as n"
    assert main(["ledger", "sql", str(run.folder), query, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"a": 1, "s": {"b": "x,y"}, "l": [1, 2], "n": None}]
    assert main(["ledger", "sql", str(run.folder), query, "--csv"]) == 0
    assert capsys.readouterr().out == 'a,s,l,n\n1,"{""b"": ""x,y""}","[1, 2]",\n'
    assert main(["ledger", "sql", str(run.folder), "select range as number from range(60)"]) == 0
    shown = capsys.readouterr().out
    assert "50 of 60 rows; --json and --csv print all" in shown


def test_a_folder_without_a_run_and_a_python_without_duckdb_are_told(tmp_path, run, capsys, monkeypatch):
    assert main(["ledger", "sql", str(tmp_path), "select 1"]) == 2
    assert f"{tmp_path} is not the folder of a run that has started" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert main(["ledger", "sql", str(run.folder), "select 1"]) == 2
    assert capsys.readouterr().err == (
        "interleave: ledger sql needs duckdb, which is not installed: pip install duckdb\n"
    )


def test_ledger_alone_still_takes_a_folder(tmp_path, capsys):
    made = finished_run(tmp_path / "run")
    assert main(["ledger", str(made.folder)]) == 0
    assert "samples.parquet" in capsys.readouterr().out
