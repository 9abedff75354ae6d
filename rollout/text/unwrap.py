"""A judge's JSON out of what thinking models and chat models wrap it in, as long as there is no doubt which it is.

Only what comes before an answer, or lies round it, is taken off: a thought in its tags, a fence however it is
spelt, prose before a fence, the marks of a final answer. Two fences, an object in the prose that is not the one
in the fence, or text behind the answer leave a doubt: such a text comes back as it is, and is refused.
"""

import json
import re

FENCE = re.compile(r"\A```(?:json)?[ \t]*\n(.*)\n[ \t]*```\Z", re.DOTALL)
"""The one wrapping that counts as the asked-for form."""

_THOUGHT = re.compile(
    r"<(think|thinking|thought|reasoning|seed:think)>.*?</\1>|\[(think)\].*?\[/\2\]|◁think▷.*?◁/think▷",
    re.IGNORECASE | re.DOTALL,
)
_BEGIN_OF_THOUGHT = re.compile(r"<(?:think|thinking|thought|reasoning|seed:think)>", re.IGNORECASE)
_END_OF_THOUGHT = re.compile(r"</(?:think|thinking|seed:think)>", re.IGNORECASE)
_CHANNELS = ("<|channel|>", "<|start|>", "analysis")
"""How an answer in channels begins (gpt-oss); servers that leave special tokens out leave the channels' names."""
_FINAL_CHANNEL = re.compile(r"<\|channel\|>final ?(?:<\|constrain\|>\w{1,20} ?)?<\|message\|>|assistantfinal(?=[\s{`])")
_MARKS = (
    ("<answer>", "</answer>"),
    ("<output>", "</output>"),
    ("<|begin_of_box|>", "<|end_of_box|>"),
)
_FENCE_MARK = re.compile(r"`{3,}|~{3,}")
_LANGUAGE = re.compile(r"[ \t]*[\w+.-]{0,20}\s*(?=\{)")
_MOST_BRACES = 200
"""In prose; what has more is not looked through."""


def unwrapped(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the text that has to be the object, and the kinds of wrapping that were taken off to get there.

    >>> unwrapped('<think>It is red.</think>\\n```JSON\\n{"a": 1}\\n```')
    ('{"a": 1}', ('thought', 'fence'))
    >>> unwrapped('I would say {"a": 1}')
    ('I would say {"a": 1}', ())
    """
    body, kinds = text.strip().removeprefix("\ufeff").lstrip(), []
    rest = _behind_thoughts(_final_channel(body))
    if rest != body:
        body = rest
        kinds.append("thought")
    for begin, end in _MARKS:
        if body.startswith(begin) and body.endswith(end) and body.count(begin) == body.count(end) == 1:
            body = body.removeprefix(begin).removesuffix(end).strip()
            kinds.append("answer_mark")
    if (strict := FENCE.match(body)) is not None:
        return strict.group(1), tuple(kinds)
    if not body.startswith("{") and (fenced := _in_fence(body)) is not None:
        prose, body = fenced
        kinds.append("prose" if prose else "fence")
    return (body, tuple(kinds)) if body.startswith("{") else (text.strip(), ())


def _final_channel(body: str) -> str:
    """Return what stands in the final one of an answer's channels; the text itself where there is none, or more."""
    finals = list(_FINAL_CHANNEL.finditer(body))
    if len(finals) != 1 or not body.startswith(_CHANNELS):
        return body
    return body[finals[0].end() :].removesuffix("<|return|>").removesuffix("<|end|>").strip()


def _behind_thoughts(body: str) -> str:
    """Return what follows the thoughts that a text begins with; the text itself where it ends none."""
    rest = body
    while (thought := _THOUGHT.match(rest)) is not None:
        rest = rest[thought.end() :].lstrip()
    ends = list(_END_OF_THOUGHT.finditer(body))
    if rest != body or len(ends) != 1 or _BEGIN_OF_THOUGHT.search(body) or body.startswith(("{", "`", "~")):
        return rest
    # The prompt of some models ends with the opening tag, so that only the closing one is in the answer.
    return body[ends[0].end() :].lstrip()


def _in_fence(body: str) -> tuple[str, str] | None:
    """Return the prose before a text's one fence, which ends it, and the object in it; None where there is a doubt."""
    if (opened := _FENCE_MARK.search(body)) is None:
        return None
    mark, prose, rest = opened.group(), body[: opened.start()].strip(), body[opened.end() :]
    if not rest.endswith(mark) or (head := _LANGUAGE.match(rest)) is None:
        return None
    inner = rest[head.end() :].rstrip(mark[0]).strip()
    return (prose, inner) if _says_nothing_else(prose, inner) else None


def _says_nothing_else(prose: str, inner: str) -> bool:
    """Return whether the prose before a fence holds no object except the fenced one."""
    starts = [found.start() for found in re.finditer(r"\{", prose)]
    if len(starts) > _MOST_BRACES:
        return False
    decoder = json.JSONDecoder(strict=False)
    for start in starts:
        try:
            found, _ = decoder.raw_decode(prose, start)
            if found != decoder.decode(inner):
                return False
        except RecursionError:
            return False
        except ValueError:
            continue
    return True
