"""Texts that strangers answer for: exceptions and values of a user's code may fail to say what they are."""


def writable(text: str) -> str:
    r"""Return a text that can be written anywhere: half a character (a lone surrogate) stands as its code.

    >>> writable("a \ud83d cat 🐈")
    'a \\ud83d cat 🐈'
    """
    return text.encode(errors="backslashreplace").decode()


def error_text(error: BaseException) -> str:
    """Return what an exception says, writable; of one whose `__str__` fails, that it does.

    >>> error_text(KeyError("a"))
    "'a'"
    """
    try:
        return writable(str(error))
    except Exception as failure:
        return _failed("__str__", failure)


def value_text(value: object) -> str:
    """Return the repr of a value, writable; of one whose `__repr__` fails, that it does."""
    try:
        return writable(repr(value))
    except Exception as failure:
        return f"a {type(value).__name__} ({_failed('__repr__', failure)})"


def _failed(method: str, failure: Exception) -> str:
    return f"its {method} raises {type(failure).__name__}"
