"""`interleave data import`: a folder of the public system's trajectories becomes the folder of a build.

    <out>/trajectories/   the log that sets are made from      <out>/store/   its images
    <out>/requests.jsonl  what was asked for              <out>/imported.json   what was found

All files and images are read before anything is written, and the folder appears whole or not at all.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from PIL import Image

from actors.store.packed_images import open_image_file
from actors.store.pixels import oddities
from actors.store.store import FORMATS, Store
from data.build.trajectory_log import TrajectoryLog
from data.check.images import inspect_image
from data.errors import RecordError
from data.formats.strict_json import BOM, MAX_RECORD, decode, too_long
from data.public.execution_record import Recorded, read_execution_record
from data.public.whole_folder import whole_folder
from data.records.image_paths import ImageResolver, ImageRules
from data.records.on_bad import BadRecords
from rollout.types import ImageRef, Trajectory

RECORD = "execution_record.json"
IMPORTED = "imported.json"
WHITE = "white.png"

Progress = Callable[[str, float, int], None]


@dataclass
class Imported:
    """What was found."""

    bad: BadRecords
    num_trajectories: int = 0
    num_complete: int = 0
    num_attempts: int = 0
    leniencies: Counter[str] = field(default_factory=Counter)
    """How the files differed from the stated form (`data.public.execution_record`)."""


def import_records(
    folder: Path,
    out: Path,
    bad: BadRecords,
    *,
    prefixes: tuple[tuple[str, str], ...] = (),
    progress: Progress = lambda *_: None,
) -> Imported:
    """Import all records below a folder. Raises `RecordError` with file and place, before anything is written."""
    files = sorted(folder.rglob(RECORD))
    if not files:
        raise RecordError("file", f"{folder} holds no {RECORD}, in no folder below it either")
    rules = ImageRules(prefixes=prefixes, white_canvas=WHITE)
    found, good = Imported(bad), list[Path]()
    with whole_folder(out) as unfinished, ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        for place, file in enumerate(files):
            progress("reading", place / len(files), place)
            try:
                recorded = read_record_file(file, folder, rules)
                _check_images(recorded.trajectory, file, threads)
            except RecordError as error:
                bad.add(error)
                continue
            good.append(file)
            found.leniencies.update(recorded.leniencies)
        if not good:
            raise RecordError("file", f"{folder} holds no record that is good: {bad.summary()}")
        unfinished.mkdir(parents=True)
        trajectories = (read_record_file(file, folder, rules).trajectory for file in good)
        _write(trajectories, unfinished, found, lambda num: progress("writing", num / len(good), num))
        told = {"num_trajectories": found.num_trajectories, "leniencies": found.leniencies, "bad": bad.counts}
        (unfinished / IMPORTED).write_text(json.dumps(told | {"examples": bad.examples}, indent=1), encoding="utf-8")
    return found


def read_record_file(file: Path, folder: Path, rules: ImageRules) -> Recorded:
    """Return what a file below a folder records. Raises `RecordError` with the file."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_RECORD + 1)
        if len(data) > MAX_RECORD:
            raise too_long(file.stat().st_size)
        name = str(file.parent.relative_to(folder)) if file.parent != folder else folder.absolute().name
        places = ImageResolver(file.parent, rules)
        return read_execution_record(decode(data.removeprefix(BOM)), places, name=name)
    except RecordError as error:
        raise error.at(str(file)) from None
    except OSError as error:
        raise RecordError("file", f"cannot be read ({error})", where=str(file)) from None


def with_images(trajectory: Trajectory, change: Callable[[ImageRef], ImageRef]) -> Trajectory:
    """Return a trajectory with `change` applied to each of its images."""
    request = replace(trajectory.request, images=tuple(map(change, trajectory.request.images)))
    attempts = tuple(
        replace(
            attempt,
            before=None if attempt.before is None else change(attempt.before),
            image=change(attempt.after),
        )
        for attempt in trajectory.attempts
    )
    return replace(trajectory, request=request, attempts=attempts)


def images_of(trajectory: Trajectory) -> list[ImageRef]:
    """Return each image of a trajectory once, in the order in which they come."""
    seen: dict[ImageRef, None] = {}
    with_images(trajectory, lambda ref: seen.setdefault(ref) or ref)
    return list(seen)


def _check_images(trajectory: Trajectory, file: Path, threads: ThreadPoolExecutor) -> None:
    for seen in threads.map(inspect_image, images_of(trajectory)):
        if seen.fault is not None:
            raise seen.fault.at(str(file))


def _write(trajectories: Iterator[Trajectory], out: Path, found: Imported, progress: Callable[[int], None]) -> None:
    store = Store(out / "store")
    with (
        closing(TrajectoryLog(out / "trajectories")) as log,
        (out / "requests.jsonl").open("w", encoding="utf-8") as requests,
    ):
        for trajectory in trajectories:
            progress(found.num_trajectories)
            stored = with_images(trajectory, partial(_kept, store, trajectory.request.images))
            log.write(stored)
            request = stored.request
            images = [f"store/{store.image_path(ref).relative_to(store.root)}" for ref in request.images]
            row = {"id": request.id, "request": request.text, **({"images": images} if images else {})}
            requests.write(json.dumps(row, ensure_ascii=False) + "\n")
            found.num_trajectories += 1
            found.num_complete += stored.is_complete
            found.num_attempts += len(stored.attempts)


def _kept(store: Store, given: tuple[ImageRef, ...], path: str) -> ImageRef:
    """Put a file's image in the store: a plain PNG byte by byte, any other, and a request's, as a build does."""
    with open_image_file(path) as file:
        with Image.open(file, formats=FORMATS) as image:
            is_plain = (image.format, image.mode) == ("PNG", "RGB") and not oddities(image)
        file.seek(0)
        return store.put_png(file.read()) if is_plain and path not in given else store.put_image(store.get_image(path))
