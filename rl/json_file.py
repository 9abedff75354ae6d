"""JSON that a command left in a folder, read again: a disk, or somebody, may have damaged it since."""

import json
from pathlib import Path
from typing import Any

from rollout.text.type_names import json_type


def read_object(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds. Raises ValueError that names the file where it holds none.

    Raises OSError where it cannot be read.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        why = f"byte {error.start + 1} is no text in UTF-8"
    except RecursionError:
        why = "it is nested too deeply"
    except ValueError as error:
        why = str(error) if path.stat().st_size else "it is empty"
    else:
        if isinstance(found, dict):
            return found
        why = f"it holds {json_type(found)}"
    raise ValueError(f"{path} is damaged: {why}; expected a JSON object")
