"""The curves that a page opens with, in the order in which one looks at them; all others are one click away."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from rl.tracking.course import Column, Course, families, thinned

_MOST_LINES = 8
"""Of one chart: more of them cannot be told apart."""
_HELD_OUT = ("_before", "", "_after")
"""What evaluations before, during and after training end their names with."""


@dataclass(frozen=True)
class Chart:
    """Metrics that belong into one picture."""

    title: str
    names: Sequence[str]
    """Names or patterns of metrics."""
    skipped: Sequence[str] = ()
    """Patterns that are left out."""
    is_share: bool = False
    """The values are shares of 1."""


CHARTS = (
    Chart("reward", ("reward/mean",)),
    Chart("reward by term", ("reward/*",), ("reward/mean", "reward/std", "reward/*_std")),
    Chart("held-out reward, without format", ("eval/reward",)),
    Chart("semantic gain, points of 10", ("critique/semantic_gain", "eval/semantic_gain")),
    Chart("verdict accuracy", ("critique/verdict_accuracy", "eval/verdict_accuracy"), is_share=True),
    Chart("held-out failed tasks that were fixed", ("eval/fixed",), is_share=True),
    Chart("answers that parse", ("critique/parse_rate", "eval/parsed", "eval/parse_rate"), is_share=True),
    Chart("loss", ("sft/loss", "eval/loss", "policy/loss")),
    Chart("entropy, nats a token", ("policy/entropy",)),
    Chart("gradient norm", ("policy/grad_norm",)),
    Chart("KL to the reference", ("policy/reference_kl",)),
    Chart("groups without variance", ("rollout/zero_variance_share*",), is_share=True),
    Chart("failed samples, by stage", ("failures/*",)),
    Chart("tokens a response", ("response/mean_tokens", "response/p95_tokens")),
    Chart("age of samples, steps", ("staleness/mean", "staleness/max")),
    Chart(
        "seconds of a step",
        ("seconds/step", "seconds/waiting_for_*", "seconds/update", "seconds/publish", "seconds/evaluation"),
    ),
    Chart("idle share", ("idle/*",), is_share=True),
    Chart("tokens a second", ("throughput/tokens_per_s", "throughput/taught_tokens_per_s")),
    Chart("paid, US dollars a step", ("*/usd",), ("*_total/usd",)),
)


def charts_of(course: Course) -> list[dict[str, object]]:
    """Return the charts for which a run has values, as a page draws them."""
    known = _columns(course)
    drawn = []
    for chart in CHARTS:
        names = [name for pattern in chart.names for name in sorted(known) if fnmatchcase(name, pattern)]
        names = [name for name in dict.fromkeys(names) if not any(fnmatchcase(name, no) for no in chart.skipped)]
        if lines := [
            _line(name, known[name]) for name in names[:_MOST_LINES] if any(part.values for part in known[name])
        ]:
            drawn.append({"title": chart.title, "is_share": chart.is_share, "lines": lines})
    return drawn


def family_of(course: Course, area: str) -> list[dict[str, object]]:
    """Return a chart for each metric of an area; none for an area that is not there."""
    names = families(course.columns).get(area, [])
    return [
        {"title": name, "is_share": False, "lines": [_line(name, [course.columns[name]])]}
        for name in names
        if course.columns[name].values
    ]


def _columns(course: Course) -> dict[str, list[Column]]:
    """Return the columns of each metric: an evaluation's before, during and after training are one."""
    found: dict[str, list[Column]] = {name: [column] for name, column in course.columns.items()}
    for name in [name for name in found if name.startswith("eval/")]:
        whole = next((name.removesuffix(end) for end in _HELD_OUT if end and name.endswith(end)), name)
        parts = [course.columns[whole + end] for end in _HELD_OUT if whole + end in course.columns]
        found[whole] = parts
    return found


def _line(name: str, columns: Sequence[Column]) -> dict[str, object]:
    return {"name": name} | thinned(columns)
