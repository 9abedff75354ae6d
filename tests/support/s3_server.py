"""A bucket of S3 for tests: the user's own (INTERLEAVE_TEST_S3=s3://bucket/prefix), or moto's server as a child."""

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

OWN = "INTERLEAVE_TEST_S3"


@contextmanager
def s3_url() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield a URL below which nothing is yet, and the environment in which it can be reached."""
    if own := os.environ.get(OWN):
        yield f"{own.rstrip('/')}/{uuid.uuid4().hex}", {}
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
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
