"""The stages in Python over the package `waldo`: `sdk.py wanted`, `sdk.py visit`, `sdk.py collect`."""

import os
import struct
import sys

import waldo

import index


def wanted(stage, needs):
    """The source: every origin visits itself."""
    for origin in index.origins(needs):
        stage.send("visit", origin, origin)


def visit(stage, needs):
    """The stage in the loop: passes each new origin on to all that the package needs."""
    needs = {package.encode(): [need.encode() for need in of] for package, of in needs.items()}
    seen = {}
    for record in stage:
        package, origin = record.key, record.payload
        origins = seen.setdefault(package, set())
        if origin in origins:
            continue
        origins.add(origin)
        stage.send("found", package, origin)
        for need in needs[package]:
            stage.send("visit", need, origin)


def collect(stage, needs):
    """The sink: writes each pair to the file `found`, as the sink in collect.py does."""
    number = {package.encode(): number for number, package in enumerate(needs)}
    again = int(os.environ["WALDO_INCARNATION"]) > 1
    with open(stage.state_directory / "found", "ab" if again else "wb", buffering=0) as found:
        for record in stage:
            found.write(struct.pack("<II", number[record.payload], number[record.key]))


if __name__ == "__main__":
    {"wanted": wanted, "visit": visit, "collect": collect}[sys.argv[1]](waldo.stage(), index.read())
