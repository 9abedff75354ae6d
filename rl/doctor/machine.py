"""What a run needs of a machine, whatever its recipe. Nothing is started, asked or downloaded."""

import os
import re
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from rl.doctor.finding import Finding
from rl.plan.devices import Devices, devices_here
from rl.recipe.config import REPO
from rl.tracking.wandb_settings import check_environment, wandb_mode
from rollout.text.sizes import size_told

_PACKAGE = "interleave-thinker"
_PYTHON = (3, 11)
_GIB = 2**30
_LEAST_DISK, _LEAST_SHARED = 10 * _GIB, 2 * _GIB
"""Bytes: a small run's checkpoints and pictures; objects that Ray's processes hand to each other."""
_LEAST_FILES = 16_384
"""Open files of a process: Ray's own servers hold some for each actor."""
_SETUP = "make setup, or pip install -c requirements.lock -e '.[cpu,dev]' ([gpu,dev] with a GPU)"


def look_at_machine(folder: Path, devices: Devices | None = None) -> Iterator[Finding]:
    """Yield what this machine has; `folder` is where runs go."""
    yield _interpreter(sys.version_info[:3])
    yield packages(lock_file())
    yield _devices(devices or devices_here())
    yield from (_disk(place) for place in dict.fromkeys([_existing(folder), Path(tempfile.gettempdir())]))
    yield _shared_memory(Path("/dev/shm"))
    yield _open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    yield _wandb()


def lock_file() -> Path:
    """Return where the versions stand that this code was tested with: in the checkout, or in what a wheel installed."""
    in_checkout = REPO / "requirements.lock"
    return in_checkout if in_checkout.is_file() else REPO / "rl" / in_checkout.name


def packages(lock: Path) -> Finding:
    """Hold what is installed, of all that we need and that needs, against the lock file."""
    if not lock.is_file():
        return Finding("packages", f"there is no {lock.name} to hold them against: not looked at")
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(), re.MULTILINE))
    needed = sorted(_needed(_PACKAGE) & locked.keys())
    others = [name for name in needed if _differs(name, locked)]
    if others:
        texts = [f"{name} {_version(name) or 'missing'} (locked: {locked[name]})" for name in others[:5]]
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        mend = f"pip install -c {lock} {' '.join(others)}" if lock.parent.name == "rl" else _SETUP
        return Finding("packages", f"{', '.join(texts)}{more}", mend)
    return Finding("packages", f"{len(needed)} as {lock.name} has them")


def _interpreter(found: tuple[int, int, int]) -> Finding:
    text = f"CPython {'.'.join(map(str, found))} at {sys.executable}"
    return Finding(
        "interpreter", text, "" if found[:2] == _PYTHON else "use CPython 3.11: make setup PYTHON=python3.11"
    )


def _needed(package: str) -> set[str]:
    """Return the packages that one needs, and those need, by their names in the lock; extras are left out."""
    found: set[str] = set()
    waiting = [package]
    while waiting:
        try:
            wanted = requires(waiting.pop()) or []
        except PackageNotFoundError:
            continue
        names = {re.split(r"[^\w.-]", one, maxsplit=1)[0] for one in wanted if "extra ==" not in one}
        new = {re.sub(r"[-_.]+", "-", name).lower() for name in names} - found
        found |= new
        waiting += new
    return found


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _differs(name: str, locked: Mapping[str, str]) -> bool:
    """Whether another version is installed; one that only some platforms need may be missing."""
    found = _version(name)
    return found is not None and found.partition("+")[0] != locked[name].partition("+")[0]


def _devices(devices: Devices) -> Finding:
    """See whether PyTorch was built for what is here."""
    torch = _version("torch") or "missing"
    text = f"{devices}; torch {torch}"
    if devices.num_gpus and torch.endswith("+cpu"):
        return Finding(
            "devices", f"{text}: a build for CPUs", "remove .venv and run make setup, which sees the GPUs now"
        )
    return Finding("devices", text)


def _existing(folder: Path) -> Path:
    """Return a folder, or the nearest above it that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    mend = "" if free >= _LEAST_DISK else "make room, or set run_dir and store (TMPDIR for Ray's files) to another disk"
    if not os.access(folder, os.W_OK):
        mend = "it cannot be written: set run_dir and store to a folder that can"
    return Finding("disk", f"{size_told(free)} free at {folder}", mend)


def _shared_memory(folder: Path) -> Finding:
    if not folder.is_dir():
        return Finding("shared memory", f"there is no {folder}", "mount it: Ray's processes hand objects over in it")
    size = shutil.disk_usage(folder).total
    mend = "" if size >= _LEAST_SHARED else "make it larger: docker run --shm-size=8g, or mount -o remount,size=8G"
    return Finding("shared memory", f"{size_told(size)} at {folder}", mend)


def _open_files(most: int) -> Finding:
    is_enough = most == resource.RLIM_INFINITY or most >= _LEAST_FILES
    text = "no limit" if most == resource.RLIM_INFINITY else f"up to {most:,}"
    mend = (
        "" if is_enough else f"raise the hard limit to {_LEAST_FILES:,} or more: ulimit -Hn, or LimitNOFILE of the unit"
    )
    return Finding("open files", text, mend)


def _wandb() -> Finding:
    try:
        check_environment()
    except ValueError as error:
        return Finding("W&B", str(error), "set it right, or unset it")
    mode = wandb_mode()
    why = {"offline": "; with WANDB_API_KEY it would be online", "disabled": ": no run is tracked there"}
    return Finding("W&B", f"{mode}{why.get(mode, '')}")
