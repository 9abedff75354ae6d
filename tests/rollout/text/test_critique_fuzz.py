"""Fuzzed critiques: the parser raises `CritiqueError` alone and agrees with a slow reader that is plain to see."""

import json
import re
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.text.critique import ERROR_KINDS, CritiqueError, parse_critique
from rollout.types import Critique

# ---- the slow reference: one character at a time ------------------------------------------------------------------

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class Refused(Exception):
    """The reference's one answer to everything that is no critique."""


def reference(text: str) -> Critique | None:
    """Return the critique that `text` is, None when it is none."""
    try:
        thought, answer = tagged(text)
        pairs = flat_object(answer)
        keys = [key for key, _ in pairs]
        if sorted(keys) != ["previous_step_success", "refine_prompt"]:
            return None
        verdict, prompt = dict(pairs)["previous_step_success"], dict(pairs)["refine_prompt"]
        if not isinstance(verdict, bool) or not isinstance(prompt, str):
            return None
        prompt, thought = trimmed(prompt), trimmed(thought)
        if (
            prompt == ""
            or re.search(r"<\|\w[\w.:/-]{0,62}\|>", prompt)
            or any(is_surrogate(letter) for letter in prompt + thought)
        ):
            return None
        return Critique(verdict, prompt, thought)
    except Refused:
        return None


def tagged(text: str) -> tuple[str, str]:
    """Return what stands in the two pairs of tags; each tag stands once, in order, with only space around."""
    places = []
    for tag in TAGS:
        found = [i for i in range(len(text)) if text[i] == "<" and text[i : i + len(tag)] == tag]
        if len(found) != 1:
            raise Refused
        places.append(found[0])
    think, end_think, answer, end_answer = places
    if not think < end_think < answer < end_answer:
        raise Refused
    around = text[:think] + text[end_think + len(TAGS[1]) : answer] + text[end_answer + len(TAGS[3]) :]
    for letter in around:
        if not letter.isspace():
            raise Refused
    return text[think + len(TAGS[0]) : end_think], text[answer + len(TAGS[2]) : end_answer]


def flat_object(text: str) -> list[tuple[str, str | bool]]:
    """Read `{"key": value, ...}` where a value is a string, true or false: all that a critique may hold."""
    reader = Reader(text)
    reader.spaces()
    reader.expect("{")
    pairs = []
    while True:
        reader.spaces()
        key = reader.string()
        reader.spaces()
        reader.expect(":")
        reader.spaces()
        pairs.append((key, reader.value()))
        reader.spaces()
        if reader.peek() != ",":
            break
        reader.expect(",")
    reader.expect("}")
    reader.spaces()
    if reader.peek() != "":
        raise Refused
    return pairs


class Reader:
    def __init__(self, text: str):
        self.text = text
        self.place = 0

    def peek(self) -> str:
        return self.text[self.place] if self.place < len(self.text) else ""

    def take(self) -> str:
        letter = self.peek()
        if letter == "":
            raise Refused
        self.place += 1
        return letter

    def expect(self, word: str) -> None:
        for letter in word:
            if self.take() != letter:
                raise Refused

    def spaces(self) -> None:
        while self.peek() != "" and self.peek() in " \t\n\r":  # JSON's own four
            self.place += 1

    def value(self) -> str | bool:
        if self.peek() == '"':
            return self.string()
        if self.peek() == "t":
            self.expect("true")
            return True
        self.expect("false")
        return False

    def string(self) -> str:
        self.expect('"')
        letters: list[str] = []
        while (letter := self.take()) != '"':
            if ord(letter) < 32:
                raise Refused
            letters.append(self.escaped() if letter == "\\" else letter)
        return "".join(letters)

    def escaped(self) -> str:
        letter = self.take()
        if letter != "u":
            if letter not in ESCAPES:
                raise Refused
            return ESCAPES[letter]
        first = self.unit()
        if 0xD800 <= first < 0xDC00 and self.text[self.place : self.place + 2] == "\\u":
            back = self.place
            self.expect("\\u")
            second = self.unit()
            if 0xDC00 <= second < 0xE000:
                return chr(0x10000 + (first - 0xD800) * 0x400 + (second - 0xDC00))
            self.place = back
        return chr(first)

    def unit(self) -> int:
        value = 0
        for _ in range(4):
            digit = "0123456789abcdef".find(self.take().lower())
            if digit < 0:
                raise Refused
            value = value * 16 + digit
        return value


def trimmed(text: str) -> str:
    while text and text[0].isspace():
        text = text[1:]
    while text and text[-1].isspace():
        text = text[:-1]
    return text


def is_surrogate(letter: str) -> bool:
    return 0xD800 <= ord(letter) < 0xE000


# ---- what is thrown at it -----------------------------------------------------------------------------------------
# Hypothesis draws bytes and shrinks them; a pure function turns them into text, one byte a choice. (A strategy for
# every part is ten times as slow.) The first choices of each list are the plain ones.

ALPHABET = (
    "abc xyz.,'é红盒子أحمرкуб👩‍🎨"  # harmless
    '{}[]()<>/\\"`:\n\t\r\x00\x1f\x7f\x85\xa0\u2028\u200b\ufeff\ud83d\ude00\udfff'
)
NUM_HARMLESS = ALPHABET.index("{")
SPACES = ("", "", "", "", "", "", "", " ", "\n", "\t\r\n ", "\u2003", "\x1c\x0b", "\ufeff", "\x00", ".")
JSON_SPACES = ("", "", "", "", "", "", " ", " ", "\n\t\r ", "\xa0", "\x0c", "/* */")
LITERALS = (
    *('"a\\u0041\\/\\b\\f\\n\\r\\t\\"\\\\"', '"\\ud83d\\ude00"', '"\\uD83D\\uDE00"', '""', '" \\u0020 "', '"\\ud83d"'),
    *(
        '"\\ud83d\\u0041"',
        '"\\ude00\\ud83d"',
        '"\\ud83d\\ud83d\\ude00"',
        '"\\u00g1"',
        '"\\u 041"',
        '"\\u+041"',
        '"\\u0_41"',
    ),
    *('"\\u003c|image_pad|>"', '"a <|im_end|>"', '"<|a b|>"'),
    *('"\\x41"', '"\\u12"', '"\\u٠٠٤١"', '"\\"', '"a', "'a'", '"a\nb"', "a"),
)
OTHERS = (
    *("null", "0", "1", "-0", "1e999", "NaN", "Infinity", "-Infinity", "9" * 50, "9" * 4400, "0.1e-400", "True"),
    *("tru", "٣", "", "[]", "{}", '["a"]', '{"a": 1, "a": 2}', "[" * 40 + "]" * 40, "[" * 3000, '{"a":' * 3000),
    *("[1,", '{"a"', '{"previous_step_success": true, "refine_prompt": "a"}'),
)
VERDICT_KEYS = (
    '"previous_step_success"',
    '"\\u0070revious_step_success"',
    '"Previous_step_success"',
    "previous_step_success",
)
PROMPT_KEYS = ('"refine_prompt"', '"refine\\u005Fprompt"', '"refine_prompt "', '"refine_prompt\\u0000"')
ORDERS = (*((0, 1),) * 40, *((1, 0),) * 20, (0, 1, 0), (0, 1, 1), (1, 0, 0), (0,), (1,), ())
COMMAS = (*(",", ", ", ",\n") * 6, ",,", " ")
ENDS = (*("}",) * 60, ",}", "", "}}", "}]", "} {}")
WRAPPERS = (*("{}",) * 60, "[{}]", "```json\n{}\n```", "({})", "{}{}", "\ufeff{}")
THOUGHTS = ("", "<think>", "<answer>{}</answer>", "</thinking> < think > <THINK>", "\ud83d")
PIECES = (*TAGS, "{", "}", '"', ":", ",", "true", " ", "<think>a</think>", "\x00")


class Choices:
    """Bytes as a sequence of choices; when they are used up, the first of everything."""

    def __init__(self, data: bytes):
        self.left = iter(data)

    def number(self, below: int) -> int:
        return next(self.left, 0) % below

    def of(self, options):
        return options[self.number(len(options))]

    def rarely(self, one_in: int) -> bool:
        return self.number(one_in) == one_in - 1

    def text(self, size: int = 8) -> str:
        among = ALPHABET if self.rarely(8) else ALPHABET[:NUM_HARMLESS]
        return "".join(self.of(among) for _ in range(self.number(size)))

    def string(self) -> str:
        if self.rarely(10):
            return self.of(LITERALS)
        text = "a" * (not self.rarely(20)) + self.text()
        if self.rarely(20):
            return f'"{text}"'  # its quotes and backslashes as they are
        return json.dumps(text, ensure_ascii=self.rarely(2))


def whole(choices: Choices) -> str:
    """Return a critique, or what just fails to be one."""
    rarely, of = choices.rarely, choices.of
    verdict = of(OTHERS) if rarely(24) else of(("true", "false"))
    prompt = of(OTHERS) if rarely(24) else choices.string()
    verdict_key = of(VERDICT_KEYS) if rarely(20) else VERDICT_KEYS[0]
    prompt_key = of(PROMPT_KEYS) if rarely(20) else PROMPT_KEYS[0]
    space, other_space, outer_space = (of(JSON_SPACES) if rarely(6) else "" for _ in range(3))
    members = f"{verdict_key}{space}:{verdict}{other_space}", f"{prompt_key}:{space}{prompt}"
    body = "{" + other_space + of(COMMAS).join(members[i] for i in of(ORDERS)) + space + of(ENDS)
    thought = of(THOUGHTS) if rarely(20) else choices.text(12)
    around, between, after = (of(SPACES) if rarely(8) else "" for _ in range(3))
    answer = of(WRAPPERS).replace("{}", body)
    return f"{around}<think>{thought}</think>{between}<answer>{outer_space}{answer}</answer>{after}"


def damaged(choices: Choices) -> str:
    """Cut, double or stuff a critique: half-open JSON, several blocks, tags inside tags."""
    text = whole(choices)
    first, second = sorted((choices.number(len(text)), choices.number(len(text))))
    broken = (
        text[:first],
        text[:first] + text[second:],
        text[:second] + text[first:],
        text + text,
        text[:first] + choices.of(PIECES) + text[first:],
        choices.text() + text,
    )
    return choices.of(broken)


def pieces(choices: Choices) -> str:
    """Return tags and marks in any order."""
    return "".join(choices.of(PIECES) for _ in range(choices.number(12)))


KINDS = (*(whole,) * 20, *(damaged,) * 4, pieces, Choices.text)


def answer_of(data: bytes) -> str:
    choices = Choices(data)
    return choices.of(KINDS)(choices)


ANSWERS = st.binary(min_size=64, max_size=64).map(answer_of)


def fuzz(num_examples: int) -> Counter[str]:
    """Compare parser and reference on so many answers; return how often each outcome was seen."""
    seen: Counter[str] = Counter()

    @settings(
        max_examples=num_examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(ANSWERS)
    def check(text: str) -> None:
        try:
            found, outcome = parse_critique(text), "valid"
        except CritiqueError as error:
            found, outcome = None, error.kind
        assert found == reference(text)
        seen[outcome] += 1

    check()
    return seen


def hold(seen: Counter[str], num_examples: int) -> None:
    assert seen.total() >= num_examples
    assert seen["valid"] >= 0.3 * seen.total(), seen
    assert set(seen) - {"valid"} == set(ERROR_KINDS), "every kind of error is met and none is unnamed"


def test_a_thousand_fuzzed_critiques_are_read_as_the_reference_reads_them():
    hold(fuzz(1000), 1000)


@pytest.mark.slow
def test_ten_thousand_fuzzed_critiques_are_read_as_the_reference_reads_them():
    """Slow: ten times the examples of the test above."""
    hold(fuzz(10_000), 10_000)


@pytest.mark.parametrize("escape", ["\\ud83d", "\\ude00", "\\ud83d\\u0041"])
def test_half_a_character_is_the_policys_fault(escape):
    with pytest.raises(CritiqueError, match="unicode: "):
        parse_critique(
            f'<think>x</think><answer>{{"previous_step_success": true, "refine_prompt": "a {escape}"}}</answer>'
        )
