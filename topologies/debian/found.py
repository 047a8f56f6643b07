"""What the sink has found: the file that collect writes."""

import array
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
NAMESPACE = sys.argv[1] if len(sys.argv) > 1 else "demo"
PATH = os.path.join(HERE, ".waldo", NAMESPACE, "s1", "state", "collect.0", "found")


def total():
    """How many pairs there are."""
    return os.path.getsize(PATH) // 8


def by_origin(packages):
    """Origin to the list of packages found for it; `packages` are those of the index, in order."""
    if not os.path.exists(PATH):
        sys.exit(f"{PATH} does not exist: run `waldo up` with the namespace {NAMESPACE} first")
    if os.path.getsize(PATH) % 8:
        sys.exit(f"{PATH} ends in the middle of a pair: is the topology still running?")
    numbers = array.array("I")
    with open(PATH, "rb") as file:
        numbers.frombytes(file.read())
    if sys.byteorder == "big":
        numbers.byteswap()
    packages, pairs = list(packages), {}
    for origin, package in zip(numbers[::2], numbers[1::2]):
        pairs.setdefault(packages[origin], []).append(packages[package])
    return pairs
