"""What the parts of `benchmarks.gpu` that measure one process have in common."""

import gc
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch


class Results:
    """Figures, in a file as they come."""

    def __init__(self, file: Path, **known: object):
        self.file, self.found = file, dict(known)

    def note(self, name: str, **figures: object) -> None:
        """Keep and print the figures of one thing."""
        self.found[name] = figures
        self.file.write_text(json.dumps(self.found, indent=1))
        print(name, *(f"{key}={value}" for key, value in figures.items()), sep="  ", flush=True)


def device_name() -> str:
    """Return what is measured on."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def print_versions(*names: str) -> None:
    """Print the versions of distributions in a line."""
    print(", ".join(f"{name} {_version(name)}" for name in names), flush=True)


def wait() -> None:
    """Wait for what the GPU has been given to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def free() -> None:
    """Give back the memory of what is gone."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def peak_gib() -> float | None:
    """Return the most memory that torch had in use since the last reset, in GiB; None on a CPU."""
    return round(torch.cuda.max_memory_allocated() / 2**30, 2) if torch.cuda.is_available() else None


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
