"""The figures of `benchmarks/driver` are held to their bars, and its stand-ins answer as what they stand for."""

import asyncio
import json
from dataclasses import replace

import pytest

from actors.config import LossConfig, PolicyConfig
from actors.policy import hung_ranks
from actors.policy.image_tensors import ImagePreparer
from actors.policy.policy import Policy
from actors.policy.setup import PolicySetup
from benchmarks.driver import __main__ as driver
from benchmarks.driver.cost import Cost
from benchmarks.driver.roles import Rank
from rollout.types import Batch, TrainingRow

SMALL = Cost(
    128,
    16,
    driver_ms=0.5,
    loop_ms=0.2,
    looking_ms=0.1,
    driver_kb=50.0,
    store_kb=6.0,
    workers_ms=2.0,
    samples_per_s=300.0,
    longest_callback_ms=9,
)
LARGE = replace(SMALL, samples=16_384, driver_ms=0.6, driver_kb=20.0)


def test_what_holds_ends_with_code_0(tmp_path, capsys):
    assert driver.report([SMALL, LARGE], [LARGE], tmp_path / "driver.json") == 0
    printed = capsys.readouterr().out
    assert "one core of the driver is full at 1,667 samples/s, its event loop at 5,000" in printed
    assert "MISSED" not in printed
    assert [bar["value"] for bar in json.loads((tmp_path / "driver.json").read_text())["bars"]] == [1.2, 0.6, 20.0]


@pytest.mark.parametrize("missed", [{"driver_ms": 0.61}, {"driver_ms": 1.1}, {"driver_kb": 20.1}])
def test_a_missed_bar_ends_with_code_1(missed, capsys):
    assert driver.report([SMALL, replace(LARGE, **missed)], []) == 1
    assert "MISSED" in capsys.readouterr().out


class RanksHere:
    workers = ()  # none in another process, which could hang

    def update(self, *arguments):
        return [Rank().update(*parts) for parts in zip(*arguments, strict=True)]


def test_the_policy_goes_through_an_update_of_the_stand_ins(monkeypatch):
    monkeypatch.setattr(hung_ranks, "processes_of", lambda workers: [])
    setup = PolicySetup(PolicyConfig(model="none", num_ranks=2), LossConfig(), "store", 1)
    policy = Policy(RanksHere(), ImagePreparer([]), setup, temperature=1.0)
    row = TrainingRow((), (1,), (2, 3), (0.5, 0.5), (-0.1, -0.2))
    metrics = asyncio.run(policy.update(Batch((row, row))))
    assert (policy.version, metrics["policy/tokens"], metrics["policy/grad_norm"]) == (1, 4.0, 0.0)
