"""Charts of a page without scripts."""

import re

import pytest

from rl.run_dir.curves import svg_of


@pytest.mark.parametrize("values", [[-0.00326, 0.0041], [-1.234e-5, -1.2e-6], [-123456.0, 3e9], [0.5, 0.75]])
@pytest.mark.parametrize("is_share", [False, True])
def test_labels_of_an_axis_have_room(values, is_share):
    line = {"name": "loss", "steps": [1, 2], "values": values}
    drawn = svg_of({"title": "loss", "is_share": is_share, "lines": [line]})
    labels = re.findall(r'<text x="([0-9.]+)" y="[0-9.]+" text-anchor="end">([^<]*)</text>', drawn)
    assert len(labels) == 3
    for x, text in labels:
        assert float(x) >= 6.5 * len(text), "a digit of 11 pixels is 7 wide in DejaVu Sans; points and signs are less"
    start = float(labels[0][0])
    assert min(float(x) for x in re.findall(r'cx="([0-9.]+)"', drawn)) >= start, "curves begin beside the labels"
