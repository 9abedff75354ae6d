"""The figures of a benchmark's run: in the terminal, as JSON for each judge, and as a page."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jinja2
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evals.clusters import Interval
from evals.official.benchmark import Figure, Judged
from evals.official.figures import Agreement, Ours, agreement, difference, headline, ours, scores_of
from rl.atomic_write import atomic_write
from rl.official.judging import Answer
from rl.official.outputs import leniencies_in
from rl.official.prepare import Official, paid
from rl.story.folder import made_by

SCHEMA = "interleave.official_eval/1"
ANSWERS, FIGURES = "answers.jsonl", "figures.json"
_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


@dataclass(frozen=True)
class Comparisons:
    """An agent and a judge beside others."""

    against: Interval | None
    """This agent's overall figure minus the other's, paired by item."""
    judges: Mapping[str, Agreement]
    """Agreement with other judges of the same outputs, by their names."""


def judge_folder(out: Path, model: str) -> Path:
    """Return where a judge's answers and figures are."""
    return out / "judges" / (re.sub(r"[^\w.-]+", "_", model).strip("._") or "judge")


def other_scores(against: Path, benchmark: str, model: str) -> dict[str, float]:
    """Return the scores of another run of a benchmark by the same judge. Raises ValueError where it has none."""
    file = judge_folder(against, model) / FIGURES
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        theirs, scores = str(found["benchmark"]), dict[str, float](found["scores"])
    except (OSError, ValueError, KeyError):
        raise ValueError(f"--against {against} has no figures of the judge {model}: {file} is not there") from None
    if theirs != benchmark:
        raise ValueError(f"--against {against} is a run of {theirs}, not of {benchmark}")
    return scores


def compare(
    run: Official, judged: Sequence[Judged], answers: Sequence[Answer], folder: Path, against: Path | None
) -> Comparisons:
    """Hold an agent against another one, and a judge against those that were asked before. Raises ValueError."""
    assert run.judge is not None
    gap = None
    if against is not None:
        others, mine = other_scores(against, run.benchmark.name, run.judge.model), scores_of(run.benchmark, judged)
        gap = difference(others, mine, run.items, run.benchmark.weights(run.items))
    said, judges = dict(_said(map(asdict, answers))), {}
    for file in sorted(folder.parent.glob(f"*/{ANSWERS}")):
        if file.parent != folder:
            rows = (json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line)
            if (found := agreement(dict(_said(rows)), said)) is not None:
                judges[file.parent.name] = found
    return Comparisons(gap, judges)


def write_report(
    run: Official,
    judged: Sequence[Judged],
    answers: Sequence[Answer],
    comparisons: Comparisons,
    *,
    folder: Path,
    console: Console,
) -> None:
    """Write answers, figures and the page; print the figures."""
    assert run.judge is not None
    official, found = run.benchmark.official(judged, run.num_items), ours(run.benchmark, judged)
    lines = "".join(f"{json.dumps(asdict(answer), ensure_ascii=False)}\n" for answer in answers)
    atomic_write(folder / ANSWERS, lines)
    figures = {
        "schema": SCHEMA,
        "benchmark": run.benchmark.name,
        "title": run.benchmark.title,
        "repository": run.benchmark.repository,
        "agent": made_by(run.recipe),
        "judge": run.judge.model,
        "headline": headline(official, found),
        "num_items": run.num_items,
        "leniencies": leniencies_in(one.output for one in judged),
        "official": [asdict(figure) for figure in official],
        "overall": run.benchmark.overall,
        "ours": asdict(found),
        "usd": paid(run.out),
        **asdict(comparisons),
        "scores": scores_of(run.benchmark, judged),
    }
    atomic_write(folder / FIGURES, json.dumps(figures, indent=1, ensure_ascii=False))
    page = run.out / "figures.html"
    every = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.parent.glob(f"*/{FIGURES}"))]
    atomic_write(page, _TEMPLATES.get_template("figures.html.j2").render(runs=every))
    _print(run, official, found, comparisons, console)
    console.print(escape(f"json    {folder / FIGURES}\npage    {page}"))


def _said(rows: Iterator[dict[str, Any]]) -> Iterator[tuple[str, object]]:
    """Yield each answer that could be read, by item, question and images."""
    for row in rows:
        if row["reading"] is not None:
            yield f"{row['item']} {row['key']} {' '.join(row['images'])}", tuple(row["reading"]["values"])


def _print(run: Official, official: Sequence[Figure], found: Ours, comparisons: Comparisons, console: Console) -> None:
    assert run.judge is not None
    table = Table(title=escape(f"{run.benchmark.title} by {run.judge.model}"), title_justify="left")
    for column in ("its own script", "", ""):
        table.add_column(column, justify="right" if table.columns and not column else "left")
    for figure in official:
        value = "none" if figure.value is None else f"{figure.value:.4f}"
        why = f"{'mended: ' if figure.is_mended else ''}{figure.why}"
        table.add_row(escape(figure.name), value, escape(why))
    console.print(table)
    for group, one in found.by_group.items():
        console.print(f"{escape(group)}  {one.value:.3f} ({one.low:.3f} to {one.high:.3f})")
    for why, count in _counted(found.failed).items():
        console.print(f"failed  {count:,}: {escape(why)}")
    for note, count in found.notes.items():
        console.print(f"said    {count:,}: {escape(note)}")
    if (gap := comparisons.against) is not None:
        told = "apart" if gap.is_apart_from_zero else "a tie"
        console.print(f"over the other agent {gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f}), {told}")
    for judge, same in comparisons.judges.items():
        kappa = "none" if same.kappa is None else f"{same.kappa:.2f}"
        console.print(f"as {judge} in {100 * same.share_same:.1f} % of {same.num_answers:,} answers, kappa {kappa}")
    console.print(headline(official, found))


def _counted(failed: Mapping[str, str]) -> dict[str, int]:
    """Return how many items failed for each reason, the most frequent first, reasons shortened."""
    counts: dict[str, int] = {}
    for why in failed.values():
        told = why.partition(" [attempts")[0][:160]  # without the seconds that calls took
        counts[told] = counts.get(told, 0) + 1
    return dict(sorted(counts.items(), key=lambda one: -one[1]))
