"""Output that cannot be written: the reader has gone, the disk is full, a letter is not in the encoding."""

import os
import subprocess
import sys

import pytest

from rl.recipe.config import REPO

TALKS = """
import sys
from rich.console import Console
from rl.cli.output import code_of_loss, outlast_readers
outlast_readers()
for _ in range(3):
    print("a line " * 10_000)
    Console().print("a line")
print("still here", file=sys.stderr)
sys.exit(code_of_loss())
"""
LOST = "interleave: output is lost from here on: No space left on device\n"


def talk(where, code=("-c", TALKS), **variables):
    """Return exit code and stderr of a process whose stdout is `where`."""
    done = subprocess.run(
        [sys.executable, *code],
        stdout=where,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | variables,
        timeout=120,
    )
    return done.returncode, done.stderr


@pytest.fixture
def left():
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_who_prints_goes_on_when_the_reader_has_gone(left, unbuffered):
    assert talk(left, PYTHONUNBUFFERED=unbuffered) == (0, "still here\n")


def test_a_full_disk_is_told_once_and_in_the_exit_code():
    with open("/dev/full", "w") as full:
        assert talk(full) == (1, f"{LOST}still here\n")


@pytest.mark.slow
@pytest.mark.parametrize("command", [["keys"], ["--help"]])
def test_a_command_into_a_pipe_that_is_closed_says_nothing(left, command):
    """Slow: it starts a command."""
    assert talk(left, ["-m", "rl.cli", *command]) == (0, "")


@pytest.mark.slow
def test_a_command_whose_output_is_lost_fails():
    """Slow: it starts a command."""
    with open("/dev/full", "w") as full:
        assert talk(full, ["-m", "rl.cli", "keys"]) == (1, LOST)


def test_a_letter_that_the_encoding_lacks_costs_nothing():
    code = "from rl.cli.output import *; outlast_readers(); print('caf\\u00e9')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii"}, timeout=120
    )
    assert done.stdout == b"caf\\xe9\n"


@pytest.mark.slow
def test_a_working_folder_that_was_removed_is_one_line(tmp_path):
    """Slow: it starts a command."""
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f'rmdir "{gone}" && exec "{sys.executable}" -m rl.cli keys'
    done = subprocess.run(
        ["bash", "-c", command], cwd=gone, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(REPO)}
    )
    assert done.returncode == 2
    assert done.stderr == "interleave: the working folder is not there any more: change to one that is\n"
