"""Lines for the user on stderr: what a job does about something that it goes on in spite of."""

import sys


def notify(line: str) -> None:
    """Print a line at once, with the name of the command before it."""
    print(f"interleave: {line}", file=sys.stderr, flush=True)
