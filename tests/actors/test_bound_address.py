"""A server that cannot listen says which of its two keys to change."""

import pytest

from actors.web.config import ServiceConfig
from actors.web.serving import check_address


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_a_host_that_is_no_address_of_this_machine_is_no_port_that_is_taken(host):
    with pytest.raises(ValueError, match=rf"cannot listen on {host}:0: [^(]*; set service\.host to an address of this"):
        check_address(ServiceConfig(host=host, port=0))
