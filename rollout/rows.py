"""A sample as a row of the ledger, and back: plain JSON both ways.

Token ids and log-probabilities are not kept, only how many there were: no reward reads them, and they
would be most of the ledger.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from rollout.types import Critique, Evidence, Failure, Response, Reward, Sample, Scores, Stage, Task

Row = dict[str, Any]

_NO_TOKEN = -1
"""Stands for a token whose id was not kept."""
_SCORES = frozenset(Scores.__dataclass_fields__)


def row_of(task: Task, sample: Sample) -> Row:
    """Return everything that a sample cost and earned."""
    evidence = sample.evidence
    row: Row = {
        "task_id": task.id,
        "index": sample.index,
        "seed": sample.seed,
        "instruction": task.instruction,
        "prompt": task.prompt,
        "before": task.before,
        "after": task.after,
        "is_success": task.is_success,
        "baseline": asdict(task.scores),
        "failure": sample.failure and {"stage": sample.failure.stage.value, "error": sample.failure.error},
        "reward": sample.reward and {"terms": dict(sample.reward.terms), "total": sample.reward.total},
        "seconds": dict(sample.seconds),
    }
    return row | (_evidence_row(evidence) if evidence is not None else {})


def _evidence_row(evidence: Evidence) -> Row:
    return {
        "response": evidence.response.text,
        "num_tokens": len(evidence.response.token_ids),
        "is_truncated": evidence.response.is_truncated,
        "policy_version": evidence.response.policy_version,
        "critique": evidence.critique and asdict(evidence.critique),
        "parse_error": evidence.parse_error,
        "image": evidence.image,
        "scores": evidence.scores and asdict(evidence.scores),
        "rejudged": evidence.baseline_scores and asdict(evidence.baseline_scores),
        "extra": {
            name: asdict(value) if isinstance(value, Scores) else value for name, value in evidence.extra.items()
        },
    }


def task_of(row: Row) -> Task:
    """Return the task of a row."""
    return Task(
        id=row["task_id"],
        instruction=row["instruction"],
        prompt=row["prompt"],
        before=row["before"],
        after=row["after"],
        is_success=row["is_success"],
        scores=Scores(**row["baseline"]),
    )


def evidence_of(row: Row) -> Evidence | None:
    """Return what a reward function may look at; None where sampling itself failed.

    The response has as many tokens as it had, without their ids; its log-probabilities are empty, so that
    a reward that looks at them fails by name and is not quietly wrong.
    """
    if row.get("response") is None:
        return None
    response = Response(
        prompt_token_ids=(),
        token_ids=np.full(row["num_tokens"], _NO_TOKEN, np.int32),
        text=row["response"],
        logprobs=(),
        policy_version=row["policy_version"],
        is_truncated=bool(row.get("is_truncated")),
    )
    return Evidence(
        task=task_of(row),
        response=response,
        critique=Critique(**row["critique"]) if row.get("critique") else None,
        parse_error=row.get("parse_error"),
        image=row.get("image"),
        scores=_scores(row.get("scores")),
        baseline_scores=_scores(row.get("rejudged")),
        extra={name: _seen(value) for name, value in (row.get("extra") or {}).items()},
    )


def sample_of(row: Row) -> Sample:
    """Return the sample of a row."""
    reward, failure = row["reward"], row["failure"]
    return Sample(
        task_id=row["task_id"],
        index=row["index"],
        seed=row["seed"],
        evidence=evidence_of(row),
        reward=Reward(dict(reward["terms"]), reward["total"]) if reward else None,
        failure=Failure(Stage(failure["stage"]), failure["error"]) if failure else None,
        seconds=dict(row.get("seconds") or {}),
    )


def _scores(value: Mapping[str, Any] | None) -> Scores | None:
    return Scores(**value) if value else None


def _seen(value: object) -> object:
    """Return what an observer gave: a mapping with just the fields of `Scores` was one."""
    return Scores(**value) if isinstance(value, dict) and value.keys() == _SCORES else value
