"""What W&B takes as a project's name."""

import re

from rollout.text.limits import shown

# As `wandb.Settings` checks it; a test compares.
PROJECT = (re.compile(r"[^/\\#?%:\x00-\x1f]{1,128}"), "1 to 128 characters and none of / \\ # ? % :")


def check_project(project: str) -> None:
    """Raise ValueError for a project's name that W&B refuses."""
    pattern, expected = PROJECT
    if project and not pattern.fullmatch(project):
        team = "; a team or user is named by WANDB_ENTITY" if "/" in project else ""
        raise ValueError(f"tracking.project is {shown(project)}; expected {expected}{team}")
