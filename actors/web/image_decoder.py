"""Untrusted images, decoded in separate processes: one that takes too long is killed with its process.

A thread cannot be killed, and Pillow in a thread holds the GIL. What comes back is the PNG that the store keeps.
"""

import asyncio
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from socket import socketpair

from actors.generator.image_sizes import Size
from actors.store.untrusted_images import BadImage

MAX_SECONDS = 30.0
"""Maximum time for one image; the largest that are allowed take some seconds."""
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Decoded:
    """An image that was sent: upright, RGB, over white."""

    png: bytes
    size: Size


class _Child:
    """One process, which decodes one image at a time."""

    def __init__(self) -> None:
        ours, theirs = socketpair()
        with theirs:
            self._process = subprocess.Popen(
                # -P: files in the working folder must not shadow our modules.
                [sys.executable, "-P", "-m", "actors.web.decoder_child", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the service, which ends this process cleanly
            )
        self._channel = Connection(ours.detach())

    def decode(self, data: bytes, max_pixels: int, *, is_mask: bool) -> Decoded:
        """Return the image. Raises `BadImage`, `TimeoutError`; `EOFError` or `OSError` when the process has ended."""
        self._channel.send_bytes(json.dumps({"max_pixels": max_pixels, "is_mask": is_mask}).encode())
        self._channel.send_bytes(data)
        if not self._channel.poll(MAX_SECONDS):
            raise TimeoutError
        answer = json.loads(self._channel.recv_bytes())
        if "error" in answer:
            raise BadImage(answer["error"])
        return Decoded(self._channel.recv_bytes(), tuple(answer["size"]))

    def kill(self) -> None:
        """Kill the process; a pending `decode` raises `EOFError`."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Kill the process when no `decode` is pending."""
        self.kill()
        self._channel.close()


class _Job:
    """One image being decoded, which another thread may give up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self.is_given_up = False

    def hold(self, child: _Child | None) -> bool:
        """Set the process that works on it (None: none any more); return False if it was given up."""
        with self._lock:
            self._child = child
            return not self.is_given_up

    def give_up(self) -> None:
        with self._lock:
            self.is_given_up = True
            if self._child is not None:
                self._child.kill()


class ImageDecoder:
    """Decodes up to `num_processes` images at a time. Its processes start on demand and end with this one."""

    def __init__(self, num_processes: int):
        self._threads = ThreadPoolExecutor(num_processes, thread_name_prefix="image-decoder")
        self._idle: list[_Child] = []

    async def decode(self, data: bytes, max_pixels: int, *, is_mask: bool = False) -> Decoded:
        """Return an image. Raises `BadImage`. Cancelling it ends the work at once."""
        job = _Job()
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, self._decode, job, data, max_pixels, is_mask
            )
        except asyncio.CancelledError:
            job.give_up()
            raise

    def _decode(self, job: _Job, data: bytes, max_pixels: int, is_mask: bool) -> Decoded:
        try:
            child = self._idle.pop()
        except IndexError:
            child = _Child()
        is_usable = False
        try:
            if not job.hold(child):
                raise BadImage("it is no longer needed")
            decoded = child.decode(data, max_pixels, is_mask=is_mask)
            is_usable = job.hold(None)
            return decoded
        except BadImage:
            is_usable = job.hold(None)
            raise
        except TimeoutError:
            raise BadImage(f"the image takes longer than {MAX_SECONDS:g} s to read") from None
        except (EOFError, OSError):
            raise BadImage(f"the image ({len(data):,} bytes) cannot be read: its decoder broke down") from None
        finally:
            job.hold(None)
            if is_usable:
                self._idle.append(child)
            else:
                with suppress(OSError):
                    child.close()


@cache
def shared_decoder() -> ImageDecoder:
    """Return this process's decoder."""
    return ImageDecoder(max(2, min(8, os.cpu_count() or 2)))
