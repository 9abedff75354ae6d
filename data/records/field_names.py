"""A slip in a field's name. A record may hold any further fields, so it would pass for one of those, and be lost."""

import difflib
from functools import lru_cache

from data.errors import RecordError, shown

_ANYWHERE = frozenset({"id", "version"})
"""Fields of every record, whose names are too common as parts of others (idx, conversion) to be guessed at."""
_ALIKE = 0.8
"""`difflib`'s ratio: `rewrite_prompt` and `original_image_path` are slips, `edit_prompt` and `mask_image_path` not."""
_LONGEST = 64
"""Characters of a name that may be a slip."""


def check_names(record: dict[str, object], needed: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
    """Raise `RecordError` for a field that is not known, but named almost like a known one that is not there.

    One without a value (null) says nothing, and a known field that is there, be it null, was meant by no other.
    """
    known = (*needed, *optional)
    absent = tuple(name for name in known if name not in record)
    for name in sorted(record.keys() - _ANYWHERE - set(known)) if absent else ():
        if record[name] is not None and (meant := _meant(name, absent)):
            otherwise = f" (if not, say {meant}: null as well)" if meant in optional else ""
            raise RecordError("unknown_field", f"field {shown(name)} is unknown; did you mean {meant}?{otherwise}")


@lru_cache(maxsize=1024)
def _meant(name: str, absent: tuple[str, ...]) -> str:
    found = difflib.get_close_matches(name.lower(), absent, 1, _ALIKE) if len(name) <= _LONGEST else []
    return found[0] if found else ""
