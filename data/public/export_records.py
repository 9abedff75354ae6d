"""`interleave data export`: the trajectories of a build, or of an import, in the public system's forms.

Everything is checked before anything is written, and the folder appears whole or not at all.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from actors.store.store import Store
from data.build.trajectory_log import TrajectoryLog
from data.public.import_records import RECORD, images_of
from data.public.recorded_story import Files, answer_record, story_record
from data.public.sequence_files import write_dataset, write_json
from data.public.sequences import Sequence, sequence_of
from data.public.whole_folder import whole_folder
from rollout.types import ImageRef, Trajectory


class Form(StrEnum):
    """What is written."""

    EXECUTION_RECORD = "execution_record"
    """A folder for each story, with a record of each criticised try."""
    UEVAL = "ueval"
    """A folder for each answer, with a record of the last try of each step."""
    EASY = "easy"
    """Sequences of the accepted images."""
    REFLECTION = "reflection"
    """Sequences of all tries, with the critic's words between."""


_TAKES = {
    Form.EXECUTION_RECORD: "it takes a plan",
    Form.UEVAL: "it takes a try",
    Form.EASY: "every step has to have been accepted",
    Form.REFLECTION: "every step has to have been accepted",
}


@dataclass
class Exported:
    """How many trajectories were written, and how many have no such form: no plan, no try, or a step that failed."""

    num_written: int = 0
    num_left_out: int = 0


def export_records(log: TrajectoryLog, store: Store, out: Path, form: Form, *, is_dataset: bool = False) -> Exported:
    """Write all trajectories of a log in a form. Raises ValueError before anything is written."""
    with whole_folder(out) as unfinished:
        done = _check(log, store, form)
        if not done.num_written:
            raise ValueError(f"none of {done.num_left_out:,} trajectories can be written as {form}: {_TAKES[form]}")
        unfinished.mkdir(parents=True)
        if form in (Form.EXECUTION_RECORD, Form.UEVAL):
            for folder, record, images in _records(log, out, form):
                _write_record(unfinished / folder, record, images, store)
        else:
            (write_dataset if is_dataset else write_json)(_sequences(log, form), unfinished, store)
    return done


def _check(log: TrajectoryLog, store: Store, form: Form) -> Exported:
    """Return what will be written. Raises ValueError for an image that is gone, and for two folders of one name."""
    done, folders = Exported(), set[str]()
    for trajectory in log.read(log.requests()):
        if form in (Form.EXECUTION_RECORD, Form.UEVAL):
            folder = folder_of(trajectory)
            has_form = _record(trajectory, Files(folder), form) is not None
            if has_form and folder in folders:
                raise ValueError(f"two requests would be written to the folder {folder}: give them other ids")
            if has_form:
                folders.add(folder)
        else:
            has_form = sequence_of(trajectory, has_reflection=form is Form.REFLECTION) is not None
        if not has_form:
            done.num_left_out += 1
            continue
        done.num_written += 1
        for ref in images_of(trajectory):
            if not store.has_image(ref):
                raise ValueError(
                    f"an image of request {trajectory.request.id!r} is not in the store {store.place} any more"
                )
    return done


def folder_of(trajectory: Trajectory) -> str:
    """Return the folder of a request: its id, where that can be a path below another folder."""
    name = trajectory.request.id
    parts = name.split("/")
    if all(re.fullmatch(r"[^\0/]{1,80}", part) and part.strip(". ") for part in parts) and name.isprintable():
        return name
    safe = re.sub(r"[^\w-]+", "_", name)[:60]
    return f"{safe}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _records(log: TrajectoryLog, out: Path, form: Form) -> Iterator[tuple[str, dict[str, object], dict[str, ImageRef]]]:
    for trajectory in log.read(log.requests()):
        folder = folder_of(trajectory)
        files = Files(f"{out}/{folder}")
        if (record := _record(trajectory, files, form)) is not None:
            yield folder, record, files.images


def _record(trajectory: Trajectory, files: Files, form: Form) -> dict[str, object] | None:
    return (story_record if form is Form.EXECUTION_RECORD else answer_record)(trajectory, files)


def _sequences(log: TrajectoryLog, form: Form) -> Iterator[Sequence]:
    for trajectory in log.read(log.requests()):
        if (sequence := sequence_of(trajectory, has_reflection=form is Form.REFLECTION)) is not None:
            yield sequence


def _write_record(folder: Path, record: dict[str, object], images: dict[str, ImageRef], store: Store) -> None:
    folder.mkdir(parents=True)
    for name, ref in images.items():
        source = store.image_file(ref)
        with suppress(OSError):
            os.link(source, folder / name)
            continue
        shutil.copyfile(source, folder / name)
    text = json.dumps(record, indent=4, ensure_ascii=False)
    (folder / RECORD).write_text(text, encoding="utf-8")
