"""The process of a local judge: vLLM's OpenAI server, which does not outlive the process that started it.

Run as `python -m actors.judge.vllm_child <arguments of vllm's server>`, first of its process group.
"""

import sys
import threading
from importlib.metadata import version

from actors.lscpu import replace_missing_lscpu
from actors.servers.guard import die_with_owner


def _adapt_to_cpu() -> None:
    # A model class is looked at in a subprocess, for CUDA's sake; that one would lack `actors.cpu_torch`.
    from vllm.model_executor.models import registry

    registry._run_in_subprocess = lambda function: function()


# vLLM's own children import this module again, as `__mp_main__`: they need the same torch.
if __name__ in ("__main__", "__mp_main__"):
    replace_missing_lscpu()
    if version("torch").endswith("+cpu"):
        _adapt_to_cpu()

if __name__ == "__main__":
    threading.Thread(target=die_with_owner, daemon=True).start()
    from vllm.entrypoints.launchers.api_server.entry import main

    sys.argv[0] = "vllm"
    main()
