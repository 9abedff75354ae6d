"""What a command prints: a line that cannot be printed costs no run.

Whoever reads may go first (`| head`, a `tee` that was killed), the disk of a log file may be full, and an encoding may
lack letters.
"""

import errno
import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_lost: list[str] = []


def outlast_readers() -> None:
    """Have this process go on without its output where that cannot be written any more."""
    sys.stdout, sys.stderr = _lasting(sys.stdout), _lasting(sys.stderr)


def code_of_loss() -> int:
    """Return the exit code 1 where output was lost that somebody waits for: not where its reader went."""
    if sys.stdout is not None:
        sys.stdout.flush()
    return int(bool(_lost))


class _Lasting(io.FileIO):
    """Writes to a descriptor until that fails, then nowhere: so do children and libraries that have it."""

    def write(self, data: "ReadableBuffer") -> int:
        try:
            return super().write(data)
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if error.errno != errno.EPIPE:
                _lost.append(str(error.strerror))
                with suppress(OSError):
                    os.write(2, f"interleave: output is lost from here on: {error.strerror}\n".encode())
            return memoryview(data).nbytes


def _lasting(stream: TextIO) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):  # closed (`>&-`), or replaced by a test
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Lasting(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering or stream.write_through,
    )
