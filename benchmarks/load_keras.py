"""Loading a `.keras`: `keras_vit.load_model` beside `keras.models.load_model`.

    KERAS_BACKEND=tensorflow python benchmarks/load_keras.py model.keras [--repeat 5]

Each load is a fresh process, the two in turns; imports are not counted, the file is
read once before. Besides wall time the processor's time is printed: on a machine that
others use, too, it is what says more.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    """Runs all rounds and prints medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--once", choices=("ours", "keras"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.once:
        print(json.dumps(once(asked.model, asked.once)))
        return
    found: dict[str, list[list[float]]] = {"ours": [], "keras": []}
    for i in range(asked.repeat):
        for kind in sorted(found, reverse=i % 2 == 1):
            command = [sys.executable, __file__, str(asked.model), "--once", kind]
            said = subprocess.run(command, capture_output=True, text=True, check=True)
            found[kind].append(json.loads(said.stdout.splitlines()[-1]))
    for place, clock in enumerate(("wall", "processor")):
        ours, keras = ([one[place] for one in found[k]] for k in ("ours", "keras"))
        ratios = [b / a for a, b in zip(ours, keras, strict=True)]
        print(
            f"{clock}: keras_vit.load_model {statistics.median(ours):.2f} s, "
            f"keras.models.load_model {statistics.median(keras):.2f} s, ratio "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        )


def once(path: Path, kind: str) -> list[float]:
    """Seconds of wall and of processor that one load takes."""
    import keras

    import keras_vit

    path.read_bytes()
    load = keras_vit.load_model if kind == "ours" else keras.models.load_model
    wall, processor = time.perf_counter(), time.process_time()
    load(str(path))
    return [time.perf_counter() - wall, time.process_time() - processor]


if __name__ == "__main__":
    main()
