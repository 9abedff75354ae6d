"""Files of `torch.save` that are written later than they are saved: copied to host memory, and written by a thread."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from actors.policy.checkpoint_ending import one_line

_LAST_WORDS_S = 10.0
"""How long a thread may need to end that has said that it has."""
StagedFile = tuple[str, object]
"""Where a file belongs, and what `torch.save` is to write there: a copy in host memory, which nothing changes."""


class Writer(threading.Thread):
    """Writes staged files and lets go of them; a daemon, since a rank that is told to end has not to wait for it."""

    def __init__(
        self, files: list[StagedFile], write: Callable[[str, object], object], say_ended: Callable[[str], object]
    ):
        super().__init__(name="checkpoint", daemon=True)
        self._files, self._write, self._say_ended = files, write, say_ended
        self.error: str | None = None
        """None while files are being written; then why they could not be, '' if they are whole."""

    def check_ended(self, timeout_s: float = _LAST_WORDS_S) -> None:
        """Raise RuntimeError if it is still writing; one that has said that it is not may need a moment to end."""
        self.join(timeout_s)
        if self.is_alive():
            raise RuntimeError("a checkpoint is being written already")

    def run(self) -> None:
        error = "its thread was ended"
        try:
            for path, content in self._files:
                self._write(path, content)
            error = ""
        except Exception as failure:
            error = one_line(failure)
        finally:
            self._files.clear()
            self._say_ended(error)
            self.error = error


@contextmanager
def captured_files(stager: DefaultStager) -> Iterator[list[StagedFile]]:
    """Stage what is saved by `torch.save` to a path, even in verl's calls, instead of writing it."""
    save, files = torch.save, list[StagedFile]()

    def stage(content: object, path: str) -> None:
        # It copies what is in dictionaries of any kind.
        files.append((path, stager.stage({"content": content})["content"]))

    torch.save = stage
    try:
        yield files
    finally:
        torch.save = save


def make_stager() -> DefaultStager:
    """Return what copies tensors, sharded ones too, to host memory; on GPUs it keeps that memory for its next call."""
    on_gpu = torch.cuda.is_available()
    return DefaultStager(
        StagingOptions(
            use_pinned_memory=on_gpu, use_shared_memory=False, use_async_staging=False, use_non_blocking_copy=on_gpu
        )
    )


def write_file(path: str, content: object) -> None:
    """Write a file and wait until it is on the disk, which may say only then that it is full."""
    torch.save(content, path)
    with open(path, "rb") as file:
        os.fsync(file.fileno())
