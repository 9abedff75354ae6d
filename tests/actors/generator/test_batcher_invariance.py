"""`generator.batch_invariant`: each image is made by itself, and has a name of its own in the store."""

import asyncio

import pytest

from actors.config import GeneratorConfig
from actors.generator.generator import Generator
from actors.generator.kind import resolve
from actors.store.store import Store
from rollout.types import EditRequest
from tests.support import tiny_generator
from tests.support.painter import edit_all
from tests.support.painter import generator_settings as settings
from tests.support.painter import make_generator as make

REQUESTS = [EditRequest(None, f"prompt {number}", number) for number in range(6)]


def test_each_image_is_made_by_itself(tmp_path):
    _, _, replica = edit_all(make(tmp_path, batch_invariant=True, max_batch_size=0), *REQUESTS)
    assert [len(batch) for batch in replica.batches] == [1] * 7  # the first is the warm-up
    _, _, replica = edit_all(make(tmp_path / "other"), *REQUESTS)
    assert max(map(len, replica.batches)) > 1


@pytest.mark.parametrize("given", [{"name": "qwen-image"}, {"pipeline": "AnyPipeline"}, {}])
def test_a_named_generator_and_any_other_obey_alike(given):
    config = GeneratorConfig(model="x", batch_invariant=True, **given)
    assert resolve(resolve(config)).max_batch_size == 1


def test_images_of_batches_are_not_taken_for_it_and_all_others_keep_their_names(tmp_path):
    batched = make(tmp_path)
    alone = make(tmp_path, batch_invariant=True, max_batch_size=0)
    assert "batch_invariant" not in batched._depends_on(REQUESTS[0])
    assert alone._depends_on(REQUESTS[0]) == batched._depends_on(REQUESTS[0]) | {"batch_invariant": True}
    assert alone.settings_digest() != batched.settings_digest()
    edit_all(batched, *REQUESTS)
    _, stats, _ = edit_all(alone, *REQUESTS)
    assert not stats.get("generator/hits")


def test_what_contradicts_it_is_refused():
    with pytest.raises(ValueError, match=r"generator\.max_batch_size is 4: leave one of them out"):
        settings(batch_invariant=True)
    with pytest.raises(ValueError, match=r"makes its images elsewhere: generator\.batch_invariant is for pipelines"):
        resolve(GeneratorConfig(name="gpt-image", batch_invariant=True))


@pytest.mark.slow
def test_no_bit_of_an_image_depends_on_what_else_is_asked_for(tmp_path):
    """Slow: a real pipeline makes the images."""
    model = tiny_generator.build(tmp_path / "model")
    config = GeneratorConfig(
        model=str(model),
        num_replicas=0,
        height=tiny_generator.SIZE,
        width=tiny_generator.SIZE,
        call=tiny_generator.CALL,
        batch_invariant=True,
    )

    async def images(store, requests):
        generator = await Generator.start(config, store)
        return [Store(store).digest(ref) for ref in await asyncio.gather(*map(generator.edit, requests))]

    together = asyncio.run(images(tmp_path / "together", REQUESTS))
    alone = [asyncio.run(images(tmp_path / f"alone{one.seed}", [one]))[0] for one in REQUESTS]
    assert together == alone
