"""A page for this machine alone: who is let in, and what every answer carries."""

import http.client
import threading

import pytest

from actors.web.loopback import LoopbackServer, Reply

TOKEN = "only-i-know"


def answer(path, query):
    if path == "broken":
        raise RuntimeError("hidden from the page")
    return None if path == "nothing" else Reply(f"{path} {dict(query)}".encode(), is_fixed=path == "fixed")


@pytest.fixture
def server():
    with LoopbackServer(answer, token=TOKEN) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def ask(server, path, method="GET", **headers):
    host, port = server.server_address
    connection = http.client.HTTPConnection(host, port, timeout=10)
    connection.request(method, path, headers=headers)
    reply = connection.getresponse()
    body = reply.read().decode()
    connection.close()
    return reply, body


def test_the_token_lets_in_and_nothing_else_does(server):
    assert server.url == f"http://127.0.0.1:{server.server_address[1]}/{TOKEN}/"
    reply, body = ask(server, f"/{TOKEN}/data?since=1.2")
    assert (reply.status, body) == (200, "data {'since': '1.2'}")
    for path in (
        "/",
        "/data",
        "/wrong/data",
        f"/{TOKEN}x/data",
        f"/x/{TOKEN}/data",
        f"/?token={TOKEN}",
        f"/%00{TOKEN}/",
        "/%C3%A9/",
        "//[",
    ):
        reply, body = ask(server, path)
        assert reply.status == 403, path
        assert TOKEN not in body


def test_a_strangers_name_for_this_machine_is_refused(server):
    for host, status in [("localhost:9999", 200), ("127.0.0.1", 200), ("evil.example", 403), ("", 403), ("[::", 403)]:
        assert ask(server, f"/{TOKEN}/data", Host=host)[0].status == status, host


@pytest.mark.parametrize(("path", "status"), [("data", 200), ("nothing", 404), ("broken", 500)])
def test_every_answer_keeps_a_page_to_this_server(server, path, status, capsys):
    reply, body = ask(server, f"/{TOKEN}/{path}")
    assert reply.status == status
    assert reply.getheader("Content-Security-Policy").startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in reply.getheader("Content-Security-Policy")
    assert reply.getheader("X-Content-Type-Options") == "nosniff"
    assert reply.getheader("Referrer-Policy") == "no-referrer"
    assert reply.getheader("Cache-Control") == "no-store"
    assert "hidden" not in body
    assert ("hidden from the page" in capsys.readouterr().err) == (status == 500)


def test_only_reading_is_offered(server):
    assert ask(server, f"/{TOKEN}/data", method="POST")[0].status == 501
    reply, body = ask(server, f"/{TOKEN}/fixed", method="HEAD")
    assert (reply.status, body) == (200, "")
    assert "immutable" in reply.getheader("Cache-Control")


def test_it_listens_on_the_loopback_address_and_says_when_a_port_is_taken(server):
    host, port = server.server_address
    assert host == "127.0.0.1"
    for wrong in (port, 70_000):
        with pytest.raises(ValueError, match=f"port {wrong} of 127.0.0.1 cannot be served"):
            LoopbackServer(answer, port=wrong)
    with LoopbackServer(answer) as another:
        assert len(another.token) >= 32
