"""What an ablation came to, in its folder: table.json, plot.svg, plot.png and a page that needs nothing beside it."""

import json
from pathlib import Path

import jinja2

from rl.ablation.plan import AblationPlan, Kind, Part
from rl.ablation.plot import draw
from rl.ablation.run import Stopped, time_left
from rl.ablation.table import Table
from rl.ablation.text import notes, text_tables
from rl.atomic_write import atomic_write


def write_results(plan: AblationPlan, table: Table, stopped: Stopped) -> Path:
    """Write all of it; return the page."""
    atomic_write(plan.folder / "table.json", json.dumps(table.as_json(), indent=1))
    drawn = draw(table)
    for kind, content in drawn.items():
        atomic_write(plan.folder / f"plot.{kind}", content)
    svg = drawn["svg"].decode()
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True)
    page = environment.get_template("page.html.j2").render(
        name=plan.recipe.name,
        stories=plan.recipe.stories,
        num_steps=sum(len(story.instructions) for story in plan.stories),
        tables=text_tables(table),
        notes=notes(table),
        plot=svg[svg.index("<svg") :],
        parts=[_told(plan, part, stopped) for part in plan.parts],
        left=time_left(plan.parts),
        variants=plan.recipe.variants,
        overrides=plan.recipe.overrides,
        train=plan.recipe.train,
    )
    path = plan.folder / "index.html"
    atomic_write(path, page)
    return path


def _told(plan: AblationPlan, part: Part, stopped: Stopped) -> dict[str, object]:
    report = Path("runs") / part.critic / "report.html"
    has_report = part.kind is Kind.TRAIN and (plan.folder / report).is_file()
    seconds = part.seconds
    if part.is_done:
        state = "done" if seconds is None else f"done, {seconds / 60:.1f} minutes"
    else:
        state = f"stopped: {stopped[part.critic]}" if part.critic in stopped else "left"
    return {"name": str(part), "state": state, "report": str(report) if has_report else ""}
