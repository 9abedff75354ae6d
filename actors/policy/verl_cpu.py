"""verl on a machine without GPUs: a platform whose device is the CPU and whose collectives are gloo.

verl 0.9 supports CUDA and similar devices and silently assumes "cuda" if it finds none. `install()` uses
verl's own plug-in point (`PlatformRegistry`); `start_gloo()` works around the one place that
composes a process-group backend which torch refuses (`cpu:gloo,cpu:gloo`).
"""

import contextlib
import os
import types
from collections.abc import Iterator

import torch
from verl.plugin.platform import PlatformBase, PlatformRegistry, get_platform, set_platform

_GIB = 1 << 30
_NAME = "cpu"
_is_installed = False


class _CpuDeviceModule(types.ModuleType):
    """Replaces `torch.cuda`: memory counters read 0, everything else is `torch.cpu`."""

    _ZERO = frozenset({"max_memory_allocated", "max_memory_reserved", "memory_allocated", "memory_reserved"})
    _NOTHING = frozenset({"empty_cache", "ipc_collect", "reset_peak_memory_stats", "manual_seed", "manual_seed_all"})

    def __getattr__(self, name: str) -> object:
        if name in self._ZERO:
            return lambda *args, **kwargs: 0
        if name in self._NOTHING:
            return lambda *args, **kwargs: None
        if name == "mem_get_info":
            return lambda *args, **kwargs: (8 * _GIB, 16 * _GIB)
        if name == "get_device_name":
            return lambda *args, **kwargs: _NAME
        # verl itself saves the CPU's generator; the device's would be a second copy of it.
        if name == "get_rng_state":
            return lambda *args, **kwargs: torch.get_rng_state()
        if name == "set_rng_state":
            return lambda *args, **kwargs: None
        return getattr(torch.cpu, name)


_DEVICE_MODULE = _CpuDeviceModule("cpu_device_module")


@PlatformRegistry.register(platform=_NAME)
class CpuPlatform(PlatformBase):
    """verl's device interface, implemented for the CPU."""

    device_name = property(lambda self: _NAME)
    vendor_name = property(lambda self: _NAME)
    device_module = property(lambda self: _DEVICE_MODULE)

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        return not torch.cuda.is_available()

    def current_device(self) -> torch.device:
        return torch.device(_NAME)

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None: ...

    def synchronize(self, device_index: int | None = None) -> None: ...

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None: ...

    def empty_cache(self) -> None: ...

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    @contextlib.contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield

    def profiler_start(self) -> None: ...

    def profiler_stop(self) -> None: ...

    # A driver without a GPU may place ranks that have one, so the resource keeps its GPU name.
    def ray_resource_name(self) -> str:
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        return False

    def cudart(self) -> None:
        return None


def install() -> None:
    """Make verl use the CPU in this process, unless it sees a GPU. Call before verl's engines are imported."""
    global _is_installed
    if torch.cuda.is_available() or _is_installed:
        return
    _is_installed = True
    os.environ.setdefault("VERL_LOGGING_LEVEL", "WARNING")
    set_platform(CpuPlatform())


def start_gloo() -> None:
    """Join the process group of RANK and WORLD_SIZE over gloo; no-op if one exists or a GPU is used."""
    if get_platform().device_name == _NAME and not torch.distributed.is_initialized():
        torch.distributed.init_process_group(
            "gloo", rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"])
        )
