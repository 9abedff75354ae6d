"""What a step's groups say, as numbers keyed `area/name`; one more is a line in the function of its area."""

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean, pstdev

import numpy as np

from rl.batch import is_flat
from rollout.text.critique import ERROR_KINDS
from rollout.types import SAMPLE_STAGES, Evidence, Group, Sample

Metrics = dict[str, float]


def group_metrics(groups: Sequence[Group], version: int = 0) -> Metrics:
    """Return what was rolled out, what it earned and where it failed.

    `version` is the policy's before the update: what staleness is counted from.
    """
    samples = [sample for group in groups for sample in group.samples]
    evidences = [sample.evidence for sample in samples if sample.is_valid and sample.evidence is not None]
    metrics = {
        "rollout/groups": float(len(groups)),
        "rollout/samples": float(len(samples)),
        "rollout/failure_share": 1 - len(evidences) / len(samples),
        "rollout/tokens": float(sum(len(s.evidence.response.token_ids) for s in samples if s.evidence is not None)),
    }
    stages = Counter(sample.failure.stage for sample in samples if sample.failure is not None)
    metrics |= {f"failures/{stage.value}": float(stages[stage]) for stage in SAMPLE_STAGES}
    metrics |= _seconds(samples) | _staleness(samples, version)
    if evidences:
        metrics |= _rewards(groups) | _variance(groups)
        metrics |= _critiques(evidences) | _verdicts(evidences) | _responses(evidences)
    return metrics


def _rewards(groups: Sequence[Group]) -> Metrics:
    """Return mean and standard deviation over samples, by term and in total, and the mean one within a group."""
    rewards = [sample.reward for group in groups for sample in group.samples if sample.reward is not None]
    totals = [reward.total for reward in rewards]
    metrics = {"reward/mean": fmean(totals), "reward/std": pstdev(totals)}
    for term in rewards[0].terms:
        values = [reward.terms[term] for reward in rewards]
        metrics |= {f"reward/{term}": fmean(values), f"reward/{term}_std": pstdev(values)}
    within = [pstdev(group.rewards) for group in groups if len(group.rewards) > 1]
    return metrics | _mean("reward/group_std", within)


def _variance(groups: Sequence[Group]) -> Metrics:
    """Return the share of groups whose rewards are all alike, overall and by the task's label."""
    alike = [(group.task.is_success, is_flat(group)) for group in groups if len(group.rewards) > 1]
    key = "rollout/zero_variance_share"
    return (
        _mean(key, [value for _, value in alike])
        | _mean(f"{key}_success", [value for is_success, value in alike if is_success])
        | _mean(f"{key}_failed", [value for is_success, value in alike if not is_success])
    )


def _critiques(evidences: Sequence[Evidence]) -> Metrics:
    """Return how many answers parse, why the others do not, and what the tried prompts gained."""
    kinds = Counter(evidence.parse_error for evidence in evidences if evidence.parse_error)
    gains = [e.scores.semantics - e.baseline.semantics for e in evidences if e.scores is not None]
    # A kind that did not occur is a 0: a chart needs it.
    return (
        {"critique/parse_rate": fmean(evidence.critique is not None for evidence in evidences)}
        | {f"format_errors/{kind}": float(kinds[kind]) for kind in sorted({*ERROR_KINDS, "truncated", *kinds})}
        | _mean("critique/semantic_gain", gains)
    )


def _verdicts(evidences: Sequence[Evidence]) -> Metrics:
    """Return accuracy, the four shares of verdict against label, and precision and recall of "failed".

    Shares are of all valid answers. One that does not parse is in none of the four; it is wrong, and a failed
    task that it missed.
    """
    pairs = Counter((e.critique.is_success, e.task.is_success) for e in evidences if e.critique is not None)
    names = {True: "success", False: "failed"}
    metrics = {
        f"verdict/said_{names[said]}_is_{names[true]}": pairs[said, true] / len(evidences)
        for said in names
        for true in names
    }
    found, said = pairs[False, False], pairs[False, False] + pairs[False, True]
    num_failed = sum(not evidence.task.is_success for evidence in evidences)
    metrics["critique/verdict_accuracy"] = (pairs[True, True] + found) / len(evidences)
    if said:
        metrics["verdict/failed_precision"] = found / said
    if num_failed:
        metrics["verdict/failed_recall"] = found / num_failed
    return metrics


def _responses(evidences: Sequence[Evidence]) -> Metrics:
    lengths = [len(evidence.response.token_ids) for evidence in evidences]
    return {
        "response/mean_tokens": fmean(lengths),
        "response/p95_tokens": float(np.percentile(lengths, 95)),
        "response/truncated_share": fmean(evidence.response.is_truncated for evidence in evidences),
    }


def _staleness(samples: Sequence[Sample], version: int) -> Metrics:
    """Return how many versions a response is behind the policy that learns from it."""
    behind = [version - sample.evidence.response.policy_version for sample in samples if sample.evidence is not None]
    return {"staleness/mean": fmean(behind), "staleness/max": float(max(behind))} if behind else {}


def _seconds(samples: Sequence[Sample]) -> Metrics:
    """Return mean, median and 95th percentile of a sample's wall time by stage, its waiting for a place included."""
    by_stage: dict[str, list[float]] = {}
    for sample in samples:
        for stage, seconds in sample.seconds.items():
            by_stage.setdefault(stage, []).append(seconds)
    metrics: Metrics = {}
    for stage, values in by_stage.items():
        p50, p95 = np.percentile(values, [50, 95])
        metrics[f"seconds/{stage}"] = fmean(values)
        metrics |= {f"seconds/{stage}_p50": float(p50), f"seconds/{stage}_p95": float(p95)}
    return metrics


def _mean(key: str, values: Iterable[float]) -> Metrics:
    """Return the mean under its key; nothing of nothing."""
    found = list(values)
    return {key: fmean(found)} if found else {}
