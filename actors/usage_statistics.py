"""What libraries tell their makers about use and crashes: nothing, unless the environment asks for it by name."""

import os
from collections.abc import MutableMapping

OFF = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "WANDB_ERROR_REPORTING": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Each library's own variable -> its value that switches them off."""


def switch_off(environ: MutableMapping[str, str] = os.environ) -> None:
    """Switch off what no variable asks for; this process's children, Ray's workers among them, inherit it.

    >>> there = {"RAY_USAGE_STATS_ENABLED": "1"}
    >>> switch_off(there)
    >>> there["RAY_USAGE_STATS_ENABLED"], there["VLLM_NO_USAGE_STATS"]
    ('1', '1')
    """
    for name, value in OFF.items():
        environ.setdefault(name, value)
