"""Stages of a waldo topology in Python.

    import waldo

    stage = waldo.stage()
    for record in stage:
        stage.send("shout", record.key, record.payload.upper())

A record counts as done when the next one is asked for; by then all that it caused must have been sent. The loop ends when
the stage is asked to stop and its inbox is dry; at the end of the program everything that was sent is confirmed by its
receivers before the process exits. A stage without inputs is a source: it sends, and ends when it has no more.
"""

import atexit
import os
import sys
import traceback
from typing import Callable, Optional

from ._waldo import Failure, Record, Stage, Stopped

__all__ = ["Failure", "Record", "Stage", "Stopped", "run", "stage"]


def stage() -> Stage:
    """Opens the stage that the launcher started this process for.

    It is finished at the end of the program, if not before. If an exception ends the program, the record in hand doesn't
    count as done."""
    opened = Stage()
    atexit.register(_leave, opened)
    return opened


def run(handle: Callable[[Stage, Record], object], *, rejects: Optional[str] = None) -> None:
    """Calls `handle(stage, record)` for each record, and finishes.

    A record at which it raises is sent to the flow `rejects`, if one is named, with the traceback on stderr; what `handle`
    had sent for it before stays sent. Without one the exception stops the stage."""
    opened = stage()
    for record in opened:
        try:
            handle(opened, record)
        except Exception:
            if rejects is None:
                raise
            traceback.print_exc()
            opened.send(rejects, record.key, record.payload)
    opened.finish()


def _leave(opened: Stage) -> None:
    if getattr(sys, "last_value", None) is not None:
        opened.close()
        return
    try:
        opened.finish()
    except Failure:
        # The interpreter would end with status 0, which says that all is well.
        traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
