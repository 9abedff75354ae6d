"""What a function that plans returns, by the path that such functions import it from.

A build's provenance digests the files of its teachers: with another path in them, no build of before could go on.
"""

from rollout.text.plan import Plan, PlanStep

__all__ = ["Plan", "PlanStep"]
