"""Did the critic judge the attempt rightly?"""

from rollout.types import Evidence


def is_right(evidence: Evidence) -> float:
    """Return 1 when the verdict equals the label, else 0; unparsable: 0 (A of the released code)."""
    if evidence.critique is None:
        return 0.0
    return float(evidence.critique.is_success == evidence.task.is_success)


def disagreement(evidence: Evidence) -> float:
    """Return -|j - J|, in {-1, 0}; unparsable: -1 (R_acc of arXiv 2606.13679)."""
    return is_right(evidence) - 1.0
