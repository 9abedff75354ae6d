"""What a wrong verdict costs, by its kind. Both together cost what `rewards.accuracy.disagreement` does."""

from rollout.types import Evidence


def false_accept(evidence: Evidence) -> float:
    """Return -1 where a failed attempt is not called failed (accepted, or unparsable), else 0."""
    is_refused = evidence.critique is not None and not evidence.critique.is_success
    return 0.0 if evidence.task.is_success or is_refused else -1.0


def false_reject(evidence: Evidence) -> float:
    """Return -1 where a successful attempt is not called successful (rejected, or unparsable), else 0."""
    is_accepted = evidence.critique is not None and evidence.critique.is_success
    return 0.0 if not evidence.task.is_success or is_accepted else -1.0
