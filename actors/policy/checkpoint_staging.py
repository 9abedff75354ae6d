"""Checkpoints of a rank: copied to host memory while updates wait, and written to files while they go on."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from verl.single_controller.base.decorator import Dispatch, register

from actors.policy.checkpoint_ending import one_line, remove_note, say_ended

_LAST_WORDS_S = 10.0
"""How long a thread may need to end that has said that it has."""
StagedFile = tuple[str, object]
"""Where a file belongs, and what `torch.save` is to write there: a copy in host memory, which nothing changes."""


class CheckpointStaging:
    """Part of a rank: what verl would save is staged, and a thread of the rank writes it, in verl's format.

    Staging takes the host memory of a checkpoint, on each rank its own share: with all weights trained 12 bytes a
    parameter (float32 weights and Adam's two moments; 8B on 8 ranks: 12 GB a rank), with LoRA 12 bytes a parameter of
    the adapters. On CPUs it is free again when the files are written. On GPUs it is pinned, so that tensors arrive at
    the full speed of the bus, and kept for the next checkpoint, since pinning takes longer than copying.
    """

    rank: int
    engine: Any
    _stager: DefaultStager | None = None
    _writer: "Writer | None" = None

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def stage_checkpoint(self, folder: str, version: int) -> None:
        """Copy what verl saves to host memory, and begin to write it to `folder`; `until_written` says when it is.

        Of verl's own files only the small ones of the model's configuration are written here and now.
        """
        if self._writer is not None:
            self._writer.join(_LAST_WORDS_S)
            if self._writer.is_alive():
                raise RuntimeError("a checkpoint is being written already")
        remove_note(Path(folder), self.rank)
        self._stager = self._stager or _stager()
        with captured_files(self._stager) as files:
            self.engine.save_checkpoint(folder, global_step=version)
        if not torch.cuda.is_available():
            self._stager = None  # it would keep the copies
        self._writer = Writer(files, self.write_file, lambda error: say_ended(Path(folder), self.rank, error))
        self._writer.start()

    def write_file(self, path: str, content: object) -> None:
        """Write one staged file, in the rank's thread for it."""
        torch.save(content, path)
        with open(path, "rb") as file:
            os.fsync(file.fileno())

    def ended_writing(self) -> str | None:
        """Return None while files are being written; then why they could not be, '' if they are whole.

        Not a collective. The answer comes when running calls have ended.
        """
        return self._writer.error if self._writer is not None else "nothing was staged"


class Writer(threading.Thread):
    """Writes staged files and lets go of them; a daemon, since a rank that is told to end has not to wait for it."""

    def __init__(self, files: list[StagedFile], write: Callable[[str, object], None], say_ended: Callable[[str], None]):
        super().__init__(name="checkpoint", daemon=True)
        self._files, self._write, self._say_ended = files, write, say_ended
        self.error: str | None = None
        """None while files are being written; then why they could not be, '' if they are whole."""

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


def _stager() -> DefaultStager:
    on_gpu = torch.cuda.is_available()
    return DefaultStager(
        StagingOptions(
            use_pinned_memory=on_gpu, use_shared_memory=False, use_async_staging=False, use_non_blocking_copy=on_gpu
        )
    )
