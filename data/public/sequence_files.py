"""Sequences on disk: JSON with images beside it, or Parquet with images in it, which `datasets` opens offline."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from actors.store.store import Store
from data.build.records import ImageFolder
from data.public.sequences import Sequence

_MOST_BYTES = 64 * 2**20
"""Of images held in memory before they are written: a group of rows."""


def write_json(sequences: Iterable[Sequence], out: Path, store: Store) -> None:
    """Write `sequences.json`, a list of `{"messages", "images"}`, and `images/`."""
    keep = ImageFolder(store, out).keep
    with (out / "sequences.json").open("w", encoding="utf-8") as file:
        for place, sequence in enumerate(sequences):
            row = {"messages": sequence.messages, "images": [keep(image) for image in sequence.images]}
            file.write(f"{',' if place else '['}\n{json.dumps(row, ensure_ascii=False)}")
        file.write("\n]\n")


def write_dataset(sequences: Iterable[Sequence], out: Path, store: Store) -> None:
    """Write `data/train.parquet`: `load_dataset(out)` gives `messages` and decoded `images`."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Features, Image, List, Value  # late: they take seconds

    turn = {"role": Value("string"), "content": Value("string")}
    schema = Features({"messages": List(turn), "images": List(Image())}).arrow_schema
    (out / "data").mkdir()
    with pq.ParquetWriter(out / "data/train.parquet", schema) as file:
        for rows in _groups(sequences, store):
            file.write_table(pa.Table.from_pylist(rows, schema=schema))


def _groups(sequences: Iterable[Sequence], store: Store) -> Iterator[list[dict[str, object]]]:
    rows: list[dict[str, object]] = []
    num_bytes = 0
    for sequence in sequences:
        images = [{"bytes": store.png_bytes(ref), "path": f"{store.digest(ref)}.png"} for ref in sequence.images]
        rows.append({"messages": sequence.messages, "images": images})
        num_bytes += sum(len(image["bytes"]) for image in images)
        if num_bytes > _MOST_BYTES:
            yield rows
            rows, num_bytes = [], 0
    if rows:
        yield rows
