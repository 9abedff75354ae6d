"""The CPU build of torch beside companions for CUDA, and other environments, which are left as they are."""

import importlib.metadata
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from actors.cpu_environment import NAME, adapt_environment
from actors.cpu_torch import COMPANIONS, needs_cuda

REPO = Path(__file__).resolve().parents[2]
FOR_CUDA = {"torch": "2.13.0", "torchvision": "0.28.0", "torchaudio": "2.11.0", "torchcodec": "0.17.0"}
FOR_CPU = {name: f"{version}+cpu" for name, version in FOR_CUDA.items()}
MIXED = FOR_CUDA | {"torch": "2.13.0+cpu"}


@pytest.fixture
def installed(monkeypatch):
    """Return a function that says which versions are installed."""

    def say(versions):
        def version(name):
            if name not in versions:
                raise PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(importlib.metadata, "version", version)

    return say


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        (MIXED, COMPANIONS),
        (MIXED | {"torchvision": "0.28.0+cpu"}, ("torchaudio", "torchcodec")),
        (FOR_CPU, ()),
        (FOR_CUDA, ()),
        ({"torch": "2.13.0+cpu"}, ()),
        ({}, ()),
    ],
)
def test_companions_are_adapted_where_they_are_built_for_cuda_and_torch_is_not(installed, versions, expected):
    installed(versions)
    assert tuple(filter(needs_cuda, COMPANIONS)) == expected


def test_every_process_of_an_environment_has_the_finder_once_and_none_of_our_packages(installed, tmp_path):
    installed(MIXED)
    assert adapt_environment(tmp_path)
    script = (
        f"import site, sys; site.addsitedir({str(tmp_path)!r}); site.addsitedir({str(tmp_path)!r})\n"
        "assert 'actors' not in sys.modules and 'torch' not in sys.modules\n"
        f"sys.path.insert(0, {str(REPO)!r})\n"
        "import actors\n"
        "print([type(finder).__name__ for finder in sys.meta_path].count('_CpuTorchFinder'))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1\n", "")


@pytest.mark.parametrize("versions", [FOR_CPU, FOR_CUDA])
def test_an_environment_that_needs_nothing_is_left_alone(installed, tmp_path, versions):
    installed(MIXED)
    adapt_environment(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"{NAME}.py", f"{NAME}.pth"}
    installed(versions)
    assert not adapt_environment(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_plain_script_loads_an_exported_model(tmp_path):
    """Slow: transformers, torch and torchvision are imported anew, in the environment as set-up made it."""
    script = (
        "from transformers import AutoModelForImageTextToText, AutoProcessor\n"
        f"model = {str(REPO / 'recipes/shapes/weights/critic')!r}\n"
        "print(type(AutoProcessor.from_pretrained(model)).__name__)\n"
        "AutoModelForImageTextToText.from_pretrained(model)\n"
    )
    environment = {"PATH": "", "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == "Qwen3VLProcessor\n", done.stderr
