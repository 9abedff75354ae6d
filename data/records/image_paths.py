"""Resolve the image paths of records: made absolute, found, and confined to the image root."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path

from actors.store.packed_images import find_packed
from data.errors import RecordError, shown, type_error
from data.records.image_bytes import bytes_in, images_folder, keep_image, kept_path, path_in

_LOOKS_BEFORE_LISTING = 32
"""Files looked up one by one in a folder before the whole folder is listed."""
_MOST_NAMES = 300_000
"""File names kept over all listings; files of a larger folder are looked up one by one."""
_MOST_FOLDERS = 50_000
"""Folders remembered before all are forgotten."""
_REMOTE = ("http://", "https://", "data:", "hf://", "s3://", "gs://", "zip://")
"""Prefixes of addresses that are not local files; a prefix rule may map them to local files."""


@dataclass(frozen=True, slots=True)
class ImageRules:
    """How image paths in a file of records are read."""

    folder: Path | None = None
    """What paths are relative to; None: `root`, or else the file's own folder."""
    root: Path | None = None
    """No image may lie outside this folder, even through links; None: anywhere."""
    prefixes: tuple[tuple[str, str], ...] = ()
    """(old, new): a path that starts with the folder `old` is read as if it started with `new`."""
    white_canvas: str = ""
    """A path that is this, or ends in a slash and this, means a white canvas; empty: no path does."""


def parse_prefixes(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Read `old=new` pairs.

    >>> parse_prefixes(["/mnt/a=/data/b"])
    (('/mnt/a', '/data/b'),)
    """
    pairs = []
    for text in texts:
        old, separator, new = text.partition("=")
        if not separator or not old:
            raise ValueError(f"a path prefix is {text!r}; expected old=new, like /mnt/theirs=/data/ours")
        pairs.append((old, new))
    return tuple(pairs)


class ImageResolver:
    """Finds the images of one file of records. A folder with many lookups is listed once."""

    def __init__(self, file_folder: Path, rules: ImageRules | None = None, *, keeps_bytes: bool = True):
        """Without `keeps_bytes`, an image that a record holds as bytes gets a name but no file."""
        self._keeps_bytes = keeps_bytes
        rules = rules or ImageRules()
        self._base = os.path.abspath(rules.folder or rules.root or file_folder)
        self._fence = os.path.join(os.path.realpath(rules.root), "") if rules.root else ""
        self._prefixes = [(old.rstrip("/"), new) for old, new in rules.prefixes]
        self._white_canvas = rules.white_canvas
        self._is_fixed = rules.folder is not None or rules.root is not None
        self._known = _Known()

    @property
    def num_canvases(self) -> int:
        """How many paths meant the white canvas."""
        return self._known.num_canvases

    def beside(self, file_folder: Path) -> ImageResolver:
        """Return what finds the images of another file by the same rules; both share what they know of folders."""
        other = copy(self)
        if not self._is_fixed:
            other._base = os.path.abspath(file_folder)
        return other

    def find(self, value: object, field: str) -> str | None:
        """Return an image's absolute path; None for the white canvas. Raises `RecordError`, which names the field."""
        value = path_in(value)
        if (kept := self._of_bytes(value, field)) is not None:
            return kept
        if not isinstance(value, str):
            raise type_error(field, value, "a path")
        if self._white_canvas and (value == self._white_canvas or value.endswith(f"/{self._white_canvas}")):
            self._known.num_canvases += 1
            return None
        for old, new in self._prefixes:
            if value == old or value.startswith(f"{old}/"):
                value = new + value[len(old) :]
                break
        if value.startswith(_REMOTE):
            raise RecordError("image_remote", f"field {field} is {shown(value)}; fetch the image and name its file")
        folder, _, name = (value if value.startswith("/") else f"{self._base}/{value}").rpartition("/")
        try:
            return self._look(folder or "/", name, field)
        except (OSError, ValueError) as error:
            if isinstance(error, RecordError):
                raise
            # A NUL byte, a lone surrogate, a name too long, a link to itself: no file can be there.
            raise RecordError("image_missing", f"field {field}: {shown(value)} cannot be a path ({error})") from None

    def _of_bytes(self, value: object, field: str) -> str | None:
        """Return the path of an image given by its content; None for one given by a path."""
        if isinstance(value, str):
            return None
        data = bytes_in(value, f"field {field}")
        if data is None:
            return kept_path(value, field)
        if not self._keeps_bytes:
            return f"sha256:{hashlib.sha256(data).hexdigest()}"
        return keep_image(data, images_folder())

    def _look(self, path: str, name: str, field: str) -> str:
        folder = self._known.folders.get(path)
        if folder is None:
            folder = self._enter(path)
        is_listed = folder.names is not None and name in folder.names
        file = found = f"{folder.real}/{name}" if is_listed else self._ask(folder, name)
        if not found:
            found, file = self._find_packed(folder, name, field)
        # Real paths are compared: a link must not lead out.
        if self._fence and not (file or f"{folder.real}/").startswith(self._fence):
            raise RecordError(
                "image_outside", f"field {field}: {shown(name)} leads out of the image root to {file or folder.real}"
            )
        if not found:
            raise RecordError("image_missing", f"field {field}: there is no image at {path}/{name}")
        return found

    def _find_packed(self, folder: _Folder, name: str, field: str) -> tuple[str, str]:
        """Return the path of an image in its folder's archive, and the archive's; both are empty if it is not there.

        The archive's is its real path where that is compared with the root's.
        """
        path = f"{folder.real}/{name}"
        try:
            packed = find_packed(path)
        except OSError as error:
            raise RecordError("image_missing", f"field {field}: there is no image at {path}, and {error}") from None
        if packed is None:
            return "", ""
        return path, os.path.realpath(packed.archive) if self._fence else packed.archive

    def _enter(self, path: str) -> _Folder:
        if len(self._known.folders) >= _MOST_FOLDERS:
            self._known.forget()
        folder = self._known.folders[path] = _Folder(os.path.realpath(path))
        return folder

    def _ask(self, folder: _Folder, name: str) -> str:
        """Look one file up; return its real path, empty if there is none."""
        folder.num_looks += 1
        if folder.num_looks == _LOOKS_BEFORE_LISTING:
            self._list(folder)
        path = f"{folder.real}/{name}"
        try:
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                path = os.path.realpath(path)
                mode = os.stat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return ""
        return path if stat.S_ISREG(mode) else ""

    def _list(self, folder: _Folder) -> None:
        """Keep the names of a folder's plain files; links and the rest are looked up one by one."""
        names = set()
        try:
            with os.scandir(folder.real) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False):
                        names.add(entry.name)
                    if len(names) > _MOST_NAMES:
                        return
        except OSError:
            return
        if self._known.num_names + len(names) > _MOST_NAMES:
            self._known.forget()
        folder.names = names
        self._known.num_names += len(names)


@dataclass(slots=True)
class _Known:
    """What has been found out."""

    folders: dict[str, _Folder] = field(default_factory=dict)
    num_names: int = 0
    """Of files, listed in all folders."""
    num_canvases: int = 0

    def forget(self) -> None:
        self.folders.clear()
        self.num_names = 0


class _Folder:
    """What is known about a folder."""

    __slots__ = ("names", "num_looks", "real")

    def __init__(self, real: str):
        self.real = real
        self.num_looks = 0
        self.names: set[str] | None = None
