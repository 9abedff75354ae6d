"""What a step's groups say, as numbers keyed `area/name`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from rl.batch import has_variance
from rollout.types import Group, Stage


def group_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Return rewards by term, verdicts, lengths, failures by stage and shares of groups that teach something."""
    samples = [sample for group in groups for sample in group.samples]
    valid = [sample for sample in samples if sample.is_valid]
    metrics = {
        "rollout/groups": float(len(groups)),
        "rollout/samples": float(len(samples)),
        "rollout/failure_share": 1 - len(valid) / len(samples),
        "rollout/variance_share": fmean(has_variance(group) for group in groups),
    }
    for stage in Stage:
        metrics[f"failures/{stage.value}"] = float(
            sum(s.failure is not None and s.failure.stage == stage for s in samples)
        )
    metrics |= _mean_seconds(samples)
    if not valid:
        return metrics
    evidences = [sample.evidence for sample in valid if sample.evidence is not None]
    rewards = [sample.reward for sample in valid if sample.reward is not None]
    metrics |= {f"reward/{name}": fmean(r.terms[name] for r in rewards) for name in rewards[0].terms}
    metrics["reward/mean"] = fmean(reward.total for reward in rewards)
    metrics["critique/parse_rate"] = fmean(evidence.critique is not None for evidence in evidences)
    metrics["critique/verdict_accuracy"] = fmean(
        evidence.critique is not None and evidence.critique.is_success == evidence.task.is_success
        for evidence in evidences
    )
    for kind, count in Counter(e.parse_error for e in evidences if e.parse_error).items():
        metrics[f"format_errors/{kind}"] = float(count)
    gains = [e.scores.semantics - e.baseline.semantics for e in evidences if e.scores is not None]
    if gains:
        metrics["critique/semantic_gain"] = fmean(gains)
    lengths = [len(evidence.response.token_ids) for evidence in evidences]
    metrics["response/mean_tokens"] = fmean(lengths)
    metrics["response/truncated_share"] = fmean(evidence.response.is_truncated for evidence in evidences)
    return metrics


def _mean_seconds(samples: Sequence) -> dict[str, float]:
    by_stage: dict[str, list[float]] = {}
    for sample in samples:
        for stage, seconds in sample.seconds.items():
            by_stage.setdefault(stage, []).append(seconds)
    return {f"seconds/{stage}": fmean(seconds) for stage, seconds in by_stage.items()}
