"""A benchmark that is told to end leaves none of its processes."""

import signal
import subprocess
import sys

import pytest

from rl.recipe.config import REPO
from tests.support.processes import is_dead

BENCHMARK = """
import signal, subprocess, sys
from benchmarks.ending import run_main

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore both
signal.signal(signal.SIGHUP, signal.SIG_DFL)

def main():
    try:
        subprocess.Popen([sys.executable, "-c", {stubborn!r}], start_new_session=True)
        return subprocess.run([sys.executable, "-c", {child!r}]).returncode
    finally:
        print("cleared up", flush=True)

run_main(main)
"""
CHILD = """
import os, time
try:
    print("child", os.getpid(), flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5)  # longer than subprocess.run gives it after a Ctrl-C
    print("ended well", flush=True)
"""
STUBBORN = "import os, time; print('stubborn', os.getpid(), flush=True); time.sleep(60)"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_its_runs_end_as_by_ctrl_c_and_the_others_with_it(number):
    """Slow: it starts processes of Python."""
    text = BENCHMARK.format(stubborn=STUBBORN, child=CHILD)
    benchmark = subprocess.Popen(
        [sys.executable, "-c", text], cwd=REPO, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert benchmark.stdout
        pids = dict([benchmark.stdout.readline().split() for _ in range(2)])
        benchmark.send_signal(number)
        said = benchmark.communicate(timeout=30)[0]
    finally:
        benchmark.kill()
    assert set(pids) == {"child", "stubborn"}
    assert said.splitlines() == ["ended well", "cleared up"]
    assert benchmark.returncode == 128 + number
    assert all(is_dead(int(pid)) for pid in pids.values())


def test_every_benchmark_ends_so():
    files = [*(REPO / "benchmarks").glob("*.py"), *(REPO / "benchmarks").glob("*/__main__.py")]
    mains = [file.read_text() for file in files if "\ndef main(" in file.read_text()]
    assert len(mains) > 25
    assert all(text.endswith('\nif __name__ == "__main__":\n    run_main(main)\n') for text in mains)
