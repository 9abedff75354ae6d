"""Seeds that depend on what is asked for, never on when it is asked."""

import hashlib


def seed_of(*parts: object) -> int:
    """Return a 31-bit seed from anything printable.

    >>> seed_of(0, "task-7", 3) == seed_of(0, "task-7", 3) != seed_of(0, "task-7", 4)
    True
    """
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
