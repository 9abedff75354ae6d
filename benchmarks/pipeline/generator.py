"""The stand-in generator, a class of `generator.kind`: its replicas import this module, and little else."""

import asyncio

from PIL import Image

from actors.user_classes.roles import Edit
from benchmarks.pipeline.scenario import Scenario, image_of, place_in
from rl.plan.stage_times import Work


class StandInGenerator:
    """Makes one image at a time, each in the time drawn for its sample."""

    def __init__(self, factor: float, num_steps: int, seed: int):
        self._times = Scenario(factor, num_steps, seed).times
        self._device = asyncio.Lock()

    async def edit(self, edit: Edit) -> Image.Image:
        place = place_in(edit.prompt)
        image = image_of(place)
        async with self._device:
            await asyncio.sleep(self._times.seconds(Work.GENERATE, *place))
        return image
