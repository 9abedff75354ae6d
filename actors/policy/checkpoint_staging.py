"""What a rank does for checkpoints: it copies them while updates wait, and writes them while updates go on."""

from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.staging import DefaultStager
from verl.single_controller.base.decorator import Dispatch, register

from actors.policy.checkpoint_ending import remove_note, say_ended
from actors.policy.staged_files import Writer, captured_files, make_stager, write_file


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
    _writer: Writer | None = None

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def stage_checkpoint(self, folder: str, version: int) -> None:
        """Copy what verl saves to host memory, and begin to write it to `folder`; `until_written` says when it is.

        Of verl's own files only the small ones of the model's configuration are written here and now.
        """
        if self._writer is not None:
            self._writer.check_ended()
        remove_note(Path(folder), self.rank)
        self._stager = self._stager or make_stager()
        with captured_files(self._stager) as files:
            self.engine.save_checkpoint(folder, global_step=version)
        if not torch.cuda.is_available():
            self._stager.close()  # it would keep the copies
            self._stager = None
        self._writer = Writer(files, self.write_file, lambda error: say_ended(Path(folder), self.rank, error))
        self._writer.start()

    def write_file(self, path: str, content: object) -> None:
        """Write one staged file, in the rank's thread for it."""
        write_file(path, content)

    def ended_writing(self) -> str | None:
        """Return None while files are being written; then why they could not be, '' if they are whole.

        Not a collective. The answer comes when running calls have ended.
        """
        return self._writer.error if self._writer is not None else "nothing was staged"
