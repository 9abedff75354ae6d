"""A judge that misbehaves ends no run and loses no sample; `benchmarks.judge_faults` shows it at full size."""

import asyncio

import pytest

from benchmarks.judge_faults.load import Load, judged, troubled
from tests.support.misbehaving_judge import TROUBLES, MisbehavingJudge

pytestmark = pytest.mark.slow  # a real HTTP server, and real waiting for it

# Deadlines are far away: on a busy machine a good answer must not come too late.
LOAD = Load(
    num_samples=32,
    images_per_s=1000.0,
    latency_s=0.01,
    retry_after_s=0.05,
    timeout_s=120.0,
    bad_share=0.4,
    hopeless_share=0.02,
)


@pytest.mark.parametrize("hedge_after_s", [0.0, 0.3])
def test_no_sample_is_lost_and_every_fault_is_counted_once(tmp_path, hedge_after_s):
    trouble = troubled(LOAD)

    def plan(asked):
        behaviour = trouble(asked)
        # Without hedges silence lasts until the deadline; with them the second request has to be heard.
        is_too_slow = behaviour == "silence" and (asked.attempt > 0 or not hedge_after_s)
        return "dropped" if is_too_slow else behaviour

    with MisbehavingJudge(plan) as server:
        outcome = asyncio.run(judged(LOAD, server, tmp_path, hedge_after_s=hedge_after_s, has_ray=False))
    assert outcome.breaches == []
    failed = [sample for sample in outcome.samples if not sample.is_valid]
    assert 0 < len(failed) < 20
    assert {*TROUBLES} - {"silence"} <= {*server.served()}
    assert (outcome.count("hedges") > 0) == ("silence" in server.served()) == (hedge_after_s > 0)
