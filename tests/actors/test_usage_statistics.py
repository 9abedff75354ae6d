"""Nothing is told to makers of libraries, unless asked for: whatever of ours a process imports first."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from actors.usage_statistics import OFF
from tests.support.source_tree import REPO

READ_BY = {
    "RAY_USAGE_STATS_ENABLED": "ray/_common/usage/usage_constants.py",
    "VLLM_NO_USAGE_STATS": "vllm/envs.py",
    "WANDB_ERROR_REPORTING": "wandb/env.py",
    "HF_HUB_DISABLE_TELEMETRY": "huggingface_hub/constants.py",
}
SHOW = "import json, os; import rl.cli.main; print(json.dumps(dict(os.environ)))"


def environment_of_a_command(**said):
    plain = {name: value for name, value in os.environ.items() if name not in OFF} | {"PYTHONPATH": str(REPO)}
    shown = subprocess.run([sys.executable, "-c", SHOW], env=plain | said, capture_output=True, text=True, check=True)
    return {name: json.loads(shown.stdout).get(name) for name in OFF}


@pytest.mark.slow
def test_a_command_switches_them_off_for_itself_and_its_children():
    """Slow: it starts processes of Python."""
    assert environment_of_a_command() == OFF


@pytest.mark.slow
def test_what_the_environment_asks_for_is_left_alone():
    """Slow: it starts processes of Python."""
    assert environment_of_a_command(RAY_USAGE_STATS_ENABLED="1")["RAY_USAGE_STATS_ENABLED"] == "1"


@pytest.mark.parametrize("name", OFF)
def test_the_library_still_reads_the_variable(name):
    package, _, rest = READ_BY[name].partition("/")
    [folder] = map(Path, find_spec(package).submodule_search_locations or [])
    assert f'"{name}"' in (folder / rest).read_text(encoding="utf-8")
