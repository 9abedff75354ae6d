"""The generator's own work, with a replica that paints instead of a pipeline."""

import pickle
from typing import Any

import pytest
from PIL import Image

from actors.generator.kind import resolve
from actors.generator.registry import REGISTRY
from actors.generator.replica import MAX_BAD_BATCHES
from actors.model_digest import model_digest
from actors.store.store import Store, call_key
from rollout.roles import GeneratorError, Unsupported
from rollout.types import EditRequest
from tests.support.painter import Painter, edit_all, generator_settings, make_generator


def test_the_image_is_committed_before_the_answer(tmp_path):
    before = Store(tmp_path).put_image(Image.new("RGB", (8, 8), (200, 0, 0)))
    refs, _, _ = edit_all(make_generator(tmp_path), EditRequest(None, "abc", 7), EditRequest(before, "abc", 7))
    assert [Store(tmp_path).get_image(ref).getpixel((0, 0)) for ref in refs] == [(0, 3, 7), (200, 3, 7)]


def test_only_edits_of_one_image_share_a_batch_and_equal_ones_are_made_once(tmp_path):
    store = Store(tmp_path)
    one, two = (store.put_image(Image.new("RGB", (8, 8), (tint, 0, 0))) for tint in (1, 2))
    requests = [EditRequest(before, f"{before[-1]}{i}", i) for i in range(3) for before in (one, two)]
    refs, stats, replica = edit_all(make_generator(tmp_path), *requests, requests[0])
    assert refs[0] == refs[-1]
    assert len(set(refs)) == 6
    assert all(len({prompt[0] for prompt in batch}) == 1 for batch in replica.batches[1:])
    assert sorted(map(len, replica.batches)) == [1, 3, 3]
    assert stats["generator/shared"] == 1


def test_a_second_process_pays_nothing(tmp_path):
    generator = make_generator(tmp_path)
    first, _, _ = edit_all(generator, EditRequest(None, "abc", 7))
    again, stats, replica = edit_all(pickle.loads(pickle.dumps(generator)), EditRequest(None, "abc", 7))
    assert again == first
    assert stats["generator/hits"] == 1
    assert len(replica.batches) == 1


@pytest.mark.parametrize("changes", [{"width": 16}, {"call": {"num_inference_steps": 5}}, {"dtype": "bfloat16"}])
def test_other_settings_are_other_edits(tmp_path, changes):
    edit_all(make_generator(tmp_path), EditRequest(None, "abc", 7))
    _, stats, _ = edit_all(make_generator(tmp_path, **changes), EditRequest(None, "abc", 7))
    assert "generator/hits" not in stats


def test_a_lost_image_is_made_again(tmp_path):
    generator = make_generator(tmp_path)
    (ref,), _, _ = edit_all(generator, EditRequest(None, "abc", 7))
    Store(tmp_path).image_path(ref).unlink()
    (again,), _, _ = edit_all(make_generator(tmp_path), EditRequest(None, "abc", 7))
    assert again == ref
    assert Store(tmp_path).image_path(ref).exists()


def test_one_bad_edit_does_not_take_its_batch_along(tmp_path):
    refs, stats, _ = edit_all(
        make_generator(tmp_path), *(EditRequest(None, prompt, 1) for prompt in ("a", "bad", "ccc"))
    )
    assert isinstance(refs[1], GeneratorError)
    assert "CUDA out of memory" in str(refs[1])
    assert "attempts: 2" in str(refs[1])
    assert all(isinstance(ref, str) for ref in (refs[0], refs[2]))
    assert (stats["generator/failures"], stats["generator/faults/RuntimeError"]) == (1, 2)


def test_what_the_pipeline_refuses_is_not_tried_again_and_does_not_take_its_batch_along(tmp_path):
    refs, stats, replica = edit_all(
        make_generator(tmp_path), *(EditRequest(None, prompt, 1) for prompt in ("a", "strange", "ccc"))
    )
    assert isinstance(refs[1], Unsupported)
    assert "flux2-klein refuses the request: Image too small: 32x32 [attempts: 1" in str(refs[1])
    assert all(isinstance(ref, str) for ref in (refs[0], refs[2]))
    assert stats["generator/faults/unsupported"] == 1
    assert replica.batches.count(["strange"]) == 1


@pytest.mark.parametrize("gone", ["sha256:" + "0" * 64, "no/such/file.png"])
def test_a_missing_before_image_is_named_and_not_tried_again(tmp_path, gone):
    (error,), _, replica = edit_all(make_generator(tmp_path), EditRequest(gone, "abc", 7))
    assert isinstance(error, GeneratorError)
    assert "no_image" in str(error)
    assert gone[:20] in str(error)
    assert len(replica.batches) == 1


class OnlyText(Painter):
    spec = REGISTRY["qwen-image"]


def test_a_pipeline_that_edits_nothing_says_so(tmp_path):
    before = Store(tmp_path).put_image(Image.new("RGB", (8, 8)))
    (error, ref), _, replica = edit_all(
        make_generator(tmp_path, OnlyText), EditRequest(before, "abc", 7), EditRequest(None, "abc", 7)
    )
    assert isinstance(error, Unsupported)
    assert str(error) == "unsupported: qwen-image does no edit; it does text-to-image"
    assert ref.startswith("sha256:")
    assert replica.batches == [["a red box"], ["abc"]]


def test_what_it_cannot_do_is_said_before_the_image_is_looked_for(tmp_path):
    (error,), stats, replica = edit_all(make_generator(tmp_path, OnlyText), EditRequest("no/such/file.png", "abc", 7))
    assert isinstance(error, Unsupported)
    assert stats == {}
    assert len(replica.batches) == 1


def test_a_recipes_size_is_not_to_be_asked_away(tmp_path):
    asked = EditRequest(None, "abc", 7, size=(512, 512))
    (error, ref), _, _ = edit_all(make_generator(tmp_path), asked, EditRequest(None, "abc", 7, size=(8, 8)))
    assert Store(tmp_path).get_image(ref).size == (8, 8)
    assert "set to 8x8 by its recipe, not 512x512" in str(error)


def test_edits_are_named_as_they_always_were_and_further_wishes_add_to_the_name(tmp_path):
    before, other = (Store(tmp_path).put_image(Image.new("RGB", (8, 8), (tint, 0, 0))) for tint in (1, 2))
    generator = make_generator(tmp_path)
    plain = generator._depends_on(EditRequest(before, "abc", 7))
    assert set(plain) == {"service", "pipeline", "model", "dtype", "size", "call", "before", "prompt", "seed"}
    assert plain["pipeline"] == "Flux2KleinPipeline"
    wishes: list[dict[str, Any]] = [
        {"references": (other,)},
        {"mask": other},
        {"size": (8, 8)},
        {"options": (("guidance_scale", 2.0),)},
    ]
    names = [call_key(**generator._depends_on(EditRequest(before, "abc", 7, **wish))) for wish in wishes]
    assert len({call_key(**plain), *names}) == 5


def test_only_requests_alike_in_all_but_prompt_and_seed_share_a_batch(tmp_path):
    store = Store(tmp_path)
    one, two = (store.put_image(Image.new("RGB", (8, 8), (tint, 0, 0))) for tint in (1, 2))
    requests = [
        EditRequest(one, f"{'p' if references else 's'}{number}", number, references=references)
        for number in range(3)
        for references in ((), (two,))
    ]
    _, _, replica = edit_all(make_generator(tmp_path), *requests)
    assert sorted(map(len, replica.batches)) == [1, 3, 3]
    assert all(len({prompt[0] for prompt in batch}) == 1 for batch in replica.batches)


def test_a_replica_whose_batches_all_fail_calls_itself_sick_until_one_works(tmp_path):
    replica = Painter(resolve(generator_settings()), str(tmp_path))
    replica.check_health()
    for _ in range(MAX_BAD_BATCHES):
        replica._run([EditRequest(None, "bad", 1)])
    with pytest.raises(RuntimeError, match="batches of the generator failed"):
        replica.check_health()
    replica._run([EditRequest(None, "strange", 1)])  # a refusal makes nobody well
    with pytest.raises(RuntimeError, match="batches of the generator failed"):
        replica.check_health()
    replica._run([EditRequest(None, "good", 1)])
    replica.check_health()


def test_a_replica_that_refuses_requests_is_not_sick(tmp_path):
    replica = Painter(resolve(generator_settings()), str(tmp_path))
    for seed in range(MAX_BAD_BATCHES + 1):
        replica._run([EditRequest(None, "strange", seed)])
        replica._run([EditRequest(None, "strange", seed), EditRequest(None, "strange", -1)])
    replica.check_health()
    for _ in range(MAX_BAD_BATCHES):
        replica._run([EditRequest(None, "strange", 1), EditRequest(None, "bad", 1)])
    with pytest.raises(RuntimeError, match="batches of the generator failed"):
        replica.check_health()


def test_a_generator_that_cannot_paint_never_gets_healthy(tmp_path):
    class Broken(Painter):
        def _load(self):
            canvas = super()._load()
            canvas.draw = lambda *_: 1 / 0
            return canvas

    with pytest.raises(ZeroDivisionError):
        Broken(generator_settings(), str(tmp_path))


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match=r"generator\.max_batch_size is -1"):
        generator_settings(max_batch_size=-1)


def test_a_model_is_named_by_its_files(tmp_path):
    for name, text in (("a", "one"), ("b", "one"), ("c", "two")):
        (tmp_path / name / "unet").mkdir(parents=True)
        (tmp_path / name / "unet" / "weights.safetensors").write_text(text)
    (tmp_path / "b" / ".cache").write_text("not part of it")
    one, same, other = (model_digest(tmp_path / name) for name in "abc")
    assert one == same != other
    snapshot = tmp_path / "models--maker--klein" / "snapshots" / "0a1b"
    snapshot.mkdir(parents=True)
    assert model_digest(snapshot) == "models--maker--klein@0a1b"
