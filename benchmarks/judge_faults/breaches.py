"""What samples and counts came to, held against what the server recorded."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from actors.store.ledger import read_ledger
from rollout.types import Sample
from tests.support.misbehaving_judge import MisbehavingJudge, scores_of


@dataclass
class Outcome:
    """What a load came to."""

    samples: list[Sample]
    wall_s: float
    stats: dict[str, float]
    faults: Counter[str]
    """By kind, as the server recorded them."""
    busy_share: float
    breaches: list[str] = field(default_factory=list)

    @property
    def per_s(self) -> float:
        return len(self.samples) / self.wall_s

    def count(self, name: str) -> int:
        return round(self.stats.get(f"judge/{name}", 0.0))


def breaches(num_samples: int, outcome: Outcome, server: MisbehavingJudge) -> Sequence[str]:
    """Return what is not as it must be: samples first, then counts."""
    found = []
    samples, answered = outcome.samples, server.answered()
    names = Counter((sample.task_id, sample.index) for sample in samples)
    if len(samples) != num_samples or max(names.values()) > 1:
        found.append(f"{len(samples)} samples, {len(names)} of them distinct, for {num_samples}")
    for sample in samples:
        image = sample.evidence.image if sample.evidence else None
        has_answers = {(image, 1), (image, 2)} <= answered
        if (sample.reward is None) == (sample.failure is None):
            found.append(f"{sample.task_id}/{sample.index} has a reward and a failure, or neither")
        elif (sample.reward is not None) != has_answers:
            found.append(f"{sample.task_id}/{sample.index}: {sample.failure} though the judge answered: {has_answers}")
        elif sample.reward is not None and not _is_of(sample, image):
            found.append(f"{sample.task_id}/{sample.index} has the scores of another image")
    return found + count_breaches(outcome, server)


def _is_of(sample: Sample, image: str | None) -> bool:
    scores = sample.evidence.scores if sample.evidence else None
    return (
        scores is not None
        and image is not None
        and (scores.semantics, scores.quality) == (min(scores_of(image, 2)), min(scores_of(image, 1)))
    )


def count_breaches(outcome: Outcome, server: MisbehavingJudge) -> list[str]:
    """Compare our counts with the server's, kind by kind.

    A request that lost against its hedge was cancelled, whatever the server was about to answer, or before it
    had reached the server at all: with hedges the counts may differ by the cancelled requests, without them by
    nothing.
    """
    found = []
    ours = {name.removeprefix("judge/faults/"): round(n) for name, n in outcome.stats.items() if "/faults/" in name}
    cancelled, attempts = outcome.count("cancelled"), outcome.count("attempts")
    if attempts != outcome.count("answers") + sum(ours.values()) + cancelled:
        found.append(f"{attempts} attempts are not answers, faults {ours} and {cancelled} cancelled ones")
    theirs = outcome.faults | {"answer": server.served()["good"]}
    missed = {kind: theirs[kind] - n for kind, n in (ours | {"answer": outcome.count("answers")}).items()}
    missed |= {kind: theirs[kind] for kind in theirs.keys() - missed.keys()}
    if min(missed.values()) < 0 or sum(missed.values()) > cancelled or not 0 <= attempts - server.seen() <= cancelled:
        found.append(f"the server counted {server.seen()} requests, {attempts} are ours; it counted more: {missed}")
    if not cancelled and any(missed.values()):
        found.append(f"without a cancelled request the server counted more: {missed}")
    if outcome.count("answers") != len(server.answered()):
        found.append(f"{outcome.count('answers')} answers paid for {len(server.answered())} questions")
    tokens = [outcome.count("tokens_in"), outcome.count("tokens_out")]
    if not cancelled and tokens != server.tokens:
        found.append(f"{tokens} tokens on the bill, but the server counted {server.tokens}")
    return found


def ledger_breaches(num_samples: int, folder: Path) -> list[str]:
    """Count the samples once more, in the run's ledger."""
    names = Counter((row["task_id"], row["index"]) for row in read_ledger(folder / "ledger"))
    if len(names) == names.total() == num_samples:
        return []
    return [f"the ledger has {names.total()} samples, {len(names)} of them distinct"]
