"""The shapes critic: what SFT teaches it, and that the tokenizer keeps the world's words whole."""

import random

import pytest

pytest.importorskip("actors")

from recipes.shapes.sft import critic_messages, ideal_answer, make_drawn_attempt
from recipes.shapes.tokenizer import IMAGE_PAD, make_tokenizer
from recipes.shapes.world import WORDS, parse, say_randomly
from rollout.text.critique import parse_critique


def test_every_word_is_one_token_with_its_space():
    tokenizer = make_tokenizer()
    words = [word for synonyms in WORDS.values() for word in synonyms]
    assert all(len(tokenizer.tokenize(f" {word}")) == 1 for word in words)


def test_any_text_survives_the_tokenizer():
    tokenizer = make_tokenizer()
    text = "Zoë draws 12 ☂ {and} <think>things</think>\n"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_turns_have_the_form_of_qwen():
    tokenizer = make_tokenizer()
    messages = [{"role": "user", "content": "a red box"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    assert text == "<|im_start|>user\na red box<|im_end|>\n<|im_start|>assistant\n"
    shown = tokenizer.apply_chat_template(critic_messages("a red box", "a ruby box"), tokenize=False)
    assert shown.count(f"<|vision_start|>{IMAGE_PAD}<|vision_end|>") == 2
    assert "instruction: a red box\nprompt: a ruby box<|im_end|>" in shown


@pytest.mark.parametrize("seed", range(20))
def test_the_ideal_answer_judges_rightly_and_says_the_wish(seed):
    rng = random.Random(seed)
    attempt = make_drawn_attempt(rng)
    critique = parse_critique(ideal_answer(attempt, rng))
    assert critique.is_success == attempt.is_success == ("false" not in critique.thought)
    assert parse(critique.refine_prompt) == attempt.wishes


def test_refined_prompts_use_all_words_alike():
    rng = random.Random(0)
    counts = dict.fromkeys(WORDS["red"], 0)
    attempts = [make_drawn_attempt(rng) for _ in range(100)]
    for attempt in attempts * 40:
        for word in say_randomly(attempt.wishes, rng).split():
            if word in counts:
                counts[word] += 1
    share = [count / sum(counts.values()) for count in counts.values()]
    assert all(0.2 < s < 0.3 for s in share)


def test_the_cold_start_is_written_as_records_that_load(tmp_path):
    from data.records.sft import Canvas, Kind
    from data.table.record_table import open_sft
    from recipes.shapes.sft_records import write_records

    rng = random.Random(1)
    attempts = [make_drawn_attempt(rng) for _ in range(60)]
    counts = write_records(attempts, tmp_path, rng)
    train, heldout = (open_sft(tmp_path / f"{split}.jsonl", Kind.CRITIC_SFT) for split in ("train", "heldout"))
    assert counts == {"train": len(train), "heldout": len(heldout)}
    assert sum(record.answer.is_success for record in train) * 2 == len(train) > len(attempts) / 2
    assert not {record.source_prompt for record in train} & {record.source_prompt for record in heldout}
    assert any(isinstance(record.images[0], Canvas) for record in train)
    assert train[0].messages[0].content.startswith("before <image> after <image>\ninstruction: a")
