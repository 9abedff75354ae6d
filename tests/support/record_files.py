"""Records of every kind, files of them, and what a check of them prints."""

import io
import json
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console

from data.check.check import Summary
from data.check.report import print_report
from rollout.text.critique import format_critique
from rollout.text.plan import Plan, PlanStep, format_plan
from rollout.types import Critique


def rl_record(number: int = 0, *, is_success: bool = False, **changes: Any) -> dict[str, Any]:
    """Return an RL record about image x.png."""
    score = 9 if is_success else 3
    record = {
        "origin_prompt": f"a red box number {number}",
        "rewritten_prompt": "",
        "origin_image_path": None,
        "edited_image_path": "x.png",
        "evaluation": {"success": is_success, "semantics": score, "quality": 8.5},
    }
    return {**record, **changes}


def critic_record(number: int = 0, *, is_success: bool = False, **changes: Any) -> dict[str, Any]:
    """Return an SFT record of the critic; its image before is a declared canvas."""
    answer = format_critique(Critique(is_success, f"a ruby box {number}", "I look"))
    record = {
        "messages": [
            {"role": "user", "content": f"<image><image>is it a red box number {number}?"},
            {"role": "assistant", "content": answer},
        ],
        "images": [{"canvas": "white", "size": [64, 64]}, "x.png"],
    }
    return {**record, **changes}


def planner_record(number: int = 0, **changes: Any) -> dict[str, Any]:
    """Return an SFT record of the planner: a narrative of two steps."""
    steps = (
        PlanStep(1, "Sky", "A sky", f"a blue sky {number}"),
        PlanStep(2, "Sun", "A sun", "add a sun", "It shines."),
    )
    record = {
        "messages": [
            {"role": "system", "content": "You plan."},
            {"role": "user", "content": f"a story of a day, number {number}"},
            {"role": "assistant", "content": format_plan(Plan(steps))},
        ],
        "images": [],
    }
    return {**record, **changes}


def write_lines(path: Path, records: Iterable[Any]) -> Path:
    """Write JSONL (texts and bytes as they are), and the image x.png beside it."""
    lines = [json.dumps(record) if isinstance(record, dict) else record for record in records]
    path.write_bytes(b"\n".join(line.encode() if isinstance(line, str) else line for line in lines) + b"\n")
    save_image(path.parent / "x.png")
    return path


def save_image(path: Path, size: tuple[int, int] = (16, 16)) -> Path:
    """Save a small picture that is not flat."""
    image = Image.new("RGB", size, "white")
    image.paste((200, 0, 0), (2, 2, size[0] // 2, size[1] // 2))
    image.save(path)
    return path


def save_png_header(path: Path, width: int, height: int) -> Path:
    """Save a PNG that says it is of this size, and holds no more than one row's worth of data."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks:
        data += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    path.write_bytes(data)
    return path


def report(summary: Summary) -> str:
    """Return what is printed of a check."""
    text = io.StringIO()
    print_report(summary, Console(file=text, width=120))
    return text.getvalue()
