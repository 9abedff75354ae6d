"""What W&B is told: by the recipe, by its own variables in the environment, and what it would refuse.

W&B obeys its variables where a run gives no argument of its own. So a run gives one only where no variable does; a
project that the recipe names is over WANDB_PROJECT, as an argument is over a variable elsewhere in W&B.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl.recipe.wandb_project import PROJECT
from rl.writable import check_writable
from rollout.text.limits import shown

DEFAULT_PROJECT = "interleave"
MODES = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}
"""WANDB_MODE -> what it stands for."""
_TRUE = frozenset({"1", "true", "yes", "on", "y", "t"})
# As `wandb.Settings` checks them; a test compares.
_ENTITY = (re.compile(r"[\w\-.]{1,128}"), "a user's or team's name, of letters, digits, - _ and .")
_RUN_ID = (re.compile(r"(?!\s)[^:;,#?/'\s]{1,128}"), "1 to 128 characters and none of : ; , # ? / '")
_NAME = (re.compile(r".{1,128}"), "1 to 128 characters")
_TAGS = (re.compile(r"[^,]{1,64}(,[^,]{1,64})*"), "tags of 1 to 64 characters, with commas between")
_API_KEY = re.compile(r"\w{40,}|[^-]*-[\w-]{40,}|[\w-]+\.[\w-]+\.[\w-]+")
_VARIABLES = {
    "WANDB_PROJECT": PROJECT,
    "WANDB_ENTITY": _ENTITY,
    "WANDB_RUN_ID": _RUN_ID,
    "WANDB_NAME": _NAME,
    "WANDB_RUN_GROUP": _NAME,
    "WANDB_TAGS": _TAGS,
}


def wandb_mode(environ: Mapping[str, str] = os.environ) -> str:
    """Return online, offline or disabled: as the variables say, else online where there is a key.

    >>> wandb_mode({"WANDB_API_KEY": "k"}), wandb_mode({}), wandb_mode({"WANDB_MODE": "disabled", "WANDB_API_KEY": "k"})
    ('online', 'offline', 'disabled')
    """
    if environ.get("WANDB_DISABLED", "").lower() in _TRUE:
        return "disabled"
    if mode := environ.get("WANDB_MODE"):
        return MODES.get(mode, mode)
    return "online" if environ.get("WANDB_API_KEY") else "offline"


def wandb_arguments(
    *, project: str, name: str, group: str, run_dir: str, environ: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """Return the arguments of `wandb.init` that say where a run goes, what it is called and how it goes on."""
    folder = environ.get("WANDB_DIR")
    return {
        "project": project or environ.get("WANDB_PROJECT") or DEFAULT_PROJECT,
        "name": environ.get("WANDB_NAME") or name,
        "group": environ.get("WANDB_RUN_GROUP") or group,
        "dir": str(Path(folder).expanduser()) if folder else run_dir,
        "mode": wandb_mode(environ),
        "resume": environ.get("WANDB_RESUME") or "allow",
    }


def check_environment(environ: Mapping[str, str] = os.environ) -> None:
    """Raise ValueError for a variable that W&B refuses, and for what would end a run that is to be online."""
    for variable, (pattern, expected) in _VARIABLES.items():
        if (given := environ.get(variable)) and not pattern.fullmatch(given):
            raise ValueError(f"{variable} is {shown(given)}; expected {expected} (W&B's own variable)")
    if (mode := wandb_mode(environ)) not in MODES.values():
        raise ValueError(f"WANDB_MODE is {shown(mode)}; expected online, offline or disabled")
    key = environ.get("WANDB_API_KEY", "")
    if mode == "online" and not (key or (Path.home() / ".netrc").exists()):
        raise ValueError("WANDB_MODE is online, but WANDB_API_KEY is not set; set it, or WANDB_MODE=offline")
    if mode == "online" and key and not _API_KEY.fullmatch(key):
        raise ValueError(
            f"WANDB_API_KEY has {len(key)} characters; expected 40 or more, letters, digits and _ (W&B's own "
            "variable); copy the whole key, or set WANDB_MODE=offline"
        )
    if folder := environ.get("WANDB_DIR"):
        check_writable(Path(folder).expanduser(), "WANDB_DIR")
    _check_others(environ)


def _check_others(environ: Mapping[str, str]) -> None:
    """Raise ValueError for a variable that W&B itself refuses, of those that are not checked here."""
    checked = {*_VARIABLES, "WANDB_MODE", "WANDB_DISABLED", "WANDB_API_KEY", "WANDB_DIR"}
    others = {name: said for name, said in environ.items() if name.startswith("WANDB_") and name not in checked}
    if not others:
        return
    import wandb

    for name, said in others.items():
        try:
            wandb.Settings().update_from_env_vars({name: said})
        except (ValueError, wandb.errors.UsageError) as error:
            why = [line.strip() for line in str(error).splitlines()][2:3] or [str(error)]
            raise ValueError(
                f"{name} is {shown(said)}: {why[0].partition(' [type=')[0]} (W&B's own variable)"
            ) from None
