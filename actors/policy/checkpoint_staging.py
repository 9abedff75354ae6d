"""What a rank does for checkpoints: it copies them while updates wait, and writes them while updates go on."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from ray._private.utils import estimate_available_memory
from torch.distributed.checkpoint.staging import DefaultStager
from torch.distributed.tensor import DTensor
from verl.single_controller.base.decorator import Dispatch, register

from actors.config import PolicyConfig
from actors.policy.checkpoint_ending import remove_note, say_ended
from actors.policy.staged_files import StagedFile, Writer, captured_files, make_stager, write_file


class CheckpointStaging:
    """Part of a rank: what verl would save is staged, and a thread of the rank writes it, in verl's format.

    Staging takes the host memory of a checkpoint, on each rank its own share: with all weights trained 12 bytes a
    parameter (float32 weights and Adam's two moments; 8B on 8 ranks: 12 GB a rank), with LoRA 12 bytes a parameter of
    the adapters. On CPUs it is free again when the files are written. On GPUs it is pinned, so that tensors arrive at
    the full speed of the bus, and kept for the next checkpoint, since pinning takes longer than copying. Where a node
    has not enough of it, verl writes the files at once, and updates wait.
    """

    rank: int
    engine: Any
    _config: PolicyConfig
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
        has_room = self._stager is not None or self._has_room()
        self._stager = self._stager or make_stager()
        with captured_files(self._stager) if has_room else nullcontext(list[StagedFile]()) as files:
            self.engine.save_checkpoint(folder, global_step=version)
        if not (has_room and torch.cuda.is_available()):
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

    def _has_room(self) -> bool:
        """Whether copies of all of this node's ranks fit into its free memory; before any of them takes some."""
        num_ranks = min(self._config.num_ranks, self._config.ranks_per_node)
        return bool(num_ranks * self.bytes_staged() < estimate_available_memory())

    def bytes_staged(self) -> int:
        """Return about how many bytes this rank's part of a checkpoint takes."""
        num = num_trained = 0
        for parameter in self.engine.module.parameters():
            size = (parameter.to_local() if isinstance(parameter, DTensor) else parameter).numel()
            num_trained += size if parameter.requires_grad else 0
            num += size if parameter.requires_grad or not self._config.lora.rank else 0
        return 4 * num + 8 * num_trained
