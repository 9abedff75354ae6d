"""Numbers of a step's groups, against hand-computed ones."""

import pytest

from rl.tracking.group_metrics import group_metrics
from rollout.types import Critique, Evidence, Failure, Group, Response, Reward, Sample, Stage
from tests.support.fakes import make_task


def sample(task, index, total=0.0, *, said=False, error=None, num_tokens=2, version=0, failure=None) -> Sample:
    """A sample that said success or failure; `error` instead is why its answer does not parse."""
    response = Response((1,), (7,) * num_tokens, "text", (-0.1,) * num_tokens, version, error == "truncated")
    critique = None if error else Critique(said, "a box")
    evidence = Evidence(task, response, critique, error)
    reward = None if failure else Reward({"format": float(not error), "step": total}, total)
    return Sample(task.id, index, index, evidence, reward, failure, {"sample": 1.0 + index})


BAD, OTHER, FINE = make_task(1), make_task(2), make_task(3, is_success=True)
GROUPS = [
    Group(BAD, (sample(BAD, 0, 0.2, said=False, version=3), sample(BAD, 1, 0.6, said=True, version=1))),
    Group(OTHER, (sample(OTHER, 0, 0.4, error="json"), sample(OTHER, 1, 0.4, error="truncated", num_tokens=10))),
    Group(FINE, (sample(FINE, 0, 1.0, said=True), sample(FINE, 1, 1.0, said=False))),
]


def test_rewards_by_term_and_within_groups():
    metrics = group_metrics(GROUPS)
    assert metrics["reward/mean"] == pytest.approx(3.6 / 6)
    assert metrics["reward/std"] == pytest.approx((sum((r - 0.6) ** 2 for r in (0.2, 0.6, 0.4, 0.4, 1, 1)) / 6) ** 0.5)
    assert metrics["reward/format"] == pytest.approx(4 / 6)
    assert metrics["reward/format_std"] == pytest.approx((4 / 6 * 2 / 6) ** 0.5)
    assert metrics["reward/group_std"] == pytest.approx((0.2 + 0 + 0) / 3)


def test_groups_that_teach_nothing_by_label():
    metrics = group_metrics(GROUPS)
    assert metrics["rollout/zero_variance_share"] == pytest.approx(2 / 3)
    assert metrics["rollout/zero_variance_share_failed"] == pytest.approx(1 / 2)
    assert metrics["rollout/zero_variance_share_success"] == 1.0


def test_verdicts_against_labels():
    metrics = group_metrics(GROUPS)
    shares = {
        name.removeprefix("verdict/"): value for name, value in metrics.items() if name.startswith("verdict/said")
    }
    assert shares == {
        "said_failed_is_failed": pytest.approx(1 / 6),
        "said_success_is_failed": pytest.approx(1 / 6),
        "said_success_is_success": pytest.approx(1 / 6),
        "said_failed_is_success": pytest.approx(1 / 6),
    }
    assert metrics["verdict/failed_precision"] == pytest.approx(1 / 2)
    assert metrics["verdict/failed_recall"] == pytest.approx(1 / 4)  # two answers do not parse
    assert metrics["critique/verdict_accuracy"] == pytest.approx(2 / 6)
    assert sum(shares.values()) == pytest.approx(metrics["critique/parse_rate"])


def test_format_errors_by_kind_with_zeros_for_the_others():
    metrics = group_metrics(GROUPS)
    assert metrics["format_errors/json"] == metrics["format_errors/truncated"] == 1.0
    assert metrics["format_errors/unicode"] == 0.0


def test_lengths_staleness_and_seconds():
    metrics = group_metrics(GROUPS, version=3)
    assert metrics["response/mean_tokens"] == pytest.approx(20 / 6)
    assert metrics["response/p95_tokens"] == pytest.approx(8.0)  # between 2 and 10
    assert metrics["response/truncated_share"] == pytest.approx(1 / 6)
    assert metrics["rollout/tokens"] == 20.0
    assert metrics["staleness/max"] == 3.0
    assert metrics["staleness/mean"] == pytest.approx((0 + 2 + 3 * 4) / 6)
    assert metrics["seconds/sample"] == metrics["seconds/sample_p50"] == pytest.approx(1.5)
    assert metrics["seconds/sample_p95"] == pytest.approx(2.0)


def test_failed_samples_are_counted_by_stage_and_are_in_no_other_figure():
    lost = sample(BAD, 2, failure=Failure(Stage.JUDGE, "timeout"))
    group = Group(BAD, (*GROUPS[0].samples, lost))
    metrics = group_metrics([group])
    assert metrics["failures/judge"] == 1.0
    assert metrics["failures/sample"] == 0.0
    assert metrics["rollout/failure_share"] == pytest.approx(1 / 3)
    assert metrics["reward/mean"] == pytest.approx(0.4)
    assert metrics["rollout/zero_variance_share"] == 0.0


def test_a_step_with_nothing_but_failures_has_no_rewards():
    group = Group(BAD, (Sample(BAD.id, 0, 0, None, None, Failure(Stage.SAMPLE, "dead")),))
    metrics = group_metrics([group])
    assert metrics["rollout/failure_share"] == 1.0
    assert "reward/mean" not in metrics
