"""How a program speaks `ack`: each record is a line `flow TAB key TAB payload` on stdin; the answer is any number of such
lines on stdout and then an empty line, which says that the record is done."""

import os
import re

ESCAPES = {b"\t": rb"\t", b"\n": rb"\n", b"\\": rb"\\"}
PLAIN = {escape: byte for byte, escape in ESCAPES.items()}


def line(flow, key, payload):
    """One record as a line."""
    fields = [re.sub(rb"[\t\n\\]", lambda found: ESCAPES[found[0]], field) for field in (flow, key, payload)]
    return b"\t".join(fields) + b"\n"


def fields(text):
    """Flow, key and payload of a line without its newline."""
    return [re.sub(rb"\\[tn\\]", lambda found: PLAIN[found[0]], field) for field in text.split(b"\t")]


def write(data):
    """Writes all of it to stdout, at once."""
    data = memoryview(data)
    while data:
        data = data[os.write(1, data):]


def answer(handle):
    """Calls handle(flow, key, payload) for each record, and sends on the (flow, key, payload) that it yields.

    Answers go out when all that one read brought has been handled: many at once under load, without delay when quiet.
    Returns at the end of input."""
    rest = b""
    while chunk := os.read(0, 1 << 16):
        *lines, rest = (rest + chunk).split(b"\n")
        answers = []
        for text in lines:
            answers += [line(*record) for record in handle(*fields(text))]
            answers.append(b"\n")
        write(b"".join(answers))
