"""`python -m tests.export.decoder FOLDER`: decodes every file, as exported."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from converters.artifacts.decoding import decode


def main(folder: Path) -> None:
    found, refused = {}, {}
    for channels in (1, 3, 4):
        graph = tf.function(
            lambda encoded, channels=channels: decode(encoded, channels),
            input_signature=[tf.TensorSpec([], tf.string)],
        )
        for path in sorted(folder.glob("*.picture")):
            key = f"{path.stem}:{channels}"
            try:
                found[key] = graph(path.read_bytes()).numpy()
            except tf.errors.InvalidArgumentError as error:
                refused[key] = str(error)
    np.savez(folder / "found.npz", **found)
    (folder / "refused.json").write_text(json.dumps(refused))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
