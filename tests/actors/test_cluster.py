"""What is said before Ray is started or joined, on machines where neither can be."""

import asyncio
import http.server
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
import ray

from actors import cluster
from actors.cluster import RayNotUp, check_cluster, ray_cluster


def test_a_folder_too_long_for_sockets_is_named_with_its_variable(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/tmp/" + 20 * "a")
    with pytest.raises(ValueError, match=r"^TMPDIR is /tmp/a+, too long .* at most \d\d characters, like /tmp$"):
        check_cluster("")
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    check_cluster("")


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1", "127.0.0.1:x", "local", "ray://"])
def test_an_address_that_is_none_is_named(address):
    with pytest.raises(ValueError, match=f"^ray_address is '{address}'; give a Ray head's host:port"):
        check_cluster(address)


def test_an_address_where_nobody_answers_is_named():
    with pytest.raises(
        ValueError, match=r"^ray_address is 127\.0\.0\.1:1: it cannot be reached \(Connection refused\); give"
    ):
        check_cluster("127.0.0.1:1")


def test_auto_without_a_cluster_says_so(monkeypatch):
    def nobody(address):
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr("ray._private.services.canonicalize_bootstrap_address", nobody)
    with pytest.raises(ValueError, match=r"^ray_address is auto, but no Ray runs on this machine; give"):
        check_cluster("auto")


def test_auto_that_finds_the_trace_of_a_ray_that_is_gone_names_its_address(monkeypatch):
    monkeypatch.setattr("ray._private.services.canonicalize_bootstrap_address", lambda address: "127.0.0.1:1")
    with pytest.raises(ValueError, match=r"^ray_address is auto, which is 127\.0\.0\.1:1 here: it cannot be reached"):
        check_cluster("auto")


def test_a_host_that_does_not_answer_cannot_be_reached(monkeypatch):
    def silent(place, timeout):
        raise TimeoutError("timed out")

    monkeypatch.setattr("socket.create_connection", silent)
    with pytest.raises(
        ValueError, match=r"^ray_address is 10\.9\.9\.9:6379: it cannot be reached \(no answer in 5 s\)"
    ):
        check_cluster("10.9.9.9:6379")


@pytest.mark.slow
def test_another_service_at_the_address_is_told_from_ray(monkeypatch):
    """Slow: it waits for an answer."""
    monkeypatch.setattr(cluster, "_CONNECT_S", 0.5)
    server = http.server.HTTPServer(("", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(ValueError, match="no server there speaks Ray's protocol"):
        check_cluster(f"127.0.0.1:{server.server_port}")
    server.shutdown()


@contextmanager
def head(answer):
    """Serve what clients of a Ray head ask first; yields the address."""
    handler = grpc.unary_unary_rpc_method_handler(answer)
    services = grpc.method_handlers_generic_handler("ray.rpc.NodeInfoGcsService", {"GetClusterId": handler})
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers([services])
    port = server.add_insecure_port("0.0.0.0:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize("status", ["UNIMPLEMENTED", "UNKNOWN"])
def test_another_service_that_speaks_grpc_is_told_from_ray(status):
    with (
        head(lambda request, context: context.abort(grpc.StatusCode[status], "")) as address,
        pytest.raises(ValueError, match="no server there speaks Ray's protocol"),
    ):
        check_cluster(address)


@pytest.mark.slow
def test_a_token_that_a_head_refuses_is_told_before_ray_tries(tmp_path, monkeypatch):
    """Slow: it waits for an answer."""

    def answer(request, context):
        if ("authorization", "Bearer right") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "")
        return b""

    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    with head(answer) as address:
        with pytest.raises(
            ValueError, match=r"^cannot join Ray at ray_address=\S+ it refuses whoever has no token; put"
        ):
            check_cluster(address)
        (tmp_path / "token").write_text("right\n")
        check_cluster(address)
        monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
        with pytest.raises(ValueError, match="refuses the token of this environment; put the cluster's RAY_AUTH_TOKEN"):
            check_cluster(address)
        monkeypatch.setenv("RAY_AUTH_TOKEN", "right")
        check_cluster(address)
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        with pytest.raises(ValueError, match="whoever has no token"):
            check_cluster(address)


def test_a_ray_that_does_not_start_is_one_line_and_nothing_is_left(tmp_path, monkeypatch):
    def broken(**settings):
        raise OSError("AF_UNIX path\nlength cannot exceed 107 bytes")

    def asked(*arguments, **settings):
        raise AssertionError("Ray was asked for, and would have started by itself")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(ray, "init", broken)
    monkeypatch.setattr(ray, "get_runtime_context", asked)
    monkeypatch.setattr(ray, "wait", asked)
    monkeypatch.setenv("PYTHONPATH", os.environ["PYTHONPATH"])

    async def start():
        async with ray_cluster("", 2):
            pass

    with pytest.raises(RayNotUp, match=r"^cannot start Ray: OSError: AF_UNIX path length cannot exceed 107 bytes$"):
        asyncio.run(start())
    assert not ray.is_initialized()
    assert list(Path(tmp_path).iterdir()) == []


def test_a_ray_of_our_own_has_a_token_that_nobody_knows_or_that_of_the_environment(monkeypatch):
    seen = []

    def started(**settings):
        seen.append(os.environ.get("RAY_AUTH_TOKEN", ""))
        raise OSError("enough")

    async def start():
        async with ray_cluster("", 2):
            pass

    monkeypatch.setattr(ray, "init", started)
    monkeypatch.setenv("PYTHONPATH", os.environ["PYTHONPATH"])
    for token in (None, None, "given"):
        monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
        if token:
            monkeypatch.setenv("RAY_AUTH_TOKEN", token)
        with pytest.raises(RayNotUp, match="enough"):
            asyncio.run(start())
    first, second, given = seen
    assert len(first) == len(second) == 64
    assert first != second
    assert given == "given"


def test_a_call_that_comes_after_the_end_fails_instead_of_starting_another_ray(monkeypatch):
    monkeypatch.setattr(cluster, "_start", lambda *_: None)
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray was started"))
    monkeypatch.setenv("PYTHONPATH", os.environ["PYTHONPATH"])

    async def start():
        async with ray_cluster("", 2):
            pass

    asyncio.run(start())
    with pytest.raises(Exception, match=r"ray\.init"):
        ray.put(1)


def test_a_machine_without_bash_is_told_so_before_ray_starts(monkeypatch):
    monkeypatch.setattr(cluster, "_start", lambda *_: pytest.fail("Ray was started"))
    monkeypatch.setenv("PATH", "")

    async def start():
        async with ray_cluster("", 1):
            pass

    for begin in (lambda: asyncio.run(start()), lambda: check_cluster("")):
        with pytest.raises(ValueError, match="Ray starts its workers with bash, which is not on PATH=''"):
            begin()
