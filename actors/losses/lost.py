"""What ends a run because something that it cannot do without died or hangs."""

from rollout.roles import RunStopped


class ComponentLost(RunStopped):
    """A part of a run died or hangs: the message says who and why. What is saved, `actors.cluster` adds."""

    def __init__(self, told: str, stacks: str = ""):
        super().__init__(told)
        self.stacks = stacks
        """Who waits for whom (`actors.losses.stacks.report`); empty where nobody could be asked."""
