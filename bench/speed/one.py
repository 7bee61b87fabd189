"""One measurement in a process of its own.

    python -m bench.speed.one GROUP NAME FOLDER OUT [--full] [--plant]

Each row is written as it comes, a line of JSON. --plant lets our side do all its work twice.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

from bench.speed import turns
from bench.speed.scale import Scale


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("group", "name", "folder", "out"):
        parser.add_argument(name)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--plant", action="store_true")
    o = parser.parse_args()
    turns.planted = o.plant
    measure = importlib.import_module(f"bench.speed.groups.{o.group}").MEASURES[o.name]
    with open(o.out, "w") as file:
        for row in measure(Scale(o.full, Path(o.folder))):
            print(json.dumps(row.to_dict()), file=file, flush=True)


if __name__ == "__main__":
    main()
