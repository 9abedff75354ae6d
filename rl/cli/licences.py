"""The command `interleave licences`: under what all that is installed with us may be used."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from rl.cli.arguments import Parser, add_command

NOT_HERE = "not installed here"


def add_licences_command(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command to the command line's parser."""
    licences = add_command(
        commands, "licences", _licences, "say under what licence each package of the lock file is, as it says itself"
    )
    licences.add_argument("--markdown", action="store_true", help="as docs/licences.md has them")


def _licences(chosen: argparse.Namespace) -> int:
    from rl.doctor.machine import lock_file

    lines = markdown(lock_file()) if chosen.markdown else map("  ".join, of_lock(lock_file()))
    print("\n".join(lines))
    return 0


def of_lock(lock: Path) -> Iterator[tuple[str, str, str]]:
    """Yield name, version and licence of each package that the lock file names. Raises ValueError without one."""
    if not lock.is_file():
        raise ValueError(f"there is no {lock}, which names what is installed with us")
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE):
        try:
            said = metadata(name)
        except PackageNotFoundError:
            yield name, version, NOT_HERE
            continue
        yield name, version, licence_of(said.get_all("License-Expression"), said.get_all("Classifier"), said["License"])


def licence_of(expressions: list[str] | None, classifiers: list[str] | None, text: str | None) -> str:
    """Return a licence out of metadata: its expression, else its classifiers, else the first line of its text.

    >>> licence_of(None, ["Programming Language :: C", "License :: OSI Approved :: MIT License"], "see LICENSE")
    'MIT License'
    """
    if expressions:
        return expressions[0]
    classified = [one.rpartition(" :: ")[2] for one in classifiers or [] if one.startswith("License :: ")]
    return ", ".join(classified) or (text or "").strip().partition("\n")[0][:80] or "not said: see its files"


def markdown(lock: Path) -> Iterator[str]:
    """Yield the lines of docs/licences.md."""
    yield "# Licences of what is installed with it"
    yield ""
    yield "InterleaveThinker is under [Apache-2.0](../LICENSE), the embedded data and weights included"
    yield "([NOTICE](../NOTICE)). It is installed with the packages below, each under its own licence. Written by"
    yield "`interleave licences --markdown` on a machine without a GPU, from what the packages say of themselves; the"
    yield f"command tells it of yours. *{NOT_HERE}*: for GPUs or other platforms alone. Models and data sets of others"
    yield "have terms of their own, which their pages on the hub say."
    yield from ("", "| package | version | licence |", "|---|---|---|")
    for name, version, licence in of_lock(lock):
        yield f"| {name} | {version} | {licence.replace('|', '/')} |"
