"""Checks what an HTTP client reads from the environment, before one is made: proxies, certificates and headers."""

import os
import ssl
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from urllib.parse import urlsplit
from urllib.request import getproxies

from actors.metered.keys import QUOTES

SCHEMES = ("http", "https")
PROXY_SCHEMES = (*SCHEMES, "socks5", "socks5h")
_HEADERS = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS")
"""Variables that the client sends as headers."""


def check_url(url: str, name: str, example: str, schemes: tuple[str, ...] = SCHEMES) -> None:
    """Raise ValueError unless a client can connect to `url`, which comes from the setting or variable `name`."""
    expected = f"expected a URL like {example}"
    if not url.isprintable() or any(character.isspace() or character in QUOTES for character in url):
        raise ValueError(f"{name} holds white space, quotation marks or an unprintable character; {expected}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{name} is {without_login(url)!r} ({error}); {expected}") from None
    if parts.scheme not in schemes or not host or port == 0:
        raise ValueError(f"{name} is {without_login(url)!r}; {expected}")


def check_environment(url: str) -> None:
    """Raise ValueError with the variable that would prevent a client for `url` from being made or from connecting."""
    for variable, url in _proxies():
        check_url(url, variable, "http://proxy:3128 or socks5://proxy:1080", PROXY_SCHEMES)
        if url.startswith("socks") and find_spec("socksio") is None:
            raise ValueError(f"{variable} is a SOCKS proxy, which needs the package socksio: pip install socksio")
    _check_certificates(is_needed=url.startswith("https:"))


def check_headers() -> None:
    """Raise ValueError with the variable that contains what a header must not."""
    for variable in _HEADERS:
        text = os.environ.get(variable, "")
        lines = text.split("\n") if variable == "OPENAI_CUSTOM_HEADERS" else [text]
        if not all(line.isascii() and line.replace("\t", " ").isprintable() for line in lines):
            raise ValueError(
                f"{variable} holds a line break or a character that is not ASCII, which no header may hold; "
                "set it again"
            )


def proxy_for(url: str) -> str:
    """Return the variable and address of the proxy used for `url`, for an error's text; '' if there is none."""
    parts = urlsplit(url)
    found = dict(_proxies(by_scheme=True))
    proxy = found.get(parts.scheme) or found.get("all")
    if proxy is None or urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return ""
    variable = _variable(parts.scheme if parts.scheme in found else "all")
    return f"{variable} {without_login(proxy)}"


def without_login(url: str) -> str:
    """Return a URL without user and password.

    >>> without_login("http://me:secret@proxy:3128/x")
    'http://proxy:3128/x'
    """
    scheme, mark, rest = url.rpartition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"


def _proxies(*, by_scheme: bool = False) -> Iterator[tuple[str, str]]:
    """Yield the proxies that a client would use, as (variable or scheme, URL)."""
    found = getproxies()
    if "*" in (host.strip() for host in found.get("no", "").split(",")):
        return
    for scheme in (*SCHEMES, "all"):
        if proxy := found.get(scheme):
            yield scheme if by_scheme else _variable(scheme), proxy if "://" in proxy else f"http://{proxy}"


def _variable(scheme: str) -> str:
    """Return the variable that names a scheme's proxy, as spelt in the environment: lower case wins."""
    name = f"{scheme}_proxy"
    spelt = [variable for variable, value in os.environ.items() if variable.lower() == name and value]
    return name if name in spelt or not spelt else spelt[-1]


def _check_certificates(*, is_needed: bool) -> None:
    """Raise ValueError for what a client cannot read: a file in any case, a folder only if `is_needed`."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    hint = "unset it to use the system's certificates"
    if file:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
        except OSError as error:  # includes ssl.SSLError
            why = error.strerror if isinstance(error, FileNotFoundError) else str(error)
            raise ValueError(f"SSL_CERT_FILE is {file}: no certificates can be read there ({why}); {hint}") from None
    elif folder and is_needed and not any(map(os.path.isdir, folder.split(os.pathsep))):
        raise ValueError(f"SSL_CERT_DIR is {folder}: there is no such folder; {hint}")
    if (log := os.environ.get("SSLKEYLOGFILE")) and (file or folder):  # otherwise the client does not write it
        try:
            open(log, "ab").close()
        except OSError as error:
            raise ValueError(f"SSLKEYLOGFILE is {log}: it cannot be written ({error.strerror}); unset it") from None
