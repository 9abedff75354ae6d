"""The ledger's tables open where people look at tables, with the values of the logs."""

import asyncio
import json
import multiprocessing
import os
import signal

import pandas
import pytest

from actors.store import ledger_table
from actors.store.append_log import AppendLog
from actors.store.ledger import Ledger, read_ledger
from actors.store.ledger_table import compact
from rollout.types import Critique, Evidence, Failure, Group, GroupRequest, Reward, Sample, Scores, Stage
from tests.support.groups import make_group


def make_rich_group(number):
    """Return a group with a sample that went all the way, one that did not parse and one that failed early."""
    task = make_group(number, [0.0]).task
    response = make_group(number, [0.0]).samples[0].evidence.response
    critique = Critique(False, "a ruby \ud83d box", "ünlike")
    scores = Scores(0.1 + 0.2, 7.0, "fine", 0.5)
    whole = Evidence(
        task, response, critique, None, "sha256:ab", scores, Scores(1.0, 2.0), {"ocr": ["a"], "again": scores}
    )
    samples = (
        Sample(task.id, 0, 5, whole, Reward({"format": True, "step": 1 / 3}, 2 / 3), None, {"sample": 0.5, "judge": 2}),
        Sample(
            task.id, 1, 6, Evidence(task, response, None, "json"), Reward({"format": 0.0, "step": -1.0}, -0.5), None
        ),
        Sample(task.id, 2, 7, None, None, Failure(Stage.SAMPLE, "engine died")),
    )
    return Group(task, samples)


def write(folder, steps):
    async def record():
        ledger = Ledger.open(folder)
        for step in steps:
            group = make_rich_group(step)
            await ledger.record(GroupRequest(group.task, 3, 0, (7, 8), step=step), group)

    asyncio.run(record())
    bill, counted = {"attempts": 2.0, "faults/timeout": 1.0}, {"calls": 3.0, "attempts": 2.0}
    call = {"service": "judge", "key": "00", "endpoint": "pool", "outcome": "answer", "at": 1.5}
    AppendLog(folder, "calls").append([call | {"bill": bill, "counted": counted}])


def test_pandas_reads_what_the_logs_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger_table, "BATCH", 2)
    write(tmp_path, [1, 2])
    assert compact(tmp_path) == {"samples": 6, "calls": 1}
    table = pandas.read_parquet(tmp_path / "samples.parquet")
    whole, unparsed, failed = table.to_dict("records")[:3]
    assert whole["reward"] == {"total": 2 / 3, "terms": {"format": 1.0, "step": 1 / 3}}
    assert whole["scores"] == {"semantics": 0.1 + 0.2, "quality": 7.0, "reason": "fine", "spread": 0.5}
    assert whole["critique"] == {"is_success": False, "refine_prompt": "a ruby ? box", "thought": "ünlike"}
    assert json.loads(whole["extra"])["ocr"] == ["a"]
    assert (whole["seconds"]["sample"], whole["seconds"]["judge"], whole["seconds"]["generate"]) == (0.5, 2.0, None)
    assert (unparsed["parse_error"], unparsed["critique"], unparsed["edit_seed"]) == ("json", None, 8)
    assert (failed["failure"], failed["reward"]) == ({"stage": "sample", "error": "engine died"}, None)
    rows = list(read_ledger(tmp_path))
    for name in ("attempt", "phase", "step", "task_id", "index", "seed", "instruction", "is_success", "baseline"):
        assert list(table[name]) == [row[name] for row in rows]
    (call,) = pandas.read_parquet(tmp_path / "calls.parquet").to_dict("records")
    assert call["bill"] == {"attempts": 2.0, "calls": None, "faults/timeout": 1.0}
    assert (call["at"], call["counted"]["calls"]) == (1.5, 3.0)


def test_datasets_reads_the_same(tmp_path):
    """Its import takes seconds, but a table that it cannot open would only be found by users."""
    from datasets import Dataset

    write(tmp_path, [1])
    compact(tmp_path)
    rows = Dataset.from_parquet(str(tmp_path / "samples.parquet"), cache_dir=str(tmp_path / "cache"))
    assert rows[0]["reward"] == {"total": 2 / 3, "terms": {"format": 1.0, "step": 1 / 3}}
    assert (rows[2]["failure"]["stage"], rows[2]["response"]) == ("sample", None)
    calls = Dataset.from_parquet(str(tmp_path / "calls.parquet"), cache_dir=str(tmp_path / "cache"))
    assert calls[0]["bill"]["faults/timeout"] == 1.0


def test_a_torn_log_gives_the_rows_that_were_committed(tmp_path):
    write(tmp_path, [1, 2])
    (log,) = tmp_path.glob("samples-*")
    log.write_bytes(log.read_bytes()[:-30])
    assert compact(tmp_path)["samples"] == 5


def test_a_run_without_rewards_or_calls_has_tables_too(tmp_path):
    ledger = Ledger.open(tmp_path)
    assert compact(tmp_path) == {"samples": 0, "calls": 0}
    group = make_group(1, [0.5, None])
    asyncio.run(ledger.record(GroupRequest(group.task, 2, 0, (7,)), group))
    compact(tmp_path)
    table = pandas.read_parquet(tmp_path / "samples.parquet")
    assert list(table["reward"]) == [{"total": 0.5}, None]


def test_what_is_no_ledger_is_said(tmp_path):
    with pytest.raises(ValueError, match="it has no logs"):
        compact(tmp_path)


def _die_half_way(folder):
    make, num_batches = ledger_table._table, 0

    def kill_later(batch, schema):
        nonlocal num_batches
        num_batches += 1
        if num_batches == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return make(batch, schema)

    ledger_table.BATCH, ledger_table._table = 2, kill_later
    compact(folder)


def test_a_kill_half_way_leaves_the_old_table_and_what_is_left_is_cleaned(tmp_path):
    write(tmp_path, [1])
    compact(tmp_path)
    write(tmp_path, [2, 3])
    killed = multiprocessing.get_context("fork").Process(target=_die_half_way, args=(tmp_path,))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert len(pandas.read_parquet(tmp_path / "samples.parquet")) == 3
    (left,) = tmp_path.glob(".*")
    os.utime(left, (0, 0))
    assert compact(tmp_path)["samples"] == 6
    assert list(tmp_path.glob(".*")) == []
