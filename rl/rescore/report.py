"""What rescoring changed, for the terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rl.rescore.change import printable
from rl.rescore.run import Rescored
from rollout.text.counted import counted

_NUM_ERRORS = 5


def print_report(result: Rescored, console: Console) -> None:
    """Print means by term, what changed between the rewards, what failed, and the file."""
    samples = result.samples
    if result.ignored:
        console.print(f"[yellow]no effect on what is in the ledger[/]: {', '.join(result.ignored)}")
    console.print(_means(result))
    if not (result.is_own and result.is_same_algorithm):
        console.print(_changes(result))
    num_failed = sum(samples.errors.values())
    if num_failed:
        console.print(f"[yellow]{counted(num_failed, 'sample')} would fail under this reward[/]:")
        for error, count in samples.errors.most_common(_NUM_ERRORS):
            console.print(f"  {count:,} x {escape(printable(error))}")
    if result.is_own:
        same, count = samples.num_identical, samples.num_rewarded_before
        console.print(f"{same:,} of {count:,} rewards bit-identical")
        if same < count:
            console.print(f"[red]the first difference[/]: {escape(printable(samples.first_difference))}")
    if samples.num_rewarded == 0:
        console.print("[red]no sample has a reward[/]")
    console.print(f"written  {escape(str(result.path))}")


def _means(result: Rescored) -> Table:
    samples = result.samples
    table = Table(title=counted(samples.num_samples, "sample"), title_justify="left")
    for column in ("", "old mean", "new mean"):
        table.add_column(column, justify="right" if column else "left")
    names = dict.fromkeys((*samples.old_terms.names, *samples.new_terms.names))
    for name in [*(name for name in names if name != "total"), "total"]:
        table.add_row(escape(name), *(_number(means.get(name)) for means in (samples.old_terms, samples.new_terms)))
    table.add_row("samples with a reward", f"{samples.num_rewarded_before:,}", f"{samples.num_rewarded:,}")
    table.add_row("estimator", *map(escape, result.estimators))
    groups = result.groups
    if groups.num_groups:
        shares = (groups.num_flat_before, groups.num_flat)
        table.add_row("training groups without variance", *(_share(count, groups.num_groups) for count in shares))
    return table


def _changes(result: Rescored) -> Table:
    samples, groups = result.samples, result.groups
    table = Table(title="old against new", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(justify="left", style="dim")
    pearson, spearman = samples.correlations() or (None, None)
    table.add_row("correlation of totals, Pearson", _number(pearson), f"{samples.num_compared:,} samples with both")
    table.add_row("correlation of totals, Spearman", _number(spearman), "")
    if groups.num_groups:
        best, signs = (groups.num_other_best, groups.num_compared), (groups.num_flipped, groups.num_advantages)
        table.add_row("groups with another best sample", _share(*best), f"of {groups.num_compared:,} training groups")
        table.add_row("advantages with the other sign", _share(*signs), f"of {groups.num_advantages:,} with both")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _share(count: int, of: int) -> str:
    return f"{count / of:.1%}" if of else "-"
