"""From trajectories to candidates for each set: the rules that look at one attempt or plan alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from data.build.rules import CriticSetConfig, PlannerSetConfig, RlSetConfig, SplitConfig
from data.prompts import prompt_digest
from data.split import SplitRules, side_of
from data.table.digest_log import digest_of
from rollout.text.seeds import seed_of
from rollout.types import Attempt, ImageRef, Request, Scores, Trajectory

SideOfStep = Callable[[ImageRef | None, str], str]
"""`side(before, instruction)` returns the side of a step."""
IsSuccess = Callable[[Scores], bool]


@dataclass(frozen=True, slots=True)
class Candidate:
    """All that the selection needs to know of a possible record: a few numbers."""

    request: int
    """Number of the request: its position in the file."""
    item: int
    """Index of the attempt in the trajectory; 0 for a plan."""
    side: str
    is_success: bool | None
    """The label to balance by; None: no label."""
    content: int
    """Digest of the record's content."""
    prompt: int
    """Digest of the prompt that decides the side."""
    rank: int
    """Order of selection, lowest first: pseudo-random, from the seed and the request's id."""

    @property
    def place(self) -> tuple[int, int]:
        return self.request, self.item


@dataclass(frozen=True)
class Sides:
    """Decides which side a record is on, and which of the critic's sets an attempt may be in."""

    split: SplitConfig
    seed: int
    of_step: SideOfStep | None = None

    def of_request(self, request: Request) -> str:
        return side_of(request.text, self._rules)

    def of_attempt(self, request: Request, attempt: Attempt) -> str:
        if self.of_step is None:
            return self.of_request(request)
        return self.of_step(attempt.before, attempt.instruction)

    def is_for(self, request: Request, *, rl: bool) -> bool:
        """Return whether a request's attempts may be in the RL set, or (`rl=False`) in the SFT set."""
        share = self.split.rl_share
        return not share or (digest_of("rl", str(self.seed), request.id) / 2**64 < share) == rl

    @property
    def _rules(self) -> SplitRules:
        return SplitRules(self.split.heldout, self.seed)


def why_no_plan(trajectory: Trajectory, rules: PlannerSetConfig) -> str:
    """Return the name of the rule that a trajectory's plan fails; empty: it meets all."""
    if trajectory.plan is None:
        return "no_plan"
    return "not_complete" if rules.is_complete and not trajectory.is_complete else ""


def why_no_sft(trajectory: Trajectory, place: int, rules: CriticSetConfig, is_success: IsSuccess) -> str:
    """Return the name of the rule that an attempt fails as a critic SFT example; empty: it meets all."""
    attempt = trajectory.attempts[place]
    if attempt.lesson is None:
        return "no_critique"
    if why := _why_unsure(attempt, rules, is_success):
        return why
    if rules.min_gain is None or label_of(attempt, is_success):
        return ""
    later = trajectory.attempts[place + 1 : place + 2]
    if not later or later[0].step != attempt.step:
        return "refinement_not_tried"
    if attempt.scores is None or later[0].scores is None:
        return "not_judged"
    return "" if later[0].judged.mean - attempt.judged.mean >= rules.min_gain else "refinement_no_better"


def why_no_task(trajectory: Trajectory, place: int, rules: RlSetConfig, is_success: IsSuccess) -> str:
    """Return the name of the rule that an attempt fails as an RL task; empty: it meets all."""
    attempt = trajectory.attempts[place]
    if attempt.scores is None:
        return "not_judged"
    if attempt.lesson is None and rules.has_agreement:
        return "no_critique"
    if why := _why_unsure(attempt, rules, is_success):
        return why
    if is_success(attempt.judged) or not rules.needs_measure:
        return ""
    retried, refined = _share(attempt.retried, is_success), _share(attempt.refined, is_success)
    limits = (
        ("retry_fixes_it", retried, None, rules.max_retried),
        ("never_solved", refined, rules.min_refined, None),
        ("always_solved", refined, None, rules.max_refined),
    )
    for name, share, least, most in limits:
        if (least, most) == (None, None):
            continue
        if share is None:
            return "not_measured"
        if (least is not None and share < least) or (most is not None and share > most):
            return name
    return ""


def plan_candidate(trajectory: Trajectory, number: int, sides: Sides) -> Candidate:
    """Return a whole trajectory as a candidate."""
    request = trajectory.request
    content = digest_of(request.text, *request.images, trajectory.plan_text, *(a.after for a in trajectory.attempts))
    rank = seed_of(sides.seed, "rank", request.id)
    side = sides.of_request(request)
    return Candidate(number, 0, side, None, content, prompt_digest(request.text), rank)


def attempt_candidate(
    trajectory: Trajectory, place: int, number: int, sides: Sides, is_success: IsSuccess
) -> Candidate:
    """Return one attempt as a candidate."""
    request, attempt = trajectory.request, trajectory.attempts[place]
    said = (attempt.instruction, attempt.prompt, attempt.before or "", attempt.after)
    return Candidate(
        number,
        place,
        sides.of_attempt(request, attempt),
        label_of(attempt, is_success),
        digest_of(*said),
        prompt_digest(attempt.instruction),
        seed_of(sides.seed, "rank", request.id, place),
    )


def label_of(attempt: Attempt, is_success: IsSuccess) -> bool:
    """Return whether an attempt succeeded: by its scores, else by the critic's word."""
    return attempt.is_accepted if attempt.scores is None else is_success(attempt.scores)


def _why_unsure(attempt: Attempt, rules: CriticSetConfig, is_success: IsSuccess) -> str:
    if attempt.scores is None:
        return "not_judged" if rules.has_agreement or rules.max_spread is not None else ""
    if rules.max_spread is not None and attempt.judged.spread > rules.max_spread:
        return "judge_unsure"
    lesson = attempt.lesson
    if rules.has_agreement and lesson is not None and lesson.is_success != is_success(attempt.judged):
        return "disagreement"
    return ""


def _share(scores: Sequence[Scores], is_success: IsSuccess) -> float | None:
    return fmean(map(is_success, scores)) if scores else None
