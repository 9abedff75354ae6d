"""Strict JSON of a record: UTF-8, no duplicate keys, and a countable error instead of any crash."""

import json
from collections.abc import Callable
from typing import Any

from data.errors import RecordError, shown
from rollout.text.strict_json import DuplicateKeyError, unique_keys

MAX_RECORD = 16 * 2**20
"""Bytes of the largest record that is read; a longer one is an error and is never held in memory."""
BOM = b"\xef\xbb\xbf"


def decode(data: bytes) -> Any:
    """Return the value that `data` encodes. Raises `RecordError` of the kinds encoding, json and duplicate_key.

    NaN and Infinity pass here: the check of their field rejects them by name.
    """
    try:
        text = data.decode().strip(_SPACE)
        value, end = _scan(text, 0)
    except StopIteration:
        raise RecordError("json", "not JSON (expected a value)") from None
    except DuplicateKeyError as error:
        raise RecordError("duplicate_key", f"field {shown(error.key)} stands twice") from None
    except UnicodeDecodeError as error:
        raise RecordError("encoding", f"not UTF-8 (byte {error.start + 1}: {error.reason})") from None
    except RecursionError:
        raise RecordError("json", "not readable JSON (nested too deeply)") from None
    except ValueError as error:
        raise RecordError("json", f"not JSON ({error})") from None
    if end != len(text):
        raise RecordError("json", f"not JSON (there is more after the value, at character {end + 1})")
    return value


def too_long(num_bytes: int) -> RecordError:
    return RecordError("too_long", f"{num_bytes:,} bytes, expected at most {MAX_RECORD:,}")


# The core of `JSONDecoder.decode` without its overhead: this runs once per record.
_scan: Callable[[str, int], tuple[Any, int]] = vars(json.JSONDecoder(object_pairs_hook=unique_keys))["scan_once"]
_SPACE = " \t\n\r"
