"""What the parsers of all commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def add_command(
    commands: argparse._SubParsersAction, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """Add a command that calls `run` with what was chosen."""
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=run)
    return parser


def numbers(text: str) -> list[int]:
    """Read numbers with commas between them.

    >>> numbers("1,3,5")
    [1, 3, 5]
    """
    return [int(part) for part in text.split(",")]
