"""Objects of a bucket, by the package `obstore`: whole or not there at all, and created only where none is yet.

Credentials, region and endpoint come from the environment, as each cloud's own tools name them
(docs/object_storage.md). A client is made once in each process.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

_PATIENT: RetryConfig = {"max_retries": 10, "retry_timeout": timedelta(seconds=120)}
_QUICK: RetryConfig = {"max_retries": 1, "retry_timeout": timedelta(seconds=10)}
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")
"""Environment variables; who names an endpoint with http:// wants no encryption."""
_NEEDS = "needs the package obstore, which is not installed: pip install obstore"

_SERVICE_SAYS = re.compile(r"<Code>([^<]+)</Code>\s*<Message>([^<]+)</Message>")


class BucketError(OSError):
    """A bucket did not do what it was asked for; one line, with its URL."""


class Bucket:
    """What is below a URL. Cheap to create, picklable, safe for threads.

    `is_quick`: give up after a single retry, for what is asked before a run starts, or asked again by the caller.
    """

    def __init__(self, url: str, *, is_quick: bool = False):
        self.url = url
        self._is_quick = is_quick

    def create(self, name: str, data: bytes) -> bool:
        """Create an object; return False if there is one of that name, which stays. Raises BucketError."""
        from obstore.exceptions import AlreadyExistsError

        with self._writing(name):
            try:
                self._client.put(name, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
            return True

    def replace(self, name: str, data: bytes) -> None:
        """Write an object in place of the one of that name, if there is one. Raises BucketError."""
        with self._writing(name):
            self._client.put(name, data, use_multipart=False)

    def read(self, name: str) -> bytes:
        """Return an object's bytes. Raises FileNotFoundError and BucketError."""
        with self._telling(f"read {name}"):
            return bytes(self._client.get(name).bytes())

    def has(self, name: str) -> bool:
        """Whether an object is there. Raises BucketError."""
        with suppress(FileNotFoundError), self._telling(f"look for {name}"):
            self._client.head(name)
            return True
        return False

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the bytes of each object whose name begins with a prefix, by name. Raises BucketError."""
        with self._telling(f"list {prefix}"):
            return {found["path"]: found["size"] for page in self._client.list(prefix) for found in page}

    def remove(self, name: str) -> None:
        """Remove an object. Raises BucketError."""
        with self._writing(name):
            self._client.delete(name)

    @property
    def _client(self) -> ObjectStore:
        return _client(self.url, self._is_quick, os.getpid())

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        try:
            with self._telling(f"write {name}"):
                yield
        except FileNotFoundError as error:
            raise BucketError(f"{self.url}: cannot write {name}: {_first_line(error)}") from None

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        """Turn the library's many errors into one of a line."""
        from obstore.exceptions import BaseError

        try:
            yield
        except FileNotFoundError:
            raise
        except (BaseError, OSError, ValueError) as error:
            raise BucketError(f"{self.url}: cannot {what}: {_first_line(error)}") from None


def check_package(url: str) -> None:
    """Raise ValueError where the package for buckets is missing."""
    try:
        import obstore  # noqa: F401
    except ImportError:
        raise ValueError(f"store is {url}, which {_NEEDS}") from None


def check_bucket(url: str) -> list[str]:
    """Write, read and create an object if none is there, and return what was found, or raise ValueError in seconds.

    Four small requests. A service that ignores the condition of a conditional create would let one of two writers
    overwrite the other's segment, so it is refused.
    """
    check_package(url)
    bucket, name = Bucket(url, is_quick=True), f"checks/{uuid.uuid4().hex}"
    try:
        bucket.create(name, b"1")
        try:
            found = bucket.read(name)
            is_kept = not bucket.create(name, b"2")
        finally:
            with suppress(OSError):  # who may not remove objects can do without
                bucket.remove(name)
    except OSError as error:
        raise ValueError(f"store cannot be used: {error}; {_hint(str(error))}") from None
    if found != b"1" or not is_kept:
        raise ValueError(
            f"store is {url}, whose service overwrites an object that was to be created only if none is there "
            "(If-None-Match: *): two writers would lose rows; use a service that keeps to it"
        )
    return ["writes", "reads", "creates only where nothing is"]


def _hint(told: str) -> str:
    if "NoSuchBucket" in told or "not found" in told.lower():
        return "make the bucket, or correct its name"
    if "169.254.169.254" in told:
        return "the environment has no credentials, and neither has this machine (docs/object_storage.md)"
    return "check the bucket's name, credentials, region and endpoint (docs/object_storage.md)"


def _first_line(error: Exception) -> str:
    """Return what an error says in one line: the service's own words, without the library's dump of its structures."""
    told = str(error).partition("\n\nDebug source")[0]
    if found := _SERVICE_SAYS.search(told):
        return ": ".join(found.groups())
    return " ".join(told.split())[:400]


@lru_cache(maxsize=16)
def _client(url: str, is_quick: bool, pid: int) -> ObjectStore:
    """Return this process's client: a forked child must not share its parent's connections."""
    from obstore.store import from_url

    if url.startswith("file:"):
        return from_url(url, mkdir=True)
    is_plain = any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS)
    limits: ClientConfig = {"connect_timeout": "5s", "timeout": "30s", "allow_http": is_plain}
    return from_url(url, client_options=limits, retry_config=_QUICK if is_quick else _PATIENT)
