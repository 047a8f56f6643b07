"""The same for programs that run by asyncio.

    async def main():
        stage = waldo.stage()
        async for record in waldo.aio.records(stage):
            await waldo.aio.send(stage, "answer", record.key, await ask(record.payload))

One record is in hand at a time, as in the plain loop: it counts as done when the next one is asked for.
"""

import asyncio
from typing import AsyncIterator, Union

from ._waldo import Record, Stage

# How long a wait may last until the stage's heartbeat is moved. Seconds.
_HEARTBEAT = 0.1
# After so many records that were there at once, others have their turn.
_TURN = 64
# How long to wait for room: at first, and at most. Seconds.
_SHORTEST, _LONGEST = 0.000_1, 0.002


async def records(stage: Stage) -> AsyncIterator[Record]:
    """The stage's records, until it is asked to stop and its inbox is dry."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    descriptors = stage._descriptors()
    for descriptor in descriptors:
        loop.add_reader(descriptor, ready.set)
    try:
        at_once = 0
        while True:
            record = stage.try_receive()
            if record is not None:
                yield record
                at_once += 1
                if at_once % _TURN == 0:
                    await asyncio.sleep(0)
                continue
            if stage.stopping:
                return
            ready.clear()
            try:
                await asyncio.wait_for(ready.wait(), _HEARTBEAT)
            except asyncio.TimeoutError:
                pass
            stage._woke()
    finally:
        for descriptor in descriptors:
            loop.remove_reader(descriptor)


async def send(stage: Stage, flow: str, key: Union[bytes, str], payload: Union[bytes, str]) -> None:
    """Sends a record; others run while there is no room for it."""
    pause = _SHORTEST
    while not stage.try_send(flow, key, payload):
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST)
