"""The check of pages: what it needs, what it makes up, and which findings miss a bar."""

import json

import pytest

from benchmarks.pages.__main__ import main, missing_tools, report
from benchmarks.pages.long_run import NUM_METRICS, make_run
from rl.watch.site import Site


def test_what_is_missing_is_said(tmp_path, capsys):
    assert main(["--modules", str(tmp_path / "nowhere")]) == 2
    assert f"axe-core in {tmp_path / 'nowhere'}" in capsys.readouterr().err
    (tmp_path / "axe-core").mkdir()
    assert "chromium" in missing_tools(None, tmp_path)
    assert f"axe-core in {tmp_path}" not in missing_tools(None, tmp_path)


@pytest.mark.slow
def test_the_run_that_is_made_up_has_a_page(tmp_path):
    """Slow: a whole run is made up."""
    make_run(tmp_path / "run", 50)
    assert len(json.loads((tmp_path / "run" / "metrics.jsonl").open().readline())) == NUM_METRICS + 2
    site = Site(tmp_path / "run")
    assert site.answer("data", {}) is not None
    reply = site.answer("groups", {})
    assert reply is not None
    groups = json.loads(reply.body)["groups"]
    assert len(groups) == 12
    assert site.answer(f"image/{groups[0]['samples'][0]['image']}", {}) is not None


@pytest.mark.parametrize(
    ("told", "num_missed"),
    [
        ({"check": "opening", "name": "watch", "seconds": 1.9, "cpu_seconds": 0.5}, 0),
        ({"check": "opening", "name": "watch", "seconds": 2.1, "cpu_seconds": 0.5}, 1),
        ({"check": "keyboard", "name": "watch", "controls": 9, "missed": [], "failed": []}, 0),
        ({"check": "keyboard", "name": "watch", "controls": 9, "missed": ["<a>"], "failed": ["updates pause"]}, 2),
        ({"check": "script", "failed": ["ended with code 2"]}, 1),
    ],
)
def test_a_missed_bar_is_told(told, num_missed):
    assert len(report(told)) == num_missed


def test_every_violation_is_told():
    told = {"check": "accessibility", "name": "a", "width": 390, "scheme": "dark"}
    assert report(told | {"violations": [], "overflow": 0, "problems": []}) == []
    found = report(told | {"violations": ["color-contrast x2"], "overflow": 12, "problems": ["refused"]})
    assert found == [
        "a 390 dark: color-contrast x2",
        "a 390 dark: refused",
        "a 390 dark: 12 pixels too wide",
    ]
