"""Name a model folder by its content, so that a retrained model never hits its predecessor's cache."""

import hashlib
from pathlib import Path

WHOLE_BYTES = 256 * 2**20
"""Files up to this size are hashed whole; of larger ones the first MiB, the size and the modification time are."""


def model_digest(folder: str | Path) -> str:
    """Return a digest of the files in `folder`, or repository and commit for a hub snapshot."""
    folder = Path(folder)
    if folder.parent.name == "snapshots":
        return f"{folder.parent.parent.name}@{folder.name}"
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path, folder)):
        digest.update(str(path.relative_to(folder)).encode() + b"\0")
        digest.update(file_digest(path))
    return digest.hexdigest()


def file_digest(path: Path) -> bytes:
    """Return a file's digest."""
    status = path.stat()
    if status.st_size <= WHOLE_BYTES:
        return hashlib.sha256(path.read_bytes()).digest()
    with path.open("rb") as file:
        head = file.read(2**20)
    return hashlib.sha256(head + f"{status.st_size} {status.st_mtime_ns}".encode()).digest()


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)
