"""The index of packages, and the choice of origins: what the Python stages, verify and report start from."""

import gzip
import os

INDEX = os.path.join(os.path.dirname(os.path.abspath(__file__)), "packages.tsv.gz")


def read():
    """Package to the list of packages that it needs, in the index's order (of bytes)."""
    with gzip.open(INDEX, "rt") as lines:
        pairs = (line.rstrip("\n").split("\t") for line in lines)
        return {package: needs.split() for package, needs in pairs}


def origins(packages):
    """The packages that the question is asked for: ORIGINS of them (a number or `all`; 2000 by default), evenly
    spaced in the index."""
    packages, wanted = list(packages), os.environ.get("ORIGINS", "2000")
    if wanted != "all" and not wanted.isdecimal():
        raise SystemExit(f"ORIGINS is {wanted!r}: write a number of packages, or all")
    count = len(packages) if wanted == "all" else min(int(wanted), len(packages))
    return [packages[n * len(packages) // count] for n in range(count)]
