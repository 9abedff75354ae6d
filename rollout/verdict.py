"""One verdict from several answers of the critic, or from how sure it was: fewer wrong images are accepted.

    votes       each is an answer of its own, with its own seed; more than half of them have to accept
    threshold   the probability of success, averaged over the votes, has to reach it

The probability is given what an answer says before its verdict: one that has made up its mind in its thought is sure,
so several votes say more than one, or the doubts of the thought count, too (`rollout.text.success_probability`).
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from rollout.agents import ask_until_parsed
from rollout.concurrency import all_of
from rollout.stages import StageTimer
from rollout.text.readers import Reading
from rollout.text.seeds import seed_of
from rollout.types import Critique, ModelAnswer


@dataclass(frozen=True, slots=True)
class VerdictRule:
    """When an image is accepted."""

    votes: int = 1
    """Answers about each image. One that cannot be had or read counts against it."""
    threshold: float = 0.0
    """Least probability of success; 0: the majority decides, and a tie refuses."""


ONE_ANSWER = VerdictRule()
"""The critic's word is taken."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the votes on an image come to."""

    critique: Critique | None
    """None: no vote could be read."""
    answers: tuple[ModelAnswer, ...]
    """Every one, the unreadable ones too."""
    success_probability: float
    """The mean over the votes; 0 where it was not looked for."""


@dataclass(frozen=True, slots=True)
class Vote:
    """An answer that could be read."""

    critique: Critique
    probability: float
    """Of success; 0 where it was not looked for, or not found."""


async def ask_for_verdict(
    ask: Callable[[int, int], Awaitable[ModelAnswer]],
    read: Callable[[str], Reading[Critique]],
    seeds: Iterable[int],
    timer: StageTimer,
    rule: VerdictRule,
) -> Verdict:
    """Return what the votes on an image come to. Where none could be read, `timer.failure` says why."""
    votes, answers = await ask_for_votes(ask, read, seeds, timer, rule.votes)
    return Verdict(agreed(votes, rule), answers, probability_of(votes, rule.votes))


async def ask_for_votes(
    ask: Callable[[int, int], Awaitable[ModelAnswer]],
    read: Callable[[str], Reading[Critique]],
    seeds: Iterable[int],
    timer: StageTimer,
    count: int,
) -> tuple[list[Vote], tuple[ModelAnswer, ...]]:
    """Ask a critic for so many votes at once, each as `ask_until_parsed`; return those that could be read, and all.

    The first vote has the given seeds, the others have some of their own. `timer.failure` says why there is none.
    """
    given = list(seeds)

    async def cast(number: int) -> tuple[Critique | None, tuple[ModelAnswer, ...], StageTimer]:
        own = StageTimer(timer.fatal)
        own.stage = timer.stage
        places = given if number == 0 else [seed_of("vote", number, seed) for seed in given]
        critique, answers = await ask_until_parsed(ask, read, places, own)
        return critique, answers, own

    ballots = await all_of(map(cast, range(count)))
    votes = [
        Vote(critique, answers[-1].success_probability or 0.0)
        for critique, answers, _ in ballots
        if critique is not None
    ]
    timer.failure = None if votes else ballots[0][2].failure
    return votes, tuple(answer for _, answers, _ in ballots for answer in answers)


def probability_of(votes: Sequence[Vote], count: int) -> float:
    """Return the mean probability of success of `count` votes, of which the others could not be read."""
    return sum(vote.probability for vote in votes) / count


def agreed(votes: Sequence[Vote], rule: VerdictRule) -> Critique | None:
    """Return the first critique of the side that wins, with its verdict; None without any vote.

    Where every vote says true and the threshold refuses all the same, the first one's prompt is kept.
    """
    if not votes:
        return None
    if rule.threshold:
        is_success = probability_of(votes, rule.votes) >= rule.threshold
    else:
        is_success = 2 * sum(vote.critique.is_success for vote in votes) > rule.votes
    critiques = [vote.critique for vote in votes]
    first = next((one for one in critiques if one.is_success == is_success), critiques[0])
    return replace(first, is_success=is_success)
