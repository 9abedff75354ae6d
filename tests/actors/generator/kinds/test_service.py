"""What answers where a service of our own should be, and is none: told with what it says of itself."""

import asyncio
import json

import pytest

from actors.config import GeneratorConfig
from actors.generator.generator import Generator


def started(folder, status, body):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        data = body.encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)
        writer.close()

    async def scenario():
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            await Generator.start(GeneratorConfig(name="service", base_url=url, num_replicas=0), folder)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (200, "{}", "GET /status says {}"),
        (200, "[1]", r"GET /status says '\[1\]'"),
        (200, json.dumps({"detail": "warming up"}), "GET /status says detail: 'warming up'"),
        (
            200,
            json.dumps({"model": "m", "generator": {"modes": ["fly"]}}),
            "GET /status says {'model': 'm', 'generator': ",
        ),
        (200, "", "the endpoint sent an empty answer"),
        (404, json.dumps({"detail": "Not Found"}), "HTTP 404: detail: 'Not Found'"),
    ],
)
def test_what_is_no_service_is_told_by_what_it_says(tmp_path, status, body, told):
    with pytest.raises(ValueError, match=rf"^generator.base_url is http://.*: no service answers there \({told}"):
        started(tmp_path, status, body)
