"""Rows of ISG-Bench, and the names that they have for the parts of an answer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actors.store.store import Store
from evals.official.benchmark import Item, Output, Part, Picture
from evals.official.named_rows import file_name, image_file
from evals.official.rows import Row, image_in, value_of
from rollout.text.marks import without_image_marks

TASKS = {
    "Style Transfer": ("Art Style Transfer", "Scene Attribute Transfer", "Photo Variation", "Portrait Variation"),
    "Progressive": ("Animation Images", "Animation Text-Image", "Attribute Transfer"),
    "3D Scene": ("3D_object", "multi-Perspective Scene Generation"),
    "Image Decomposition": ("Realistic Object Detection", "Imaginary Object Detection"),
    "Image-Text Complementation": ("HowTo", "Scientific"),
    "Temporal Prediction": ("Prediction", "painting"),
    "Visual Story Telling": ("visual storytelling text-image", "visual storytelling image", "visual storytelling text"),
    "VQA": ("Object_VQA", "Historical"),
}
"""The categories of rows by the tasks that figures are of."""


def item_of(row: Row, data: Path, store: Store) -> Item:
    """Return an item. Raises ValueError that names the row."""
    name = file_name(row, "id", "a row")
    where = f"row {name}"
    category, predict = str(value_of(row, "Category", where)), value_of(row, "predict", where)
    query, golden = (_parts(row, key, data, store, where) for key in ("Query", "Golden"))
    texts, images = [part for part in query if isinstance(part, str)], [p.ref for p in query if isinstance(p, Picture)]
    if not texts or not golden:
        raise ValueError(f"{where} has no text in its Query, or nothing in its Golden")
    about_images = predict.get("image_qa") or []
    if isinstance(about_images, Mapping):
        about_images = next(iter(about_images.values()))
    kept = {
        "said": {key: row[key] for key in ("id", "Category", "Query", "Golden")},
        "query": query,
        "golden": golden,
        "block": [_about(one, ("subject", "object")) for one in (predict.get("block_qa") or {}).get("questions", [])],
        "image": [_about(one, ("image",)) for one in about_images],
    }
    task = next((task for task, categories in TASKS.items() if category in categories), category)
    return Item(name, task, without_image_marks("\n".join(texts)), tuple(images), kept)


def _parts(row: Row, key: str, data: Path, store: Store, where: str) -> tuple[Part, ...]:
    """Return the texts and images of a row's Query or Golden."""
    return tuple(
        str(part["content"])
        if part["type"] == "text"
        else Picture(image_in(str(image_file(data, part["content"], where)), data, store, where))
        for part in value_of(row, key, where)
    )


def _about(asked: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return a question of `predict`: what it is about, and the ids of those that have to be a yes before it."""
    parts = {name: str(asked.get(name)) for name in names}
    return {
        **parts,
        "question": str(asked.get("Question") or ""),
        "id": asked.get("id"),
        "needs": asked.get("Preliminary") or [],
    }


def is_exact(item: Item, output: Output) -> bool:
    """Return whether an answer has texts and images in the order of the golden one."""
    return list(map(kind_of, output.parts)) == list(map(kind_of, item.row["golden"]))


def kind_of(part: Part) -> str:
    """Return what a part is in the benchmark's words."""
    return "text" if isinstance(part, str) else "image"


def named(parts: Sequence[Part], whose: str) -> dict[str, Part]:
    """Return parts by the names that rows have for them, like <gen_img2>."""
    found: dict[str, Part] = {}
    for kind, short in (("text", "text"), ("image", "img")):
        of_kind = [part for part in parts if kind_of(part) == kind]
        found |= {f"<{whose}_{short}{number}>": part for number, part in enumerate(of_kind, 1)}
    return found
