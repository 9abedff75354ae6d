"""Groups of samples made by hand."""

from rollout.types import Evidence, Failure, Group, Response, Reward, Sample, Stage
from tests.support.fakes import make_task


def make_group(number, rewards, lengths=None, truncated=()) -> Group:
    task = make_task(number)
    samples = []
    for index, reward in enumerate(rewards):
        length = lengths[index] if lengths else 3
        response = Response((1, 2), tuple(range(length)), "", (-0.1,) * length, 0, index in truncated)
        if reward is None:
            samples.append(Sample(task.id, index, 0, None, None, Failure(Stage.JUDGE, "down")))
        else:
            samples.append(Sample(task.id, index, 0, Evidence(task, response, None), Reward({}, reward), None))
    return Group(task, tuple(samples))
