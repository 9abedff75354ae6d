"""The command `interleave reward test`."""

from __future__ import annotations

import argparse

from rl.cli.arguments import Parser, add_command, add_group, file_path, positive_number, whole_number


def add_reward_commands(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command to the command line's parser; what it needs is imported when it runs."""
    rewards = add_group(commands, "reward", "rewards of your own")
    trial = add_command(
        rewards,
        "test",
        _reward_test,
        "run a reward on sample answers, good and broken, or on a run's ledger",
    )
    trial.add_argument(
        "target", help="FILE.py, FILE.py:function, module, module.function or module:function; all rewards of a file"
    )
    trial.add_argument("--ledger", type=file_path, metavar="RUN", help="the folder of a run whose samples to use")
    trial.add_argument("--limit", type=whole_number, default=500, help="most samples of a ledger; default: 500")
    trial.add_argument("--timeout", type=positive_number, default=10.0, help="seconds a call may take; default: 10")
    trial.add_argument("--extra", default="", help="""JSON of gold samples' further evidence: '{"aesthetic": 0.7}'""")
    trial.add_argument("--weight", type=float, default=1.0, help="the term's; negative for a penalty; default: 1")


def _reward_test(chosen: argparse.Namespace) -> int:
    from rl.reward_trial.report import try_rewards

    return try_rewards(
        chosen.target,
        ledger=chosen.ledger,
        limit=chosen.limit,
        timeout_s=chosen.timeout,
        extra=chosen.extra,
        weight=chosen.weight,
    )
