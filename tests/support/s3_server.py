"""A bucket of S3 for tests: the user's own (INTERLEAVE_TEST_S3=s3://bucket/prefix), or moto's server as a child.

moto's botocore wants an older python-dateutil than requirements.lock has, so it may be in an environment of its own:
INTERLEAVE_MOTO_PYTHON names its interpreter.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

OWN, MOTO = "INTERLEAVE_TEST_S3", "INTERLEAVE_MOTO_PYTHON"


def why_not() -> str:
    """Return why there is no S3 to test against; empty if there is one."""
    if OWN in os.environ or MOTO in os.environ or find_spec("moto") is not None:
        return ""
    return f"no S3: set {OWN}=s3://bucket/prefix, or {MOTO} to a python with moto[server]"


@contextmanager
def s3_url() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield a URL below which nothing is yet, and the environment in which it can be reached."""
    if own := os.environ.get(OWN):
        yield f"{own.rstrip('/')}/{uuid.uuid4().hex}", {}
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [os.environ.get(MOTO, sys.executable), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            endpoint = f"http://127.0.0.1:{port}"
            _make_bucket(f"{endpoint}/runs")
            yield (
                f"s3://runs/{uuid.uuid4().hex}",
                {
                    "AWS_ENDPOINT_URL": endpoint,
                    "AWS_ACCESS_KEY_ID": "test",
                    "AWS_SECRET_ACCESS_KEY": "test",
                    "AWS_REGION": "us-east-1",
                },
            )
        finally:
            server.kill()


def _make_bucket(url: str) -> None:
    """Make a bucket as soon as the server is up."""
    until = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=30):
                return
        except (urllib.error.URLError, ConnectionError) as error:
            if time.monotonic() > until:
                raise AssertionError(f"moto's server is not up: {error}") from None
            time.sleep(0.2)
