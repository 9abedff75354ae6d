"""Our packages have everyday names: they win over modules of the working folder, and what breaks them is named."""

import os
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from rewards.functions.import_path import OWN_PACKAGES

_ROOT = str(Path(__file__).resolve().parents[2])
_OURS = "interleave-thinker"


def put_first() -> None:
    """Have ours imported before what stands in the working folder, and that before what is installed.

    Raises ValueError where there is no working folder.
    """
    try:
        here = os.getcwd()
    except FileNotFoundError:
        raise ValueError("the working folder is not there any more: change to one that is") from None
    sys.path[:] = [*dict.fromkeys([_ROOT, here]), *(path for path in sys.path if path not in ("", here, _ROOT))]


def clash_of(error: ImportError) -> str:
    """Name the distribution that overwrote one of our packages, which cannot be imported; empty if none did.

    >>> clash_of(ImportError("no such thing", name="json"))
    ''
    """
    package = (error.name or "").partition(".")[0]
    if package not in OWN_PACKAGES:
        return ""
    owners = sorted(set(packages_distributions().get(package, [])) - {_OURS})
    if not owners:
        return ""
    return (
        f"cannot import {error.name}: the package {package!r} is also installed by {', '.join(owners)}, which took its "
        f"place; use an environment without {owners[0]}"
    )
