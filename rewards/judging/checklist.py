"""A checklist as a judge: questions written once per instruction, each answered yes or no about the picture."""

from collections.abc import Sequence

from rollout.text.prompt_file import fill
from rollout.text.strict_json import MAX_SCORE, RubricError, check_list, check_text, excerpt, read_object

MAX_QUESTION_CHARS = 300
_ANSWERS = {"yes": True, "no": False}


def render_questions(template: str, instruction: str, max_questions: int) -> str:
    """Return the text that asks for the questions.

    >>> render_questions("Up to {count} about: {instruction}", "a red box", 4)
    'Up to 4 about: a red box'
    """
    return fill(template, {"count": str(max_questions), "instruction": instruction})


def render_checklist(template: str, instruction: str, questions: Sequence[str], images: str) -> str:
    """Return the text that asks for the answers; `images` describes the pictures.

    >>> render_checklist("{images} {instruction}: {questions}", "a red box", ["Is it red?"], "See: <image>")
    'See: <image> a red box: 1. Is it red?'
    """
    numbered = "\n".join(f"{number}. {question}" for number, question in enumerate(questions, 1))
    return fill(template, {"images": images, "instruction": instruction, "questions": numbered})


def parse_questions(text: str, size: int) -> dict[str, object]:
    """Read `{"questions": [str, ...]}`: one to `size` different ones.

    >>> parse_questions('{"questions": ["Is there a box?", "Is it red?"]}', 4)
    {'questions': ['Is there a box?', 'Is it red?']}
    """
    listed = check_list(read_object(text, {"questions"})["questions"], "questions", 1, size)
    questions = [" ".join(check_text(question, "a question").split()) for question in listed]
    for question in questions:
        if not 0 < len(question) <= MAX_QUESTION_CHARS:
            raise RubricError("shape", f"a question has {len(question)} characters, expected 1 to {MAX_QUESTION_CHARS}")
    if len({question.casefold() for question in questions}) < len(questions):
        raise RubricError("duplicate", f"a question appears twice in {str(questions)[:200]}")
    return {"questions": questions}


def parse_checklist(text: str, size: int) -> dict[str, object]:
    """Read `{"reasoning": str, "answers": [...]}`: exactly `size` answers, each yes, no, true or false.

    >>> parse_checklist('{"reasoning": "it is blue", "answers": ["yes", false]}', 2)
    {'answers': [True, False], 'reasoning': 'it is blue'}
    """
    answer = read_object(text, {"reasoning", "answers"})
    answers = [_check_answer(given) for given in check_list(answer["answers"], "answers", size, size)]
    return {"answers": answers, "reasoning": check_text(answer["reasoning"], "reasoning")}


def share_of_yes(answers: Sequence[bool]) -> float:
    """Return the semantics score in [0, 10]: all questions weigh the same.

    >>> share_of_yes([True, True, False, True])
    7.5
    """
    return MAX_SCORE * sum(answers) / len(answers)


def failed_questions(questions: Sequence[str], answers: Sequence[bool]) -> str:
    """Return the questions answered no, as the reason of a score.

    >>> failed_questions(["Is there a box?", "Is it red?"], [True, False])
    'no: Is it red?'
    """
    failed = [question for question, answer in zip(questions, answers, strict=True) if not answer]
    return "no: " + " / ".join(failed) if failed else "all answered yes"


def _check_answer(answer: object) -> bool:
    if isinstance(answer, bool):
        return answer
    if isinstance(answer, str) and answer.strip().lower() in _ANSWERS:
        return _ANSWERS[answer.strip().lower()]
    raise RubricError("not_yes_or_no", f"an answer is {excerpt(answer)}, expected yes or no")
