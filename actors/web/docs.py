"""`/`, `/docs` and `/openapi.json`: the service's interface, for programs and people. The page loads no resources."""

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from actors.web.http_input import Handler
from actors.web.openapi import describe

ABOUT = ("/", "/docs", "/openapi.json")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem }
h2 { margin: 2.5rem 0 0; font-size: 1.15rem } h2 code { font-size: 1.05em }
pre { overflow-x: auto; padding: .75rem; border: 1px solid #8888; border-radius: 4px }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0 }
td { border-top: 1px solid #8884; overflow-wrap: anywhere } td:nth-child(2) { white-space: nowrap }
"""


def index_routes(paths: Iterable[str]) -> list[tuple[str, Handler]]:
    """Return the routes that describe those at `paths`, and themselves."""
    document = describe([*paths, *ABOUT])
    page = _page(document)
    summaries = {
        f"{method.upper()} {path}": operation["summary"]
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }

    async def index(request: Request) -> Response:
        return JSONResponse({"service": document["info"]["title"], "routes": summaries})

    async def docs(request: Request) -> Response:
        return HTMLResponse(page, headers=_HEADERS)

    async def openapi(request: Request) -> Response:
        return JSONResponse(document)

    return list(zip(ABOUT, (index, docs, openapi), strict=True))


def _page(document: Mapping[str, Any]) -> str:
    info = document["info"]
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])}</title>",
        f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style><main>",
        f"<h1>{escape(info['title'])}</h1><p>{escape(info['description'])}</p>",
        "<p>If the service has a key, send it as <code>Authorization: Bearer KEY</code>. "
        "The same for programs: <a href='/openapi.json'>/openapi.json</a>.</p>",
    ]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts += _operation(f"{method.upper()} {path}", operation)
    return "\n".join([*parts, "</main></html>"])


def _operation(name: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{escape(name)}</code></h2><p>{escape(operation['summary'])}. {_prose(operation)}</p>"
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body: <code>{escape(kind)}</code></p><table><tr><th>field<th>type<th>meaning"
        for field, schema in content["schema"]["properties"].items():
            yield f"<tr><td><code>{escape(field)}</code><td>{_type(schema)}<td>{_prose(schema)}"
        yield "</table>"
    for kind, content in operation["responses"]["200"]["content"].items():
        fields = ", ".join(content["schema"].get("properties", ()))
        yield f"<p>Answer: <code>{escape(kind)}</code> {escape(fields)} {_prose(content['schema'])}</p>"
    for sample in operation.get("x-codeSamples", ()):
        yield f"<pre><code>{escape(sample['source'])}</code></pre>"


def _prose(described: Mapping[str, Any]) -> str:
    return escape(described.get("description", "")).replace("`", "")


def _type(schema: Mapping[str, Any]) -> str:
    kind = "file" if schema.get("format") == "binary" else schema["type"]
    return "files" if schema.get("items", {}).get("format") == "binary" else escape(str(kind))
