"""The stage in the loop: remembers which origins have reached a package, and passes each new one on to all that the package
needs."""

import ack
import index

NEEDS = {package.encode(): [need.encode() for need in needs] for package, needs in index.read().items()}
seen = {}


def visit(_flow, package, origin):
    origins = seen.setdefault(package, set())
    if origin in origins:
        return
    origins.add(origin)
    yield b"found", package, origin
    for need in NEEDS[package]:
        yield b"visit", need, origin


ack.answer(visit)
