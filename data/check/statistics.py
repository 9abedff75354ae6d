"""Statistics of a file of records, in constant memory: labels, scores, lengths, plans."""

from collections import Counter

from data.records.rl import MAX_SCORE
from data.records.sft import Canvas, SftRecord
from rollout.text.plan import Plan
from rollout.types import Task


class Lengths:
    """Lengths of texts: exact mean and maximum, and counts by powers of two."""

    def __init__(self) -> None:
        self.num = 0
        self.total = 0
        self.longest = 0
        self.buckets = [0] * 40
        """Bucket b counts lengths from 2^(b-1) up to 2^b - 1; bucket 0 counts zeros."""

    def add(self, length: int, times: int = 1) -> None:
        self.num += times
        self.total += times * length
        if length > self.longest:
            self.longest = length
        self.buckets[length.bit_length()] += times

    @property
    def mean(self) -> float:
        return self.total / self.num if self.num else 0.0

    def bars(self) -> list[tuple[str, int]]:
        """Return (range, count) from the shortest to the longest in use.

        >>> lengths = Lengths()
        >>> for length in (1, 5, 6, 30): lengths.add(length)
        >>> lengths.bars()
        [('1', 1), ('2-3', 0), ('4-7', 2), ('8-15', 0), ('16-31', 1)]
        """
        used = [bucket for bucket, count in enumerate(self.buckets) if count]
        if not used:
            return []
        return [(_range(bucket), self.buckets[bucket]) for bucket in range(used[0], used[-1] + 1)]


def _range(bucket: int) -> str:
    if bucket < 2:
        return str(bucket)
    return f"{2 ** (bucket - 1)}-{2**bucket - 1}"


class RlStatistics:
    """RL records: labels, and the judge's scores for each label."""

    def __init__(self) -> None:
        self.num = {True: 0, False: 0}
        self.semantics = {label: [0] * (MAX_SCORE + 1) for label in (True, False)}
        """Counts of scores from s up to s + 1, by label."""
        self.quality = {label: [0] * (MAX_SCORE + 1) for label in (True, False)}
        self.instructions = Lengths()
        """Characters."""
        self.prompts = Lengths()
        """Characters of the rewritten prompts."""
        self.num_from_nothing = 0

    def add(self, task: Task) -> None:
        label, scores = task.is_success, task.scores
        self.num[label] += 1
        self.semantics[label][int(scores.semantics)] += 1
        self.quality[label][int(scores.quality)] += 1
        self.instructions.add(len(task.instruction))
        if task.prompt:
            self.prompts.add(len(task.prompt))
        if task.before is None:
            self.num_from_nothing += 1


class SftStatistics:
    """SFT records: verdicts or plans, lengths, images."""

    def __init__(self) -> None:
        self.verdicts: Counter[bool] = Counter()
        self.modes: Counter[str] = Counter()
        self.steps: Counter[int] = Counter()
        self.images: Counter[int] = Counter()
        """Records by number of images."""
        self.questions = Lengths()
        """Characters of all but the last message."""
        self.answers = Lengths()
        self.num_canvases = 0
        self.leniencies: Counter[str] = Counter()
        """Answers that differ from the contract's form, by how (`data.records.public_answers`)."""

    def add(self, record: SftRecord) -> None:
        answer = record.answer
        if isinstance(answer, Plan):
            self.modes[_mode(answer, has_images=bool(record.images))] += 1
            self.steps[len(answer.steps)] += 1
        else:
            self.verdicts[answer.is_success] += 1
        self.images[len(record.images)] += 1
        self.questions.add(sum(len(message.content) for message in record.messages[:-1]))
        self.answers.add(len(record.messages[-1].content))
        self.num_canvases += sum(isinstance(image, Canvas) for image in record.images)
        self.leniencies.update(record.leniencies)


def _mode(plan: Plan, *, has_images: bool) -> str:
    if not has_images:
        return "narrative"
    return "guidance in words" if plan.is_text_only else "guidance by edits"
