"""The benchmark of a built wheel: its place knows nothing of the checkout, and whatever fails, or is slow, fails it."""

import os

import pytest

from benchmarks import wheel


@pytest.fixture
def place(tmp_path):
    made = wheel.Place(tmp_path)
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    made.work.mkdir()
    (programs / "show").write_text('#!/bin/sh\necho "$HOME:$PYTHONPATH:$PWD"\n')
    (programs / "fail").write_text("#!/bin/sh\necho why >&2\nexit 3\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    return made


def test_what_leads_back_to_the_checkout_is_left_out(place, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(wheel.REPO))
    assert place.run("show").strip() == f"{place.folder / 'home'}::{place.work}"
    assert str(place.folder / "venv" / "bin") == place.environment()["PATH"].split(os.pathsep)[0]


def test_what_fails_says_why(place):
    with pytest.raises(RuntimeError, match=r"fail now ended with code 3: why"):
        place.run("fail", "now")


@pytest.mark.parametrize(
    ("seconds", "failing", "code"), [(9.0, "", 0), (700.0, "", 1), (9.0, "serve", 1), (9.0, "install", 1)]
)
def test_a_slow_installation_and_a_part_that_fails_are_exit_code_1(tmp_path, monkeypatch, seconds, failing, code):
    def timed(name, part):
        if name == failing:
            raise RuntimeError(f"{name} failed")
        return seconds

    folder = tmp_path / "place"
    monkeypatch.setattr(wheel, "timed", timed)
    monkeypatch.setattr(wheel.Place, "run", lambda self, *command: "interleave 0.0.0")
    monkeypatch.setattr(wheel, "only_wheel", lambda folder: folder / "a.whl")
    assert wheel.main(["--folder", str(folder)]) == code
