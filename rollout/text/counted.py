"""A number of things in words."""


def counted(number: int, noun: str) -> str:
    """Return how many of something there are.

    >>> counted(1, "step"), counted(1024, "held-out record")
    ('1 step', '1,024 held-out records')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
