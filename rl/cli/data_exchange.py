"""The commands `interleave data import|export`: trajectories in the public system's form."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rl.cli.arguments import Parser, add_command, file_path, store_place
from rollout.text.limits import Tilde

_FORMS = ("execution_record", "ueval", "easy", "reflection")


def add_exchange_commands(data: argparse._SubParsersAction[Parser]) -> None:
    """Add the commands to those of `interleave data`; what they need is imported when they run."""
    taken = add_command(
        data, "import", _import, "read folders with an execution_record.json each into the folder of a build"
    )
    taken.add_argument("folder", type=file_path, help="the folder, at any depth below which the records are")
    taken.add_argument("--out", type=file_path, required=True, help="the folder to make: trajectories, store, requests")
    taken.add_argument(
        "--prefix", action="append", default=[], metavar="OLD=NEW", help="read image paths from OLD as if from NEW"
    )
    taken.add_argument("--on-bad", choices=["raise", "skip"], default="raise", help="bad records; default: raise")
    given = add_command(data, "export", _export, "write the trajectories of a build or an import in another form")
    given.add_argument("folder", type=file_path, help="the folder of a build or an import")
    given.add_argument("--out", type=file_path, required=True, help="the folder to make")
    given.add_argument(
        "--form",
        choices=_FORMS,
        required=True,
        help="records of stories or of answers to UEval; sequences for unified models, easy or with reflection",
    )
    given.add_argument("--dataset", action="store_true", help="sequences: as Parquet with images, for `load_dataset`")
    given.add_argument(
        "--store",
        type=store_place,
        help="where the images are; default: as the folder says",
    )


def _import(chosen: argparse.Namespace) -> int:
    from rich.console import Console

    from data.check.progress import progress_bar
    from data.public.execution_record import LENIENCIES
    from data.public.import_records import import_records
    from data.records.image_paths import parse_prefixes
    from data.records.on_bad import BadRecords, OnBad

    if not chosen.folder.is_dir():
        raise ValueError(f"{chosen.folder} is no folder; name the one that the records' folders are in")
    prefixes = parse_prefixes([Tilde("=").expand(prefix) for prefix in chosen.prefix])
    bad = BadRecords(OnBad(chosen.on_bad))
    with progress_bar(Console(stderr=True)) as progress:
        found = import_records(chosen.folder, chosen.out, bad, prefixes=prefixes, progress=progress)
    print(f"{found.num_trajectories:,} trajectories, {found.num_complete:,} complete, {found.num_attempts:,} attempts")
    for name, count in found.leniencies.items():
        print(f"{count:>9,} {LENIENCIES[name]} ({name})")
    if bad.num:
        print(bad.summary())
    print(f"folder  {chosen.out}")
    return 0


def _export(chosen: argparse.Namespace) -> int:
    from actors.store.store import Store
    from data.build.trajectory_log import TrajectoryLog
    from data.public.export_records import Form, export_records

    form = Form(chosen.form)
    if chosen.dataset and form not in (Form.EASY, Form.REFLECTION):
        raise ValueError(f"--dataset is for sequences, not for {form}: choose --form easy or reflection")
    log = TrajectoryLog(chosen.folder / "trajectories")
    if log.is_empty():
        raise ValueError(f"{chosen.folder} holds no trajectories; name the folder of a build or of an import")
    store = Store(chosen.store or _store_of(chosen.folder))
    done = export_records(log, store, chosen.out, form, is_dataset=chosen.dataset)
    print(f"{done.num_written:,} written as {form}  {chosen.out}")
    if done.num_left_out:
        print(f"{done.num_left_out:,} left out: they have no such form", file=sys.stderr)
    return 0


def _store_of(folder: Path) -> Path | str:
    """Return where the images of a folder are. Raises ValueError."""
    if (folder / "store").is_dir():
        return folder / "store"
    if (folder / "recipe.yaml").is_file():
        from rl.data_build.config import BuildRecipe
        from rl.recipe.reader import load_as

        return load_as(BuildRecipe, folder / "recipe.yaml").store
    raise ValueError(f"{folder} does not say where its images are; add --store")
