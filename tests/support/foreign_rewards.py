"""Rewards as a user might write them: good, slow, broken."""

import asyncio
import os
import re
import time
from pathlib import Path
from typing import Any

from rewards.needs import needs
from rollout.types import Evidence
from tests.support.unsayable import HALF, UnsayableError, Unshown


def brevity(evidence: Evidence) -> float:
    print("what a reward prints is no answer")
    return 1 / len(evidence.task.instruction)


async def patient(evidence: Evidence) -> float:
    await asyncio.sleep(0.2)
    return 0.5


_gates: dict[int, asyncio.Barrier] = {}


async def together(evidence: Evidence) -> float:
    """Wait until as many are asked at a time as the instruction says."""
    num = int(evidence.task.instruction)
    await _gates.setdefault(num, asyncio.Barrier(num)).wait()
    return 0.5


@needs("aesthetic")
def beauty(evidence: Evidence) -> float:
    return evidence.extra.get("aesthetic", 0.0)


def obedient(evidence: Evidence) -> float:
    """Do what the instruction says."""
    deed, _, detail = evidence.task.instruction.partition(" ")
    if deed == "raise":
        raise LookupError(detail)
    if deed == "half":
        raise LookupError(HALF)
    if deed == "unsayable":
        raise UnsayableError
    if deed == "hang":
        re.match(r"(a+)+$", "a" * 60 + "b")  # holds the interpreter's lock, so that no thread can end it
    if deed == "exit":
        os._exit(int(detail))
    if deed == "leave":
        Path(detail).write_text(str(os.getpid()))
        time.sleep(60)
    told: dict[str, Any] = {"nan": float("nan"), "text": "good", "unshown": Unshown()}
    return told.get(deed, 1.0)


async def obedient_too(evidence: Evidence) -> float:
    deed, _, detail = evidence.task.instruction.partition(" ")
    if deed == "sleep":
        await asyncio.sleep(float(detail))
    if deed == "block":
        time.sleep(600)
    return 1.0


def verdict(evidence: Evidence) -> bool:
    return True
