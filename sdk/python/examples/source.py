"""Sends three odd records and ends; with an argument, goes on with numbers until it is asked to stop."""

import itertools
import sys

import waldo

stage = waldo.stage()
stage.send("made", b"\0k\t", b"zero \0 tab \t line \n end")
stage.send("made", b"", bytes(at % 251 for at in range(200_000)))
stage.send("made", "key", "refuse me")
for number in itertools.count() if len(sys.argv) > 1 else ():
    stage.send("made", "n", str(number))
