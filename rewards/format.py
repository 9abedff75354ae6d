"""Did the critic answer in the contract's form?"""

from rollout.types import Evidence


def is_parsed(evidence: Evidence) -> float:
    """Return 1 for an answer that parses strictly, else 0 (R_format of the paper, F of the released code)."""
    return 0.0 if evidence.critique is None else 1.0
