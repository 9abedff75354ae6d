"""Records as conversations, their order, and their tokens: those of the sampler's prompts, answers marked."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import actors  # noqa: F401  (first: makes torchvision importable beside a CPU build of torch)
from actors.policy.conversation_tokenizer import ConversationTokenizer
from actors.store.store import Store, load_images
from data.errors import RecordError
from data.records.image_paths import ImageResolver
from data.records.sft import Kind, read_sft
from data.table.record_table import open_sft
from rl.recipe.sft_config import SftDataConfig, SftEvaluationConfig, SftRecipe
from rl.sft.evaluation import answer_figures, measure
from rl.sft.examples import ExampleStream, Order, conversation_of
from rl.sft.run import PreparedSft, heldout_of
from rollout.text.critique import render_messages
from rollout.types import Response, Scores, Task
from tests.support.record_files import critic_record, planner_record, save_image, write_lines


def say(text: str, is_truncated: bool = False) -> Response:
    return Response((1,), (2,), text, (0.0,), 0, is_truncated)


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 3))
def test_epochs_follow_each_other_without_gap_or_repeat(num_records, batch_size, seed):
    order = Order(num_records, batch_size, seed)
    drawn = [place for step in range(1, 2 * num_records + 3) for place in order.at(step)]
    for epoch in range(len(drawn) // num_records):
        assert sorted(drawn[epoch * num_records : (epoch + 1) * num_records]) == list(range(num_records))
    assert Order(num_records, batch_size, seed).at(3) == drawn[2 * batch_size : 3 * batch_size]


def test_another_seed_is_another_order():
    assert Order(20, 20, seed=0).at(1) != Order(20, 20, seed=1).at(1)


@pytest.fixture(scope="module")
def processor():
    from tests.support.tiny_models import _processor

    return _processor()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def read(record, folder, kind=Kind.CRITIC_SFT):
    save_image(folder / "x.png", (48, 32))
    return read_sft(record, kind, ImageResolver(folder), default_id="it")


def test_a_prompt_is_what_the_sampler_would_be_given(tmp_path, processor, store):
    """Token by token: the text through the chat template, the images through the real image processor."""
    conversation = conversation_of(read(critic_record(3), tmp_path), store)
    example = ConversationTokenizer(processor, store).make(conversation.messages, conversation.images)
    text = processor.apply_chat_template(list(conversation.messages[:-1]), tokenize=False, add_generation_prompt=True)
    whole = processor(text=[text], images=load_images(store, conversation.images), return_tensors="pt")
    assert list(example.prompt_token_ids) == whole["input_ids"][0].tolist()
    answer = conversation.messages[-1]["content"] + "<|im_end|>"
    assert processor.tokenizer.decode(example.token_ids) == answer
    assert example.num_target_tokens == len(example.token_ids)
    assert example.images[0].startswith("sha256:")  # the declared canvas, 64 x 64
    assert Image.open(store.image_path(example.images[0])).size == (64, 64)


def test_a_canvas_without_a_size_is_as_large_as_the_other_image(tmp_path, processor, store):
    record = read(critic_record(images=[{"canvas": "white"}, "x.png"]), tmp_path)
    conversation = conversation_of(record, store)
    example = ConversationTokenizer(processor, store).make(conversation.messages, conversation.images)
    pads = example.prompt_token_ids.tolist().count(processor.tokenizer.convert_tokens_to_ids("<|image_pad|>"))
    assert (conversation.images[0], pads) == (None, 2 * (48 // 8) * (32 // 8))


def test_of_several_turns_all_answers_are_taught_and_nothing_else(processor, store):
    messages = [
        {"role": "system", "content": "You plan."},
        {"role": "user", "content": "a day"},
        {"role": "assistant", "content": "a blue sky"},
        {"role": "user", "content": "and then?"},
        {"role": "assistant", "content": "a red sun"},
    ]
    example = ConversationTokenizer(processor, store).make(messages, ())
    taught = [token for token, loss_mask in zip(example.token_ids, example.loss_mask, strict=True) if loss_mask]
    assert processor.tokenizer.decode(taught) == "a blue sky<|im_end|>a red sun<|im_end|>"
    whole = processor.apply_chat_template(messages, tokenize=False)
    assert processor.tokenizer.decode([*example.prompt_token_ids, *example.token_ids]) + "\n" == whole


@pytest.mark.parametrize(
    ("messages", "images", "message"),
    [
        ([{"role": "user", "content": "a day"}], (), "no answer to learn from"),
        (
            [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "x"}],
            ("x",),
            "marks 0 images and has 1",
        ),
        (
            [{"role": "user", "content": [{"type": "image"}]}, {"role": "assistant", "content": "x"}],
            (None,),
            "without a size",
        ),
        (
            [{"role": "user", "content": [{"type": "image"}]}, {"role": "assistant", "content": "x"}],
            ("/none.png",),
            "/none.png cannot be opened",
        ),
    ],
)
def test_what_does_not_fit_is_said(processor, store, messages, images, message):
    with pytest.raises(ValueError, match=message):
        ConversationTokenizer(processor, store).make(messages, images)


def test_a_template_that_rewrites_earlier_answers_is_refused(processor, store):
    forgetful = SimpleNamespace(
        apply_chat_template=lambda messages, **_: " ".join(m["content"] for m in messages if m["role"] == "user"),
        tokenizer=processor.tokenizer,
    )
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant", "user", "assistant")]
    with pytest.raises(ValueError, match="rewrites earlier answers"):
        ConversationTokenizer(forgetful, store).make(turns, ())


def test_training_asks_as_inference_does(tmp_path, store):
    """A record with the critic's prompt becomes the messages that `render_messages` makes of the task."""
    template = "Be strict.\n---\nbefore <image> after <image>\ninstruction: {instruction}\nprompt: {prompt}"
    task = Task("t", "a red box", "a ruby box", None, "x.png", False, Scores(0, 0))
    user = "before <image> after <image>\ninstruction: a red box\nprompt: a ruby box"
    record = critic_record()
    asked = [{"role": "system", "content": "Be strict."}, {"role": "user", "content": user}]
    record["messages"] = [*asked, *record["messages"][1:]]
    conversation = conversation_of(read(record, tmp_path), store)
    assert conversation.messages[:-1] == render_messages(template, task)


def test_a_plan_is_right_when_it_parses_and_has_as_many_steps(tmp_path, store):
    question = conversation_of(read(planner_record(), tmp_path, Kind.PLANNER_SFT), store)
    text = question.messages[-1]["content"]
    answers = [measure(question, say(text)), measure(question, say("no plan")), measure(question, say(text, True))]
    assert [answer.parse_error for answer in answers] == ["", "tags", "truncated"]
    figures = answer_figures(answers, Kind.PLANNER_SFT)
    assert figures["eval/parse_rate"] == figures["eval/same_num_steps"] == pytest.approx(1 / 3)
    assert figures["eval/same_instructions"] == pytest.approx(1 / 3)
    assert figures["eval/truncated_share"] == pytest.approx(1 / 3)
    other = text.replace('"instruction": "', '"instruction": "not ', 1)
    assert answer_figures([measure(question, say(other))], Kind.PLANNER_SFT) == {
        "eval/parse_rate": 1.0,
        "eval/truncated_share": 0.0,
        "eval/same_num_steps": 1.0,
        "eval/same_instructions": 1 - 1 / len(question.record.answer.steps),
    }


def test_verdicts_are_balanced_by_label(tmp_path, store):
    questions = [
        conversation_of(read(critic_record(is_success=label), tmp_path), store) for label in (True, False, False, False)
    ]
    always_no = questions[1].messages[-1]["content"]
    answers = [measure(question, say(always_no)) for question in questions]
    figures = answer_figures(answers, Kind.CRITIC_SFT)
    assert (figures["eval/verdict_accuracy"], figures["eval/verdict_balanced"]) == (0.75, 0.5)
    assert answer_figures([], Kind.CRITIC_SFT) == {}


def cut_off(path, file_format):
    """Save an image whose header is whole and whose data is not."""
    whole = path.with_suffix(".whole")
    Image.effect_noise((64, 48), 60).convert("RGB").save(whole, file_format)
    data = whole.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with Image.open(path) as image:
        assert image.size == (64, 48)
    return path


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP", "TIFF"])
def test_an_image_that_opens_and_does_not_decode_is_left_out_before_a_rank_sees_it(
    tmp_path, processor, store, file_format
):
    write_lines(tmp_path / "sft.jsonl", [critic_record(0), critic_record(1, id="odd", images=["x.png", "cut.img"])])
    path = cut_off(tmp_path / "cut.img", file_format)
    records = open_sft(tmp_path / "sft.jsonl", Kind.CRITIC_SFT)
    maker = ConversationTokenizer(processor, store)

    def make(record):
        conversation = conversation_of(record, store)
        return maker.make(conversation.messages, conversation.images)

    def stream(is_skipping):
        order = Order(len(records), 2, seed=0)
        return ExampleStream(records, make, order, steps=range(1, 2), max_tokens=10**6, is_skipping=is_skipping)

    examples, [reason] = stream(True).examples_at(1)
    assert len(examples) == 1
    assert reason.startswith(
        f"{tmp_path}/sft.jsonl:2: record odd: field images[1]: the image {path} cannot be decoded ("
    )
    with pytest.raises(RecordError) as caught:
        stream(False).examples_at(1)
    assert (str(caught.value), caught.value.kind) == (reason, "image_broken")


def test_a_held_out_record_whose_image_does_not_decode_is_not_measured(tmp_path, processor, store, capsys):
    write_lines(tmp_path / "sft.jsonl", [critic_record(0), critic_record(1, images=["x.png", "cut.img"])])
    cut_off(tmp_path / "cut.img", "JPEG")
    records = open_sft(tmp_path / "sft.jsonl", Kind.CRITIC_SFT)
    maker = ConversationTokenizer(processor, store)

    def ask(record):
        conversation = conversation_of(record, store)
        maker.sizes(conversation.images)
        return conversation

    def make(record):
        return maker.make(conversation_of(record, store).messages, conversation_of(record, store).images)

    def heldout(records, on_bad):
        data = SftDataConfig(train="-", heldout="held.jsonl", on_bad=on_bad)
        recipe = SftRecipe(name="a", data=data, evaluation=SftEvaluationConfig(num_answers=2))
        return heldout_of(PreparedSft(recipe, records, records, False), make, ask)

    examples, questions = heldout(records, "skip")
    assert (len(examples), [question.id for question in questions]) == (1, ["sft-1"])
    assert capsys.readouterr().err.startswith("held.jsonl: 1 bad record left out (1 image_broken), for example ")
    with pytest.raises(RecordError, match=r"sft.jsonl:2: record sft-2: field images\[1\]: the image "):
        heldout(records, "raise")
    with pytest.raises(RecordError, match=r"held.jsonl holds no record that can be measured: 1 bad record left out"):
        heldout([records[1]], "skip")


@pytest.mark.parametrize("orientation", [1, 6])
def test_patches_are_counted_of_the_image_as_it_is_seen(tmp_path, processor, store, orientation):
    record = read(critic_record(images=[{"canvas": "white"}, "x.png"]), tmp_path)
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.effect_noise((96, 32), 60).convert("RGB").save(tmp_path / "x.png", exif=exif)
    conversation = conversation_of(record, store)
    assert ConversationTokenizer(processor, store).sizes(conversation.images)[1] == (
        (96, 32) if orientation == 1 else (32, 96)
    )
    example = ConversationTokenizer(processor, store).make(conversation.messages, conversation.images)
    text = processor.apply_chat_template(list(conversation.messages[:-1]), tokenize=False, add_generation_prompt=True)
    whole = processor(text=[text], images=load_images(store, conversation.images), return_tensors="pt")
    assert list(example.prompt_token_ids) == whole["input_ids"][0].tolist()
