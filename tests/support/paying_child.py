"""A job that pays for answers, with its store in a bucket: a process that may be killed at any instant.

    python -m tests.support.paying_child URL FOLDER NUM_CALLS SEGMENT_ROWS

It asks for answers 0 to NUM_CALLS - 1. With -NUM_CALLS it can be killed at a known place: it waits for FOLDER/go once
it has as many as make a segment, and in the end for one more that never comes. The service notes each request that it
answers, synced, in FOLDER/paid.txt, which the job does not know. How far it is, it says.
"""

import asyncio
import math
import os
import sys
from pathlib import Path

from actors.metered.metered_calls import MeteredCalls
from actors.metered.retry import RetryPolicy
from actors.metered.service import Pooled
from actors.metered.usage_ledger import UsageLedger
from actors.shipping.config import LedgerConfig
from actors.shipping.shipper import shipping
from actors.store.store import Store


def note(path: Path, text: str) -> None:
    """Append a line, and have it on disk."""
    with path.open("a") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())


async def pay(url: str, folder: Path, num_calls: int, config: LedgerConfig) -> int:
    """Ask for one answer after the other; return the sum of them."""

    async def answer(payload):
        while int(payload) == last or (last < math.inf and int(payload) == first and not (folder / "go").exists()):
            await asyncio.sleep(0.05)
        await asyncio.to_thread(note, folder / "paid.txt", payload)
        return {"n": int(payload)}

    run, first, last = folder / "run", config.segment_rows, -num_calls if num_calls < 0 else math.inf
    async with shipping(url, run, config):
        service = Pooled(answer, 1)
        calls = MeteredCalls(Store(url), RetryPolicy(10.0, 3), service, UsageLedger("judge", run / "ledger"))
        total = 0
        for number in range(abs(num_calls) + (num_calls < 0)):
            total += (await calls.get({"number": number}, str(number)))["n"]
            print(f"answered {number}", flush=True)
        await calls.close()
    return total


def main() -> None:
    url, folder, num_calls, rows = sys.argv[1:]
    config = LedgerConfig(segment_rows=int(rows), segment_s=1000.0)
    os.chdir(folder)
    print("done", asyncio.run(pay(url, Path(folder), int(num_calls), config)), flush=True)


if __name__ == "__main__":
    main()
