"""Addresses that redirect: an HTTP client makes a POST a GET on the way, which no endpoint understands."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from actors.metered.environment import without_login

if TYPE_CHECKING:
    import httpx

_GET_INSTEAD = (301, 302, 303)
"""Statuses whose redirect is followed by a GET without a body (RFC 9110, 15.4); 307 and 308 keep the request."""


class RequestLost(Exception):
    """The address redirects, and what was to be sent there would be lost on the way."""


async def refuse_lost_request(base_url: str, response: httpx.Response) -> None:
    """Raise `RequestLost` for a redirect of a POST that would go on as a GET; the client's hook, before it follows."""
    target = response.headers.get("location")
    if target is None or response.request.method != "POST" or response.status_code not in _GET_INSTEAD:
        return
    asked = str(response.url)
    with suppress(ValueError):  # of what is no address: it is told as it is
        target = urljoin(asked, target)
    said = f"HTTP {response.status_code}: {without_login(asked)} redirects to {without_login(target)}"
    # What the interface adds to base_url, such as /chat/completions.
    ending = asked.removeprefix(base_url.rstrip("/"))
    if ending and ending != asked and target.endswith(ending):
        said += f"; set base_url to {without_login(target.removesuffix(ending))}"
    raise RequestLost(said)
