"""What the parsers of all commands share."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from rollout.text.limits import nearest

_AUTO_RESUME = "--auto-resume"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, with the command that was meant."""

    def error(self, message: str) -> NoReturn:
        """Leave with code 2."""
        self.exit(2, f"{self.prog.split()[0]}: {message}; see {self.prog} --help\n")

    def refuse(self, unknown: list[str]) -> NoReturn:
        """Leave for arguments that the command does not know."""
        hint = nearest(unknown[0].partition("=")[0], self._option_string_actions)
        self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            known = list(action.choices)
            commands = f"the commands are {', '.join(known)}"
            self.error(f"unknown command {value!r}{nearest(str(value), known)}; {commands}")
        super()._check_value(action, value)


def add_command(
    commands: argparse._SubParsersAction[Parser], name: str, run: Callable[[argparse.Namespace], int], text: str
) -> Parser:
    """Add a command that calls `run` with what was chosen."""
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=run, parser=parser)
    return parser


def add_group(commands: argparse._SubParsersAction[Parser], name: str, text: str) -> argparse._SubParsersAction[Parser]:
    """Add a command that has commands of its own, one of which has to be said."""
    group = commands.add_parser(name, help=text, description=text)
    return group.add_subparsers(metavar="command", required=True)


def add_resume(parser: argparse.ArgumentParser, text: str) -> None:
    """Add --resume and --resume auto, and what a job that goes on may have changed."""
    parser.add_argument("--resume", action="store_true", help=text)
    parser.add_argument(_AUTO_RESUME, dest="resume", action="store_const", const="auto", help=argparse.SUPPRESS)
    add_accept_changed(parser)


def add_accept_changed(parser: argparse.ArgumentParser) -> None:
    """Add what a job that goes on may have changed."""
    parser.add_argument(
        "--accept-changed",
        action="append",
        default=[],
        metavar="KEY",
        help="go on although this has changed since the start, like judge.model; may be repeated; it is written down",
    )


def add_trust_code(
    parser: argparse.ArgumentParser, text: str = "run code that comes with a bundle, and ask its servers"
) -> None:
    """Add the option that lets a folder, which may be a stranger's, run what it brings."""
    parser.add_argument("--trust-code", action="store_true", help=text)


def with_auto_resume(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with `--resume auto` as one: an option with a value would swallow what else follows it.

    >>> with_auto_resume(["train", "--resume", "auto", "a.yaml"])
    ['train', '--auto-resume', 'a.yaml']
    """
    given = "\0".join(["", *arguments, ""])
    for spelled in ("--resume\0auto", "--resume=auto"):
        given = given.replace(f"\0{spelled}\0", f"\0{_AUTO_RESUME}\0")
    return given.split("\0")[1:-1]


def store_place(text: str) -> Path | str:
    """Read where a store is: a bucket's URL, or a folder."""
    from actors.store.place import is_bucket

    return text if is_bucket(text) else file_path(text)


def file_path(text: str) -> Path:
    """Read a file's or folder's path, with `~` for the home folder."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty; expected a file or a folder")
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is a URL; expected a file or a folder")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise argparse.ArgumentTypeError(f"{text!r} begins with the home folder of a user who does not exist") from None


def whole_number(text: str) -> int:
    """Read a whole number of 0 or more."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}; expected a whole number, 0 or more")
    return int(text)


def port_number(text: str) -> int:
    """Read a port, 0 for a free one."""
    if not text.isascii() or not text.isdigit() or int(text[:6]) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a port from 0 to 65535")
    return int(text)


def positive_whole_number(text: str) -> int:
    """Read a whole number of 1 or more."""
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r}; expected a whole number, 1 or more")
    return int(text)


def positive_number(text: str) -> float:
    """Read a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a number above 0")
    return number


def share(text: str) -> float:
    """Read a share, 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a share, 0 to 1")
    return number


def score(text: str) -> float:
    """Read a judge's score, above 0 and at most 10."""
    number = positive_number(text)
    if number > 10:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a judge's score, above 0 and at most 10")
    return number


def numbers(text: str) -> list[int]:
    """Read numbers with commas between them.

    >>> numbers("1,3,5")
    [1, 3, 5]
    """
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; expected whole numbers with commas between, like 0,1,2") from None
    if len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"{text!r} has a number twice; expected each once")
    return found
