"""How much better did the judge like the regenerated image than the recorded attempt?

A task that was not regenerated (a record labelled successful, under the rule `by_label`) has no gain:
the neutral value of each scale. An unparsable answer has the scale's worst value.
"""

from rollout.types import Evidence

_TOP_SCORE = 10.0


def semantic_gain(evidence: Evidence) -> float:
    """Return ((semantics after - before) / 10 + 1) / 2, in [0, 1] (S of the released code)."""
    if evidence.critique is None:
        return 0.0
    after = evidence.scores.semantics if evidence.scores else evidence.baseline.semantics
    return ((after - evidence.baseline.semantics) / _TOP_SCORE + 1) / 2


def quality_gain(evidence: Evidence) -> float:
    """Return ((quality after - before) / 10 + 1) / 2, in [0, 1] (Q of the released code)."""
    if evidence.critique is None:
        return 0.0
    after = evidence.scores.quality if evidence.scores else evidence.baseline.quality
    return ((after - evidence.baseline.quality) / _TOP_SCORE + 1) / 2


def mean_gain(evidence: Evidence) -> float:
    """Return judge(after) - judge(before), in [-1, 1], the judge's number being mean(semantics, quality) / 10.

    R_step of arXiv 2606.13679, which leaves the scale open.
    """
    if evidence.critique is None:
        return -1.0
    after = evidence.scores.mean if evidence.scores else evidence.baseline.mean
    return (after - evidence.baseline.mean) / _TOP_SCORE
