"""JSON of a record, read strictly: UTF-8, no key twice, and an error that counts instead of any crash."""

from __future__ import annotations

import json
from typing import Any

from data.errors import RecordError, shown
from rollout.text.strict_json import DuplicateKeyError, unique_keys

MAX_RECORD = 16 * 2**20
"""Bytes of the largest record that is read; a longer one is an error, not a memory."""
BOM = b"\xef\xbb\xbf"


def decode(data: bytes) -> Any:
    """Return the value that `data` says. Raises `RecordError` of the kinds encoding, json and duplicate_key.

    NaN and Infinity pass: the field that holds one refuses it by name.
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
        raise RecordError("json", "not JSON that can be read (nested too deep)") from None
    except ValueError as error:
        raise RecordError("json", f"not JSON ({error})") from None
    if end != len(text):
        raise RecordError("json", f"not JSON (more stands behind the value, at character {end + 1})")
    return value


def too_long(num_bytes: int) -> RecordError:
    return RecordError("too_long", f"{num_bytes:,} bytes, expected at most {MAX_RECORD:,}")


# What `JSONDecoder.decode` calls, without what it does around it: this runs once a record.
_scan: Any = json.JSONDecoder(object_pairs_hook=unique_keys).scan_once  # type: ignore[attr-defined]  # it is undocumented
_SPACE = " \t\n\r"
