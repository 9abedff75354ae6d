"""What keeps a client from being made is found before anything starts, in one line that names the variable or key."""

import asyncio
import json
import os
import re

import pytest
from PIL import Image

from actors.config import GeneratorConfig, JudgeConfig
from actors.generator.kind import check_generator
from actors.judge.judge import check_judge
from actors.judge.openai_asker import start_asker
from actors.judge.question import Question
from actors.metered import environment
from actors.metered.config import EndpointConfig
from actors.metered.connections import check_connections, connect
from actors.metered.keys import Secret, read_key, why_no_key
from actors.metered.retry import CallError
from actors.store.store import Store
from tests.support.scripted_endpoint import GOOD, ScriptedEndpoint

HTTPS = "https://host/v1"


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("SSL", "OPENAI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("A_KEY", "sk-of-the-test")


def judge(**changes):
    return JudgeConfig(**{"kind": "openai", "model": "m", "base_url": HTTPS, "api_key_env": "A_KEY"} | changes)


def refusal(config=None):
    """Return the line that says why a judge cannot be asked; `config` may be what makes it, and be refused there."""
    with pytest.raises(ValueError, match=r"^[^\n]+\Z") as caught:
        check_judge(config() if callable(config) else config or judge())
    return str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SSL_CERT_FILE", "/no/such/file.pem"),
        ("SSL_CERT_FILE", __file__),
        ("SSL_CERT_FILE", "/tmp"),
        ("SSL_CERT_DIR", "/no/such/folder"),
        ("HTTP_PROXY", "socks4://proxy:1080"),
        ("ALL_PROXY", "ftp://proxy:21"),
        ("all_proxy", "http://proxy:port"),
        ("HTTPS_PROXY", "http://[::1"),
        ("https_proxy", "http://"),
        ("HTTP_PROXY", " http://proxy:3128"),
        ("HTTP_PROXY", "http://proxy:3128\n"),
        ("HTTP_PROXY", "http://proxy:99999"),
        ("HTTP_PROXY", "http://“proxy”:3128"),
        ("OPENAI_ORG_ID", "org-“x”"),
        ("OPENAI_PROJECT_ID", "proj\nx"),
        ("OPENAI_CUSTOM_HEADERS", "X-Team: rößle"),
    ],
)
def test_the_variable_is_named(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    assert refusal().startswith(variable)


def test_a_file_for_tls_keys_that_cannot_be_written_is_named(monkeypatch):
    import certifi

    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    check_judge(judge())
    monkeypatch.setenv("SSLKEYLOGFILE", "/no/such/folder/keys.log")
    assert refusal().startswith("SSLKEYLOGFILE is /no/such/folder/keys.log")


def test_a_socks_proxy_without_its_package_is_named(monkeypatch):
    monkeypatch.setattr(environment, "find_spec", lambda name: None)
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy:1080")
    assert refusal().startswith("ALL_PROXY is a SOCKS proxy")


def test_a_proxys_password_is_not_shown(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "socks4://me:hush@proxy:1080")
    assert "hush" not in refusal()
    assert "socks4://proxy:1080" in refusal()


@pytest.mark.parametrize(
    "variables",
    [
        {"HTTP_PROXY": "proxy:3128"},
        {"HTTPS_PROXY": "http://me:hush@proxy:3128"},
        {"ALL_PROXY": "socks5://proxy:1080"},
        {"ALL_PROXY": "socks5h://proxy:1080"},
        {"HTTP_PROXY": "", "SSL_CERT_FILE": ""},
        {"NO_PROXY": "localhost,::1,[::1]:80,10.0.0.0/8,*.example.org,host:port,http://[::1, a b"},
        {"NO_PROXY": "*", "HTTP_PROXY": "socks4://not:used"},
        {"OPENAI_CUSTOM_HEADERS": "X-Team: a\nX-Other: b"},
    ],
)
def test_what_a_client_can_be_made_of_is_taken(monkeypatch, variables):
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    check_judge(judge())


def test_an_endpoint_in_the_own_network_minds_no_proxy(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "socks4://proxy:1080")
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file.pem")
    check_judge(judge(endpoints=[EndpointConfig(base_url=HTTPS, api_key_env="A_KEY", has_proxy=False)]))


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000/v1",
        "127.0.0.1:8000",
        "http//host/v1",
        "http://",
        "https:///v1",
        "htp://host/v1",
        "http://host:port/v1",
        "http://host:99999/v1",
        "http://host:0/v1",
        "http://[::1",
        " http://host/v1",
        "http://host/v1\n",
        "http://ho st/v1",
        "http://“host/v1”",
        '"http://host/v1"',
        "unix:///run/judge.sock",
        "socks5://host/v1",
        "",
    ],
)
def test_a_base_url_that_is_none_is_refused(monkeypatch, url):
    assert "judge.base_url" in refusal(lambda: judge(base_url=url))
    several = refusal(lambda: judge(endpoints=[EndpointConfig(HTTPS, "A_KEY"), EndpointConfig(url, "A_KEY")]))
    assert re.search(r"endpoints(\.1)?\.base_url", several)
    with pytest.raises(ValueError, match=r"generator\.base_url"):
        check_generator(GeneratorConfig(name="openai-images", model="m", base_url=url or "x", api_key_env="A_KEY"))
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    assert refusal(judge(base_url=None)).startswith("OPENAI_BASE_URL")


def test_an_environment_that_differs_where_the_client_is_made_is_not_blamed_on_an_image(monkeypatch, tmp_path):
    image = Store(tmp_path).put_image(Image.new("RGB", (8, 8)))

    async def scenario():
        asker = await start_asker(judge(num_replicas=0), tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file.pem")
        await asker.ask(Question("<image>", (image,)))

    with pytest.raises(CallError, match=r"^not_made: FileNotFoundError"):
        asyncio.run(scenario())


def ask(folder, url, **changes):
    image = Store(folder).put_image(Image.new("RGB", (8, 8)))

    async def scenario():
        asker = await start_asker(judge(base_url=url, num_replicas=0, num_attempts=1, **changes), folder)
        return await asker.ask(Question("<image>", (image,)))

    return asyncio.run(scenario())


@pytest.mark.slow
@pytest.mark.parametrize("proxy", ["http://me:hush@127.0.0.1:1", "socks5://127.0.0.1:1"])
def test_a_proxy_that_does_not_answer_is_named(monkeypatch, tmp_path, proxy):
    """Slow: it waits for a proxy."""
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(CallError, match=r"^unreachable: .*by the proxy in HTTP_PROXY \w+://127\.0\.0\.1:1\)") as caught:
        ask(tmp_path, "http://judge.invalid/v1")
    assert "hush" not in str(caught.value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(CallError, match="unreachable") as caught:
        ask(tmp_path, "http://127.0.0.1:1/v1")
    assert "proxy" not in str(caught.value)


async def relay(reader, writer):
    """Play a SOCKS5 proxy (RFC 1928) that needs no login."""
    _, num_methods = await reader.readexactly(2)
    await reader.readexactly(num_methods)
    writer.write(b"\x05\x00")
    _, _, _, kind = await reader.readexactly(4)
    size = 4 if kind == 1 else (await reader.readexactly(1))[0]
    host = await reader.readexactly(size)
    port = int.from_bytes(await reader.readexactly(2))
    name = ".".join(map(str, host)) if kind == 1 else host.decode()
    there, back = await asyncio.open_connection("127.0.0.1" if name == "judge.invalid" else name, port)
    writer.write(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")

    async def pump(source, target):
        while data := await source.read(65536):
            target.write(data)
        target.close()

    await asyncio.gather(pump(reader, back), pump(there, writer))


def test_a_judge_is_asked_through_a_socks_proxy(monkeypatch, tmp_path):
    image = Store(tmp_path).put_image(Image.new("RGB", (8, 8)))

    async def scenario():
        proxy = await asyncio.start_server(relay, "127.0.0.1", 0)
        async with ScriptedEndpoint() as server:
            monkeypatch.setenv("ALL_PROXY", f"socks5h://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
            config = judge(base_url=f"http://judge.invalid:{server.port}/v1", num_replicas=0)
            asker = await start_asker(config, tmp_path)
            answer = await asker.ask(Question("<image>", (image,)))
            proxy.close()
            return answer

    assert asyncio.run(scenario())["reasoning"] == GOOD["reasoning"]


@pytest.mark.parametrize(
    "key",
    [
        "sk-“secret”",
        "‘sk-secret’",
        "sk-sec\nret",
        "sk-secret\n",
        "sk-secret\r",
        " sk-secret",
        "sk-secret\t",
        "sk-sécret",
        "sk-sec\u200bret",
        "sk-sec\x00ret".replace("\x00", "\x01"),
        '"sk-secret"',
        "'sk-secret'",
        "sk-secret\u00a0",
    ],
)
def test_a_key_that_can_be_none_is_refused_without_being_shown(monkeypatch, key):
    monkeypatch.setenv("A_KEY", key)
    for check in (
        lambda: check_judge(judge()),
        lambda: check_generator(GeneratorConfig(name="openai-images", model="m", base_url=HTTPS, api_key_env="A_KEY")),
    ):
        with pytest.raises(ValueError, match="key in A_KEY") as caught:
            check()
        assert "sec" not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["none", "EMPTY", "any text for a server without keys", "sk-proj-A1_b2-C3", "a=b+c/d"])
def test_keys_as_they_are(key):
    assert why_no_key(key) == ""


@pytest.mark.parametrize("name", ["sk-proj-0123456789", "0123abcdef", "Abc123def456"])
def test_a_key_in_the_place_of_its_variable_is_not_shown(name):
    with pytest.raises(ValueError, match=r"^judge\.api_key_env names no environment variable") as caught:
        read_key(name, "judge")
    assert name not in str(caught.value)


def test_a_members_own_section_is_named(monkeypatch):
    def ensemble(*urls):
        members = [{"kind": "openai", "model": "m", "base_url": url, "api_key_env": "A_KEY"} for url in urls]
        return JudgeConfig(kind="ensemble", members=members)

    assert refusal(lambda: ensemble(HTTPS, "host")).startswith("judge.members.1.base_url is 'host'")
    jury = ensemble(HTTPS, HTTPS)
    monkeypatch.delenv("A_KEY")
    assert refusal(jury).startswith("judge.members.0: the key is missing: set the environment variable A_KEY ")


@pytest.mark.parametrize("name", ["MY_KEY", "my_key", "KEY2"])
def test_a_variable_that_is_not_set_is_named(name):
    with pytest.raises(ValueError, match=f"set the environment variable {name} "):
        read_key(name, "judge")


def test_neither_a_key_nor_a_login_is_part_of_what_is_shown_of_an_endpoint():
    settings = EndpointConfig("http://me:hush@127.0.0.1:8000/v1", "A_KEY", model="m", max_concurrency=1)
    check_connections([settings], "judge", are_listed=False)
    endpoint = connect(settings, Secret("sk-of-the-test"), 1.0)
    assert str(endpoint.name) == "127.0.0.1:8000 with A_KEY"
    assert "sk-of" not in repr(endpoint)
    assert json.dumps(endpoint.name)


def test_placeholders_are_not_hidden_in_what_is_said():
    assert Secret("none").hidden_in("none of them") == "none of them"
    assert Secret("sk-secret").hidden_in("bad sk-secret!") == "bad ***!"
    assert Secret("sk-secret").hidden_in("said sk-secret", is_answer=True) == "said sk-secret"
