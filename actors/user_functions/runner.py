"""A recipe's reward, run so that no term can block a rollout: built-in terms here, others in killable processes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from actors.user_functions.process import RewardProcess, start
from rewards.compose import RewardError, TermConfig, WeightedSum, check_term_names, import_function, weighted_total
from rewards.functions.import_path import FunctionError
from rewards.signature import RewardSignature, signature_of
from rollout.concurrency import all_of
from rollout.types import Evidence, Reward


class RewardRunner:
    """Awaitable evidence -> `Reward` (`rollout.single_step.SingleStep.reward`). Picklable.

    Each term from outside `rewards/` has its own process in every process that uses it: a hang is blamed on the
    right term, and does not affect others. A module that two terms name is loaded twice.
    """

    def __init__(self, terms: Sequence[TermConfig]):
        check_term_names(terms)
        self.terms = tuple(terms)

    async def __call__(self, evidence: Evidence) -> Reward:
        """Return the terms and their weighted sum. Raises `RewardError` naming a term without a finite value."""
        values = dict(self._builtin_terms(evidence).terms)
        if self._user_terms:
            values |= zip(
                self._user_terms, await all_of(other(evidence) for other in self._user_terms.values()), strict=True
            )
        values = {term.key: values[term.key] for term in self.terms}
        return Reward(values, weighted_total(values, self.weights))

    @property
    def weights(self) -> dict[str, float]:
        return {term.key: term.weight for term in self.terms}

    def check(self) -> dict[str, RewardSignature]:
        """Import every term's function and return its signature, by the term's name; blocks.

        Raises `RewardError` (a ValueError) for a function that does not exist or cannot be a reward.
        """
        return {term.key: _traits(term) for term in self.terms}

    def close(self) -> None:
        """Kill the processes; a later call restarts them."""
        for other in self._user_terms.values():
            other.close()

    @cached_property
    def _builtin_terms(self) -> WeightedSum:
        return WeightedSum([term for term in self.terms if term.is_builtin])

    @cached_property
    def _user_terms(self) -> dict[str, RewardProcess]:
        return {term.key: RewardProcess(term) for term in self.terms if not term.is_builtin}

    def __reduce__(self) -> tuple[type[RewardRunner], tuple[Sequence[TermConfig]]]:
        return RewardRunner, (self.terms,)


def _traits(term: TermConfig) -> RewardSignature:
    if not term.is_builtin:
        started = start(term)
        started.close()
        return started.traits
    try:
        return signature_of(import_function(term.fn))
    except FunctionError as error:
        raise RewardError("import", term.fn, str(error)) from error
