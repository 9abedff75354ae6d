"""Thoughts, fences and marks round a judge's JSON change no number; whatever leaves a doubt is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.judging.rubric import FORMS, RubricError
from rollout.text.unwrap import unwrapped

ANSWER = {"reasoning": "it is red", "score": [7, 8.5]}
TEXT = json.dumps(ANSWER)
READ = {"reasoning": "it is red", "scores": [7.0, 8.5]}
OTHER = json.dumps({"reasoning": "no", "score": [1, 1]})


@pytest.mark.parametrize(
    ("wrapped", "kinds"),
    [
        ("%s", ()),
        ("```json\n%s\n```", ()),
        ("```\n%s\n```", ()),
        ("<think>It is red.</think>%s", ("thought",)),
        ("<think>\nLine\nline\n</think>\n\n%s\n", ("thought",)),
        ("<THINKING>x</THINKING> %s", ("thought",)),
        ("<think>a</think>\n<think>b</think>%s", ("thought",)),
        ("<think></think>%s", ("thought",)),
        ("[THINK]x[/THINK]%s", ("thought",)),
        ("<seed:think>x</seed:think>%s", ("thought",)),
        ("\ufeff%s", ()),
        ("◁think▷x◁/think▷%s", ("thought",)),
        ("<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>%s", ("thought",)),
        ("<|start|>assistant<|channel|>final <|constrain|>json<|message|>%s<|return|>", ("thought",)),
        (f"<|channel|>analysis<|message|>{OTHER}<|end|>\n<|channel|>final<|message|>%s<|end|>", ("thought",)),
        ("<|channel|>final<|message|>```JSON\n%s\n```<|return|>", ("thought", "fence")),
        ("analysisIt is red.assistantfinal%s", ("thought",)),  # the same without its special tokens
        ("I look at it: red.\n</think>\n%s", ("thought",)),  # the prompt ended with <think>
        (f"<think>I might say {OTHER}</think>%s", ("thought",)),  # a draft in a thought is a thought
        ("<think>x</think>```json\n%s\n```", ("thought",)),
        ("<think>x</think><answer>%s</answer>", ("thought", "answer_mark")),
        ("<|begin_of_box|>%s<|end_of_box|>", ("answer_mark",)),
        ("```JSON\n%s\n```", ("fence",)),
        ("``` json\n%s\n```", ("fence",)),
        ("```json5\n%s\n```", ("fence",)),
        ("```json\r\n%s\r\n```", ("fence",)),
        ("```json %s ```", ("fence",)),
        ("```%s```", ("fence",)),
        ("````json\n%s\n````", ("fence",)),
        ("~~~\n%s\n~~~", ("fence",)),
        ("~~~json\n%s\n~~~", ("fence",)),
        ("Here is my judgement:\n```json\n%s\n```", ("prose",)),
        ("By the format {reasoning, score}:\n\n```json\n%s\n```", ("prose",)),
        (f"So: {TEXT}\n```json\n%s\n```", ("prose",)),  # the same twice
        ("<think>x</think>Here:\n~~~ JSON\n%s\n~~~", ("thought", "prose")),
    ],
)
def test_what_changes_no_number_is_read_and_told(wrapped, kinds):
    text = wrapped.replace("%s", TEXT)
    assert FORMS["rubric"].parse(text, 2) == READ
    assert unwrapped(text)[1] == kinds


@pytest.mark.parametrize(
    "doubtful",
    [
        "I would say: %s",
        "%s\nI hope this helps!",
        "```json\n%s\n```\nI hope this helps!",
        "```json\n%s",
        "%s\n```",
        "```json\n%s\n~~~",
        "```json\n%s\n```\n```json\n%s\n```",
        "```\nnotes\n```\n```json\n%s\n```",
        f"```json\n{OTHER}\n```\n```json\n%s\n```",
        f"First {OTHER}, but then:\n```json\n%s\n```",
        f"{OTHER}\n%s",
        f"{OTHER}</think>%s",
        "<think>It is red. %s",
        "<think>a</think>b</think>%s",
        "<think>a</think>b %s",
        f"<answer>{OTHER}</answer><answer>%s</answer>",
        "<|channel|>analysis<|message|>%s",
        "<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>commentary<|message|>%s",
        f"<|channel|>final<|message|>{OTHER}<|end|><|start|>assistant<|channel|>final<|message|>%s",
        "<|channel|>final<|message|>%s<|end|><|start|>assistant<|channel|>analysis<|message|>x",
        "It is red. <|channel|>final<|message|>%s",
        "<think>x</think>",
        "%s<think>x</think>",
        "{" * 300 + "\n```json\n%s\n```",
    ],
)
def test_what_leaves_a_doubt_is_refused(doubtful):
    with pytest.raises(RubricError) as caught:
        FORMS["rubric"].parse(doubtful.replace("%s", TEXT), 2)
    assert caught.value.kind == "unreadable"


def test_a_strict_answer_is_never_looked_into():
    text = json.dumps({"reasoning": "<think>no</think> ```json {} ``` </think>", "score": [7, 8]})
    assert FORMS["rubric"].parse(text, 2)["scores"] == [7.0, 8.0]
    assert unwrapped(text) == (text, ())


MARKS = ["<think>", "</think>", "```", "~~~", "<answer>", "<|channel|>", "<|channel|>final<|message|>", "<|end|>"]
pieces = st.sampled_from([*MARKS, "json", "\n", " ", "{", "}", TEXT, OTHER, "x"])


@given(st.lists(pieces, max_size=12).map("".join))
def test_whatever_is_read_is_an_object_that_ends_the_text(text):
    try:
        read = FORMS["rubric"].parse(text, 2)
    except RubricError:
        return
    whole = {json.dumps([7.0, 8.5]): TEXT, json.dumps([1.0, 1.0]): OTHER}[json.dumps(read["scores"])]
    assert text[text.rindex(whole) + len(whole) :].strip("`~ \n") in ("", "</answer>", "<|end|>")
