"""Prompt files of judges: found by their path, checked, and named by version and content."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from actors import REPOSITORY
from rollout.text.marks import read_prompt_text
from rollout.text.prompt_file import check_template, split_version
from rollout.text.python_text import split_name


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt file's text, without its version line."""

    name: str
    version: str
    text: str

    @property
    def label(self) -> str:
        """Name, stated version and digest: what a ledger has to say to tell two wordings apart."""
        digest = hashlib.sha256(self.text.encode()).hexdigest()[:8]
        return f"{self.name}@{self.version or 'unversioned'}:{digest}"


def read_prompt(path: str, *, fields: tuple[str, ...] = (), num_images: int = 0) -> Prompt:
    """Read a prompt file, or `FILE.py:NAME`; a relative path is looked for here and in the repository.

    It must hold every field once and as many image marks as stated. Raises ValueError with what is missing.
    """
    where, name = split_name(path)
    for folder in (Path.cwd(), REPOSITORY):
        file = folder / where
        if file.is_file():
            version, text = split_version(read_prompt_text(file, name))
            check_template(text, fields, num_images=num_images, name=str(path))
            return Prompt(name or file.stem, version, text)
    raise ValueError(f"no prompt file {path} in {Path.cwd()} or {REPOSITORY}")
