"""Charts of metrics as SVG, for pages that are one file: no script draws them."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 340.0, 150.0, 46.0, 8.0, 8.0, 20.0
_A_CHARACTER = 7.0
"""Most that a digit of a label is wide, in the fonts that pages use."""
_DOTS_BELOW = 25
"""Points up to which each is marked: a curve of one has no line."""


def svg_of(chart: Mapping[str, Any]) -> str:
    """Return a chart of `rl.tracking.charts` as an SVG element, whose classes a page's style colours."""
    lines = chart["lines"]
    first, last = min(line["steps"][0] for line in lines), max(line["steps"][-1] for line in lines)
    low = min(min(line.get("low", line["values"])) for line in lines)
    high = max(max(line.get("high", line["values"])) for line in lines)
    if low == high:
        low, high = low - abs(low) / 10, high + (abs(high) / 10 or 1.0)
    ends = [_short(value, chart["is_share"]) for value in (high, low)]
    left = max(_LEFT, 8 + _A_CHARACTER * max(map(len, ends)))

    def place(step: float, value: float) -> str:
        across = (step - first) / (last - first) if last > first else 0.5
        x = left + across * (_WIDTH - left - _RIGHT)
        return f"{x:.1f},{_TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM):.1f}"

    bottom = _HEIGHT - _BOTTOM
    parts = [f'<path class="axis" d="M{left},{_TOP}H{_WIDTH - _RIGHT}M{left},{bottom}H{_WIDTH - _RIGHT}"/>']
    for x, y, anchor, text in (
        (left - 4, _TOP + 4, "end", ends[0]),
        (left - 4, bottom, "end", ends[1]),
        (left, _HEIGHT - 5, "start", f"{first}"),
        (_WIDTH - _RIGHT, _HEIGHT - 5, "end", f"step {last}"),
    ):
        parts.append(f'<text x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>')
    for number, line in enumerate(lines):
        parts += _drawn(line, number, place)
    said = escape(f"{chart['title']}: {', '.join(f'{name} {value}' for name, value in ends_of(chart))}")
    return f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{said}">{"".join(parts)}</svg>'


def ends_of(chart: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the name of each line, and from where to where it went, as text."""
    is_share = chart["is_share"]
    return [
        (line["name"], f"{_short(line['values'][0], is_share)} to {_short(line['values'][-1], is_share)}")
        for line in chart["lines"]
    ]


def _drawn(line: Mapping[str, Any], number: int, place: Any) -> list[str]:
    def at(values: Sequence[float]) -> list[str]:
        return [place(step, value) for step, value in zip(line["steps"], values, strict=True)]

    points = at(line["values"])
    drawn = []
    if "low" in line:
        around = " ".join([*at(line["high"]), *reversed(at(line["low"]))])
        drawn.append(f'<polygon class="between b{number}" points="{around}"/>')
    drawn.append(f'<polyline class="curve l{number}" points="{" ".join(points)}"/>')
    if len(points) < _DOTS_BELOW:
        ends = (point.split(",") for point in points)
        drawn += [f'<circle class="b{number}" cx="{x}" cy="{y}" r="2.2"/>' for x, y in ends]
    return drawn


def _short(value: float, is_share: bool) -> str:
    """Return a number in few characters.

    >>> _short(0.12345, False), _short(0.12345, True), _short(0.0001234, False), _short(1234567.0, False)
    ('0.123', '12.3 %', '1.2e-04', '1.2e+06')
    """
    if is_share:
        return f"{100 * value:.3g} %"
    return f"{value:.3g}" if value == 0 or 0.001 <= abs(value) < 1e5 else f"{value:.1e}"
