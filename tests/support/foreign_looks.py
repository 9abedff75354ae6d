"""Evidence functions as a user might write them: good, slow, broken."""

import re

import numpy as np


def redness(before, after, instruction):
    red, _, _ = after.getpixel((0, 0))
    return {"red": np.float32(red / 255), "size": after.size}


def broken(before, after, instruction):
    raise ZeroDivisionError("by nought")


def unwritable(before, after, instruction):
    return {"picture": after}


def stuck(before, after, instruction):
    if instruction == "hang":
        re.match(r"(a+)+$", "a" * 60 + "b")  # holds the interpreter's lock, so that no thread can end it
    return 1.0


async def patient(before, after, instruction):
    return 1.0


def of_one(after):
    return 1.0
