"""The folder that caches copies, indexes and images of data sets."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder for files that can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "interleave"
