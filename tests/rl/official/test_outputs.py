import asyncio
import json
from dataclasses import replace

from rich.console import Console

from evals.official.benchmark import Output
from rl.official.outputs import OutputLog
from rl.official.report import FIGURES, judge_folder
from rl.official.run import run_official, score
from tests.support.fake_asker import FakeAsker
from tests.support.official_run import MODEL, prepared


def test_leniencies_are_kept_with_the_outputs_and_told_with_the_figures(tmp_path):
    run = prepared(tmp_path)
    output = Output(("a text",), leniencies={"literal": 2, "fence": 1})
    asyncio.run(OutputLog(run.out).append(run.items[0], output))
    assert OutputLog(run.out).read(run.store) == {"1": output}
    outputs = dict.fromkeys((item.id for item in run.items), Output(("a text",))) | {"1": output}
    reply = FakeAsker(lambda question: {"text": '{"criteria_met": false}'})
    asyncio.run(score(run, outputs, reply, Console(quiet=True), say=lambda *_: None))
    found = json.loads((judge_folder(run.out, MODEL) / FIGURES).read_text())
    assert found["leniencies"] == {"literal": 2, "fence": 1}
    assert "only loosely: literal 2, fence 1" in (run.out / "figures.html").read_text()


def test_leniencies_are_told_also_where_nobody_judges(tmp_path, capsys):
    run = replace(prepared(tmp_path), judge=None)
    for item in run.items:
        asyncio.run(OutputLog(run.out).append(item, Output(("a text",), leniencies={"literal": 2})))
    asyncio.run(run_official(run, Console(force_terminal=False)))
    assert "read leniently  literal 26" in capsys.readouterr().out
    assert (run.out / "submission/model_outputs.json").is_file()
