"""TRL's environment: packages of this one, so that torch and transformers are the same, and TRL itself beside them."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

TRL = "trl==1.16.0"
"""Installed by itself: all that it requires, this environment has."""


class NotInstalled(RuntimeError):
    """TRL's environment cannot be made; says why, and what to do."""


def trl_python(folder: Path) -> Path:
    """Return the interpreter of TRL's environment, which is made in `folder` unless it is there.

    Raises `NotInstalled`.
    """
    python = folder / "bin" / "python"
    is_there = _has_trl(python)
    if not is_there:
        venv.create(folder, with_pip=False, clear=True)
    _share_packages(folder)
    if not is_there:
        _install(python)
    return python


def _share_packages(folder: Path) -> None:
    """Let the environment see the packages of this one; another checkout's may have made it, and be gone."""
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    # addsitedir reads the environment's own .pth files, too: among them what lets a CPU build of torch work.
    (packages / "shared.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")


def _install(python: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", TRL]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode or not _has_trl(python):
        why = (done.stderr.strip() or "it cannot be imported").splitlines()[-1]
        raise NotInstalled(
            f"{TRL} cannot be installed into {python.parent.parent}: {why}; it needs an index of packages that has it "
            "(pip's --index-url or PIP_FIND_LINKS), and a Python with pip"
        )


def _has_trl(python: Path) -> bool:
    name, _, wanted = TRL.partition("==")
    ask = f"from importlib.metadata import version; print(version({name!r}))"
    try:
        found = subprocess.run([str(python), "-c", ask], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return found.stdout.strip() == wanted
