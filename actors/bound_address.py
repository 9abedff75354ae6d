"""Where a server listens: what may be said, and which of its two keys to change where it cannot."""

import errno
import ipaddress
import re
from typing import Annotated

from rollout.text.limits import Rule

_LABELS = re.compile(r"([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{0,62}[A-Za-z_-][A-Za-z0-9_-]{0,62}\.?")
"""A host's name; a last label of digits alone is an address that is none."""


def is_host(text: str) -> bool:
    """Whether a text may be an address or a host's name; no URL, and no port.

    >>> [is_host(text) for text in ("127.0.0.1", "::1", "fe80::1%eth0", "node-7.local")]
    [True, True, True, True]
    >>> [is_host(text) for text in ("http://node", "node:80", "[::1]", "256.0.0.1", "a b", "a..b", "")]
    [False, False, False, False, False, False, False]
    """
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return len(text) <= 253 and _LABELS.fullmatch(text) is not None
    return True


Host = Annotated[str, Rule("an address or a host's name, like 127.0.0.1, without http:// and without a port", is_host)]


def why_not_bound(error: OSError, *, host_key: str, port_key: str) -> str:
    """Return why an address cannot be listened on, with what would be right.

    >>> why_not_bound(OSError(98, "Address already in use"), host_key="a.host", port_key="a.port")
    'Address already in use; set a.port to a free one'
    >>> why_not_bound(OSError(-2, "Name or service not known"), host_key="a.host", port_key="a.port")
    'Name or service not known; set a.host to an address of this machine'
    """
    why = (error.strerror or str(error)).partition(" (while attempting")[0]  # Python adds the address
    if error.errno == errno.EADDRNOTAVAIL or (error.errno or 0) < 0:  # below 0: a name was not found
        return f"{why}; set {host_key} to an address of this machine"
    return f"{why}; set {port_key} to a free one{', above 1023' if error.errno == errno.EACCES else ''}"
