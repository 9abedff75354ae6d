"""Choose a set's records from its candidates: no duplicates, no prompt on both sides, limits, balance, size."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from math import floor, inf

from data.build.candidates import Candidate
from data.build.rules import CriticSetConfig, SetConfig


def select_records(
    candidates: Iterable[Candidate],
    side: str,
    rules: SetConfig,
    dropped: Counter[str],
    *,
    heldout_prompts: Collection[int] = (),
) -> list[Candidate]:
    """Return the chosen candidates of one side by rank; count the others in `dropped`, by rule.

    `heldout_prompts` are digests of prompts that must not be on this side. The result does not depend on the order of
    the candidates.
    """
    ordered = sorted((c for c in candidates if c.side == side), key=lambda c: (c.rank, c.place))
    kept = list(_allowed(ordered, rules, heldout_prompts, dropped))
    wanted = rules.num_train if side == "train" else rules.num_heldout
    share = rules.failed_share if isinstance(rules, CriticSetConfig) else None
    return _balanced(kept, wanted, share, dropped)


def _allowed(
    candidates: Sequence[Candidate], rules: SetConfig, heldout_prompts: Collection[int], dropped: Counter[str]
) -> Iterator[Candidate]:
    per_request = rules.per_request if isinstance(rules, CriticSetConfig) else 0
    per_prompt = rules.per_prompt if isinstance(rules, CriticSetConfig) else 0
    seen: set[int] = set()
    of_request: Counter[int] = Counter()
    of_prompt: Counter[int] = Counter()
    for candidate in candidates:
        if candidate.content in seen:
            dropped["duplicate"] += 1
        elif candidate.prompt in heldout_prompts:
            dropped["prompt_is_held_out"] += 1
        elif per_request and of_request[candidate.request] >= per_request:
            dropped["enough_of_request"] += 1
        elif per_prompt and of_prompt[candidate.prompt] >= per_prompt:
            dropped["enough_of_prompt"] += 1
        else:
            of_request[candidate.request] += 1
            of_prompt[candidate.prompt] += 1
            yield candidate
        seen.add(candidate.content)


def _balanced(
    candidates: Sequence[Candidate], wanted: int, failed_share: float | None, dropped: Counter[str]
) -> list[Candidate]:
    """Return up to `wanted` candidates (0: all), fewer if there are too few of one label to keep `failed_share`.

    >>> some = [Candidate(n, 0, "train", n == 0, n, n, n) for n in range(5)]
    >>> [c.request for c in _balanced(some, 0, 0.75, Counter())]
    [1, 2, 3, 0]
    """
    if failed_share is None:
        chosen = list(candidates[: wanted or None])
    else:
        by_label: dict[bool, list[Candidate]] = defaultdict(list)
        for candidate in candidates:
            by_label[bool(candidate.is_success)].append(candidate)
        failed, solved = by_label[False], by_label[True]
        most = min(_limit(len(failed), failed_share), _limit(len(solved), 1 - failed_share), len(candidates))
        num = int(min(wanted or most, most))
        num_failed = min(round(failed_share * num), len(failed))
        chosen = failed[:num_failed] + solved[: num - num_failed]
    dropped["enough" if wanted and len(chosen) >= wanted else "balance"] += len(candidates) - len(chosen)
    return chosen


def _limit(count: int, share: float) -> float:
    """Return the largest total in which `count` records make up `share`."""
    return floor(count / share + 1e-9) if share else inf  # 1e-9: rounding must not cost a record
