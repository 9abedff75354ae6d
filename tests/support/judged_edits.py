"""Edits of a benchmark as a run leaves them: pictures, what is handed in, and the judge's answers as they are read."""

from collections.abc import Callable, Mapping
from pathlib import Path

from PIL import Image

from actors.store.store import Store
from evals.official.benchmark import Benchmark, Figure, Item, Judged, Output, Picture, Question, Reading, Unreadable


def paint(path: Path, shade: int, size: tuple[int, int] = (8, 6)) -> Path:
    """Write a picture of one grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade,) * 3).save(path)
    return path


def edits_of(items: list[Item], store: Store, *, failed: tuple[str, ...] = ()) -> dict[str, Output]:
    """Return an edit for each item, 4 x 4 pixels of a grey of its own, but for those that failed."""
    made = {}
    for shade, item in enumerate(items):
        picture = Picture(store.put_image(Image.new("RGB", (4, 4), (shade, 0, 0))))
        made[item.id] = Output((), "the generator failed") if item.id in failed else Output((picture,))
    return made


def judged_by(
    benchmark: Benchmark,
    outputs: Mapping[str, Output],
    items: list[Item],
    prompts: Mapping[str, str],
    say: Callable[[Item, Question], str],
) -> list[Judged]:
    """Ask all questions; what cannot be read is None, as after the last time of asking."""
    judged = []
    for item in items:
        readings: dict[str, Reading | None] = {}
        for question in benchmark.questions(item, outputs[item.id], prompts):
            try:
                readings[question.key] = benchmark.read_answer(question, say(item, question))
            except Unreadable:
                readings[question.key] = None
        judged.append(Judged(item, outputs[item.id], readings))
    return judged


def values_of(figures: list[Figure], *, mended: bool = False) -> dict[str, float | None]:
    """Return the figures of the benchmark's script, or those that mend it, by name."""
    return {figure.name: figure.value for figure in figures if figure.is_mended == mended}
