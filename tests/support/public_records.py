"""Trajectories in exactly the public system's form: folders with an execution_record.json and its images."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

FOLDER = "12_How_is_a_cat_drawn_"


def plan_step(number: int, **changes: Any) -> dict[str, Any]:
    """Return an entry of execution_plan."""
    step = {
        "step_number": number,
        "step_name": f"Part {number}",
        "instruction": f"Part {number} of a cat – ‘whiskers’",
        "prompt": f"draw part {number}",
        "auxiliary_text": None if number == 1 else f"It has {number} parts.",
    }
    return {**step, **changes}


def story(root: str = "saved", folder: str = FOLDER) -> dict[str, Any]:
    """Return the record of two steps: the first failed once, the second succeeded at once."""
    where = f"{root}/{folder}"

    def tried(step: int, file: str, source: str, refined: str, *, success: bool) -> dict[str, Any]:
        return {
            "step": step,
            "prompt": f"draw part {step}",
            "refine_prompt": refined,
            "source_img": source,
            "target_img": f"{where}/{file}",
            "success": success,
            "reasoning": f"I look at {file} \u00e9",
        }

    return {
        "user_input": "How is a cat drawn?",
        "global_context": {"reasoning": "two parts are enough", "execution_plan": [plan_step(1), plan_step(2)]},
        "steps": [
            tried(1, "step1_0.png", "white.png", "draw part 1, larger", success=False),
            tried(1, "step1_4.png", "white.png", "", success=True),
            tried(2, "step2_6.png", f"{where}/step1_4.png", "", success=True),
        ],
    }


def answer_to_ueval(root: str = "saved", folder: str = "art_7") -> dict[str, Any]:
    """Return the record of two steps in the other form."""
    where = f"{root}/{folder}"
    first = {"prompt": "a cat", "refine_prompt": "", "source_img": "white.png", "target_img": f"{where}/step1.png"}
    second = {
        "prompt": "add a hat",
        "refine_prompt": "add a tall hat",
        "source_img": f"{where}/step1.png",
        "target_img": f"{where}/step2.png",
    }
    return {"1": first, "2": second}


def save_record(root: Path, record: Any, folder: str = FOLDER) -> Path:
    """Write a record and an image for each file that it names; return the record's file."""
    place = root / folder
    place.mkdir(parents=True, exist_ok=True)
    entries = record.get("steps") or record.values()
    for number, entry in enumerate(entries):
        save_picture(place / Path(entry["target_img"]).name, number)
    file = place / "execution_record.json"
    file.write_text(json.dumps(record, indent=4, ensure_ascii=False), encoding="utf-8")
    return file


def save_picture(path: Path, number: int) -> None:
    """Save a small picture, as compressed as no default is: its bytes must survive, not only its pixels."""
    image = Image.new("RGB", (16, 12), (200, 10 * number, 30))
    image.paste((20, 200, 10 * number), (2, 2, 8, 6))
    image.save(path, compress_level=1)


def canonical(path: Path) -> bytes:
    """Return a file's JSON in canonical form."""
    return json.dumps(json.loads(path.read_text(encoding="utf-8")), sort_keys=True).encode()
