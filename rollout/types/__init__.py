"""The words of the project as types, which rewards and data may import, too.

Everything here is plain data: picklable, without tensors or pixels; what is said token by token is in
read-only arrays (`rollout/types/arrays.py`). An image is named by a
reference (`ImageRef`), its bytes live in the store (`actors/store/store.py`).
"""

from rollout.text.critique import CriticInput, Critique
from rollout.text.plan import Mode, Plan, PlanStep
from rollout.types.requests import (
    CompareRequest,
    Drawn,
    EditRequest,
    GroupRequest,
    Phase,
    SampleRequest,
    SamplingParams,
    ScoreRequest,
)
from rollout.types.sample import (
    SAMPLE_STAGES,
    Evidence,
    Failure,
    Group,
    ImageRef,
    Response,
    Reward,
    Sample,
    Scores,
    Stage,
    Task,
)
from rollout.types.training import Batch, SftExample, TrainingRow
from rollout.types.trajectory import Attempt, ModelAnswer, Request, Trajectory

__all__ = [
    "SAMPLE_STAGES",
    "Attempt",
    "Batch",
    "CompareRequest",
    "CriticInput",
    "Critique",
    "Drawn",
    "EditRequest",
    "Evidence",
    "Failure",
    "Group",
    "GroupRequest",
    "ImageRef",
    "Mode",
    "ModelAnswer",
    "Phase",
    "Plan",
    "PlanStep",
    "Request",
    "Response",
    "Reward",
    "Sample",
    "SampleRequest",
    "SamplingParams",
    "ScoreRequest",
    "Scores",
    "SftExample",
    "Stage",
    "Task",
    "TrainingRow",
    "Trajectory",
]
