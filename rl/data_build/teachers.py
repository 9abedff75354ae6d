"""The teachers of a build: who plans, who criticises, and the expert who corrects the critic."""

from collections.abc import Coroutine
from dataclasses import replace

from actors.judge.config import JudgeConfig
from actors.teacher.config import TeacherConfig
from actors.teacher.teacher import check_teacher, describe_teacher, start_teacher
from rl.data_build.config import BuildRecipe
from rl.launch import Launch
from rl.recipe.paths import model_path

ROLES = ("planner", "critic", "expert")


def teachers_of(recipe: BuildRecipe) -> dict[str, TeacherConfig]:
    """Return the teachers that a recipe has by role, their checkpoints found. Raises ValueError."""
    return {role: _placed(config, role) for role, config in recipe.teachers.items()}


def check_teachers(recipe: BuildRecipe) -> dict[str, dict[str, str]]:
    """Return what the answers of each teacher depend on. Raises ValueError for what one lacks. Starts nothing."""
    teachers = teachers_of(recipe)
    for role, config in teachers.items():
        check_teacher(config, role)
    return {role: describe_teacher(config, role) for role, config in teachers.items()}


def asked_of(recipe: BuildRecipe) -> dict[str, JudgeConfig]:
    """Return the models that are asked at endpoints, by their sections of the recipe."""
    found = {f"{role}.ask": config.asked for role, config in teachers_of(recipe).items()}
    return {key: asked for key, asked in found.items() if asked is not None}


def starting(recipe: BuildRecipe, job: Launch) -> dict[str, Coroutine[object, object, object] | None]:
    """Return each role's teacher, about to start; None for an expert that a recipe has not."""
    teachers = teachers_of(recipe)
    return {
        role: start_teacher(teachers[role], role, job.store_root, job.ledger) if role in teachers else None
        for role in ROLES
    }


def _placed(config: TeacherConfig, role: str) -> TeacherConfig:
    return replace(config, model=model_path(config.model, f"{role}.model")) if config.model else config
