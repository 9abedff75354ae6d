"""What `interleave data check` prints: counts, bars, and where the bad records are."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from data.check.check import Summary
from data.check.images import DeepSummary
from data.check.statistics import Lengths, RlStatistics, SftStatistics
from data.errors import shown
from data.records.public_answers import LENIENCIES
from rollout.text.counted import counted

_ODDITIES = {
    "exif_rotated": "turned by EXIF (exif_rotated)",
    "transparent": "transparent, over white (transparent)",
    "deep_grey": "16-bit grey, brought to 8 (deep_grey)",
    "cmyk": "CMYK, as RGB (cmyk)",
}
"""What `actors.store.pixels` found, in words."""
_WIDTH = 40
"""Characters of the longest bar."""


def print_report(summary: Summary, console: Console) -> None:
    """Print a summary, all as plain text: a file's content is never read as markup."""
    num_good = summary.num_records - summary.bad.num
    rate = summary.num_records / max(summary.seconds, 1e-9)
    console.print(
        Text.assemble(
            (str(summary.path), "bold"),
            f"  {summary.kind}: {counted(summary.num_records, 'record')}, {max(num_good, 0):,} good, "
            f"{counted(summary.bad.num, 'problem')} ({summary.seconds:.1f} s, {rate:,.0f} records/s)",
        )
    )
    blocks: list[RenderableType] = []
    if summary.prompts.num_distinct:  # else there is nothing good to count
        statistics = summary.statistics
        blocks += _rl(statistics) if isinstance(statistics, RlStatistics) else _sft(statistics)
        blocks += _repeats(summary)
    if summary.deep is not None and summary.deep.num_images:
        blocks += _deep(summary.deep)
    for block in (*blocks, *_bad(summary)):
        console.print()
        console.print(block)


def bar(count: int, most: int) -> str:
    """Return a bar for a share of the largest count.

    >>> bar(1, 4), bar(0, 4), bar(1, 10**6)
    ('██████████', '', '▏')
    """
    if count == 0:
        return ""
    eighths: int = max(1, round(8 * _WIDTH * count / most))
    end: str = ("", *"▏▎▍▌▋▊▉")[eighths % 8]
    return "█" * (eighths // 8) + end


def _histogram(title: str, bars: Sequence[tuple[str, int]], note: str = "") -> RenderableType:
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", min_width=11)
    table.add_column(justify="right")
    table.add_column(justify="right")
    table.add_column()
    most = max((count for _, count in bars), default=0)
    total = sum(count for _, count in bars)
    for name, count in bars:
        table.add_row(Text(name), f"{count:,}", f"{100 * count / max(total, 1):.1f} %", bar(count, most))
    return Group(Text.assemble((title, "bold"), f"  {note}" if note else ""), table)


def _lengths(title: str, lengths: Lengths) -> RenderableType:
    return _histogram(title, lengths.bars(), f"mean {lengths.mean:,.1f}, longest {lengths.longest:,}")


def _rl(statistics: RlStatistics) -> list[RenderableType]:
    num = statistics.num
    blocks = [_histogram("labels", [("success", num[True]), ("failed", num[False])])]
    for name, scores in (("semantics", statistics.semantics), ("quality", statistics.quality)):
        table = Table(title=f"{name}, by label", title_justify="left", title_style="bold", box=None, padding=(0, 1))
        for column in ("score", "failed", "", "success", ""):
            table.add_column(column, justify="right" if column else "left")
        most = max(max(scores[True]), max(scores[False]))
        for score, (failed, success) in enumerate(zip(scores[False], scores[True], strict=True)):
            half = most * 2  # two bars share a line
            table.add_row(str(score), f"{failed:,}", bar(failed, half), f"{success:,}", bar(success, half))
        blocks.append(table)
    blocks.append(_lengths("characters of the original prompt", statistics.instructions))
    if statistics.prompts.num:
        blocks.append(_lengths("characters of the rewritten prompt", statistics.prompts))
    total = max(sum(num.values()), 1)
    blocks.append(
        Text(
            f"{counted(statistics.prompts.num, 'record')} with a rewritten prompt; {statistics.num_from_nothing:,} "
            f"({100 * statistics.num_from_nothing / total:.1f} %) began with a white canvas"
        )
    )
    return blocks


def _sft(statistics: SftStatistics) -> list[RenderableType]:
    blocks = []
    if statistics.verdicts:
        bars = [("success", statistics.verdicts[True]), ("failed", statistics.verdicts[False])]
        blocks.append(_histogram("verdicts", bars))
    if statistics.modes:
        blocks.append(_histogram("modes", statistics.modes.most_common()))
        blocks.append(
            _histogram("steps per plan", [(str(num), count) for num, count in sorted(statistics.steps.items())])
        )
    images = sorted(statistics.images.items())
    counts = [(str(num), count) for num, count in images[:12]]
    if len(images) > 12:
        counts.append(("more", sum(count for _, count in images[12:])))
    blocks.append(_histogram("images per record", counts, f"{statistics.num_canvases:,} of them white canvases"))
    blocks.append(_lengths("characters of the question", statistics.questions))
    blocks.append(_lengths("characters of the answer", statistics.answers))
    blocks.extend(
        Text(f"{statistics.leniencies[name]:,} {told}")
        for name, told in LENIENCIES.items()
        if statistics.leniencies[name]
    )
    return blocks


def _repeats(summary: Summary) -> list[RenderableType]:
    prompts, copies = summary.prompts, summary.copies
    num = prompts.num_distinct + prompts.num_later
    mean = num / max(prompts.num_distinct, 1)
    lines = [
        f"{counted(prompts.num_distinct, 'different source prompt')}, {mean:.1f} records each, "
        f"at most {prompts.most:,}",
        f"{counted(copies.num_later, 'record')} with the same content as an earlier one"
        + "".join(f"\n  {later} as {first}" for first, later in summary.examples_of_copies),
    ]
    if summary.num_canvas_paths:
        lines.append(f"{counted(summary.num_canvas_paths, 'path')} read as the white canvas")
    if summary.num_called_white:
        lines.append(
            f"{counted(summary.num_called_white, 'image')} called white.png; if that means no image: "
            "--white-canvas white.png"
        )
    if summary.deep is None:
        lines.append("images were not opened: --deep decodes each")
    if (overlap := summary.overlap) is not None:
        lines.append(
            f"{counted(overlap.num_records, 'record')} with a prompt that is also in {overlap.other}"
            + "".join(f"\n  {own} and {other}" for own, other in overlap.examples)
        )
    return [Text("\n".join(lines))]


def _deep(deep: DeepSummary) -> list[RenderableType]:
    names = [
        (f"{width} x {height}" if width else "others", count) for (width, height), count in deep.sizes.most_common(8)
    ]
    num_more = sum(deep.sizes.values()) - sum(count for _, count in names)
    if num_more:
        names.append(("others", num_more))
    blocks: list[RenderableType] = [_histogram("sizes of images", names, f"{deep.num_images:,} different files")]
    lines = [
        f"{counted(deep.num_same, 'image')} with the same look as an earlier one, "
        f"{counted(deep.num_alike, 'pair')} that look alike, {deep.num_flat:,} of one colour"
    ]
    lines += [
        f"  {shown(first.path)} and {shown(later.path)} ({bits} bits differ)" for first, later, bits in deep.examples
    ]
    if deep.oddities:
        counts = ", ".join(f"{count:,} {_ODDITIES[name]}" for name, count in deep.oddities.most_common())
        lines.append(f"read as viewers show them: {counts}")
    blocks.append(Text("\n".join(lines)))
    blocks += [_lengths(f"tokens of the {name}", lengths) for name, lengths in deep.tokens.items()]
    return blocks


def _bad(summary: Summary) -> list[RenderableType]:
    if not summary.bad.num:
        return [Text("no bad records", style="green")]
    lines = []
    for kind, count in summary.bad.counts.most_common():
        lines.append(Text(f"{count:,} x {kind}", style="bold red"))
        lines += [Text(f"  {example}") for example in summary.bad.examples[kind]]
    return [Group(*lines)]
