"""Where a store is: a folder, or a bucket's part of which this machine keeps a copy of what it read and wrote."""

import hashlib
import os
import re
from pathlib import Path

SCHEMES = ("s3", "gs", "az", "file")
"""S3 and all that speak like it, Google Cloud Storage, Azure; `file` is a folder used like a bucket, for tests."""
CACHE_VARIABLE = "INTERLEAVE_STORE_CACHE"
"""Environment variable with the folder for the copies of buckets; without it ~/.cache/interleave/stores."""
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)


def is_bucket(place: Path | str) -> bool:
    """Whether a store is in a bucket.

    >>> [is_bucket(place) for place in ("s3://bucket/runs", "runs/store", "s3/runs")]
    [True, False, False]
    """
    return isinstance(place, str) and _URL.fullmatch(place) is not None


def is_place(place: str) -> bool:
    """Whether a text says where a store can be: a URL needs a scheme that is known, and a bucket.

    >>> [is_place(place) for place in ("runs/store", "gs://bucket", "s3:/bucket", "ftp://bucket/runs", "s3:///runs")]
    [True, True, False, False, False]
    """
    if (url := _URL.fullmatch(place)) is None:
        return re.match(rf"({'|'.join(SCHEMES)}):", place) is None
    return url["scheme"] in SCHEMES and (url["scheme"] == "file" or re.match(r"[^/\s?#]", url["rest"]) is not None)


def placed(place: Path | str) -> str:
    """Return a folder's absolute path, which holds for actors too, and a bucket's URL without a slash at its end."""
    return str(place).rstrip("/") if is_bucket(place) else str(Path(place).absolute())


def folder_of(place: Path | str) -> Path:
    """Return the store's folder on this machine: the store itself, or the copies of a bucket's files."""
    where = placed(place)
    if not is_bucket(where):
        return Path(where)
    named = re.sub(r"[^\w.-]+", "_", where.partition("://")[2])[:60].strip("_")
    base = os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "interleave" / "stores"
    return Path(base).absolute() / f"{named}-{hashlib.sha256(where.encode()).hexdigest()[:12]}"
