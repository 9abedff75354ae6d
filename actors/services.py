"""One entry point to all checks of the services that make images and scores, before anything starts."""

from __future__ import annotations

from collections.abc import Iterable

from actors.config import GeneratorConfig, JudgeConfig
from actors.generator.api import check_api
from actors.generator.settings import check_generator
from actors.judge.judge import check_baseline, check_judge
from rollout.single_step import Baseline


def check_services(
    generator: GeneratorConfig,
    judge: JudgeConfig | None = None,
    *,
    befores: Iterable[str | None] = (),
    baseline: Baseline = Baseline.RECORD,
) -> GeneratorConfig:
    """Raise ValueError for what a generator or judge lacks: files, functions, keys. Starts and asks nothing.

    Returns the generator's settings with nothing left empty. `befores` are the before-images of the edits to be
    made (None: text-to-image), `baseline` is what the judge will have to compare with.
    """
    resolved = check_generator(generator, befores)
    check_api(generator)
    if judge is not None:
        check_judge(judge)
        check_baseline(baseline, judge)
    return resolved
