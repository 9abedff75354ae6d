"""The house beside its bars: `python -m benchmarks.house [--mends A..B[,C..D]] [--walk]`.

Statements are `ast.stmt` nodes of all Python outside tests/ and benchmarks/, recipes included. What the commits of
`mends.txt` and of `--mends` changed in them is listed apart, and the bar is for the rest. How the way from the command
to the first rollout is counted is told in `benchmarks/house/walk.py`; `--walk` prints it. Ends with code 1 where a bar
is missed, and with 2 where a range of commits is none.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.ending import run_main
from benchmarks.house.mends import Mend, listed, mends
from benchmarks.house.source import Size, Source
from benchmarks.house.walk import Walk, walk_to_first_rollout

REPO = Path(__file__).resolve().parents[2]
MAX_PARAMETERS = 7


@dataclass(frozen=True)
class Figure:
    """One line of the table; without a bar it is only told."""

    what: str
    value: int
    bar: int | None = None
    where: str = ""

    @property
    def is_met(self) -> bool:
        return self.bar is None or self.value <= self.bar


def of_source(source: Source, mended: list[Mend] | None) -> Iterator[Figure]:
    """Yield the figures of the source."""
    for package, num in source.statements.most_common():
        yield Figure(f"  {package}", num)
    yield Figure("statements", source.statements.total())
    for mend in mended or ():
        yield Figure(f"  {mend.commit}", mend.num_added, None, mend.subject)
    added = sum(mend.num_added for mend in mended or ())
    yield Figure("what mends add", added, None, "" if mended is not None else "unknown: this is no git checkout")
    yield Figure("statements without the mends", source.statements.total() - added, 16_500)
    yield _longest("longest function, lines", source.functions, 60)
    yield _longest("longest file, lines", source.files, 300)
    many = [size for size in source.parameters if size.num > MAX_PARAMETERS]
    yield Figure(f"functions over {MAX_PARAMETERS} parameters", len(many), 0, ", ".join(size.where for size in many))
    for name, bar in (("type: ignore", 3), ("cast", 1), ("Any", 445)):
        yield Figure(f"`{name}`", source.escapes[name], bar, "bar: as many as at ec8fc0a")


def of_walk(walk: Walk) -> Iterator[Figure]:
    """Yield the figures of the way to the first rollout."""
    yield Figure("files from the command to the first rollout", len(walk.files), 20)
    yield Figure("returns to a file on that way", walk.num_returns, 15)


def _longest(what: str, sizes: list[Size], bar: int) -> Figure:
    size = max(sizes, key=lambda size: size.num)
    return Figure(what, size.num, bar, size.where)


def print_figures(figures: list[Figure], console: Console) -> None:
    table = Table(box=None)
    for column, justify in (("", "left"), ("now", "right"), ("bar", "right"), ("", "left"), ("where", "left")):
        table.add_column(column, justify="right" if justify == "right" else "left", overflow="fold")
    for figure in figures:
        bar = "" if figure.bar is None else f"{figure.bar:,}"
        missed = "" if figure.is_met else "[red]missed[/]"
        table.add_row(figure.what, f"{figure.value:,}", bar, missed, figure.where.replace("[", r"\["))
    console.print(table)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.house", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mends", default="", help="further commits that mended faults: A..B[,C..D]")
    parser.add_argument("--walk", action="store_true", help="print the files of the way, as they are entered")
    chosen = parser.parse_args(arguments)
    try:
        mended = mends(REPO, [*listed(), *filter(None, chosen.mends.split(","))])
    except ValueError as error:
        print(f"benchmarks.house: {error}", file=sys.stderr)
        return 2
    walk = walk_to_first_rollout()
    figures = [*of_source(Source.of(REPO), mended), *of_walk(walk)]
    console = Console(highlight=False)
    if chosen.walk:
        console.print(*walk.entries, sep="\n")
    print_figures(figures, console)
    return 0 if all(figure.is_met for figure in figures) else 1


if __name__ == "__main__":
    run_main(main)
