"""Why a server cannot listen, and which of its two keys to change."""

import errno


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
