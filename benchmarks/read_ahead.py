r"""What reading ahead in threads gives `predict` and `embed`.

    python benchmarks/read_ahead.py [--model vit-s16-224] [--files 24] [--rounds 3]

Photos (JPEG, 1600 x 1200, with noise) are decoded, resized and embedded by the torch
twin in batches of 8: once in one thread, one after the other, and once with threads
that read ahead. Both take turns; of each the best round counts, in images per second.
The figure to read is the ratio. Torch computes in one thread, so that a second core is
there to read with. The weights are random, which changes no time.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from PIL import Image

import torch_vit
from converters.inputs.ahead import read_ahead, workers
from converters.inputs.files import InputReader
from converters.inputs.picture import quiet
from converters.workers.torch_runner import TorchRunner
from vit_config import ViTConfig

DATA = {
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "input_range": (0.0, 1.0),
    "interpolation": "bicubic",
    "crop_pct": 0.9,
    "crop_mode": "center",
}
BATCH = 8


def photos(folder: Path, count: int) -> list[Path]:
    y, x, c = np.ogrid[:1200, :1600, :3]
    made = []
    for index in range(count):
        rng = np.random.default_rng(index)
        waves = 128 + 60 * np.sin(x / (40 + index) + c) + 40 * np.cos(y / 55 - c)
        noise = rng.standard_normal((1200, 1600, 1)) * 6
        path = folder / f"{index:03d}.jpg"
        values = np.clip(waves + noise, 0, 255).astype(np.uint8)
        Image.fromarray(values).save(path, quality=90)
        made.append(path)
    return made


def embedded(files: list[Path], runner: TorchRunner, threads: int) -> float:
    """Images per second."""
    reader = InputReader(runner.config)
    start = time.perf_counter()
    waiting = []
    with quiet():
        for _, found in read_ahead(files, reader, BATCH + workers(), threads):
            waiting.append(found.inputs[0].values)
            if len(waiting) == BATCH:
                tokens = runner.tokens(np.stack(waiting))
                runner.head(tokens, pre_logits=True)
                waiting.clear()
    return len(files) / (time.perf_counter() - start)


def read_alone(files: list[Path], config: ViTConfig) -> float:
    reader = InputReader(config)
    start = time.perf_counter()
    for path in files:
        reader(path)
    return len(files) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="vit-s16-224")
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = ViTConfig.preset(arguments.model, num_classes=0, data=DATA)
    runner = TorchRunner(torch_vit.ViT(config))
    with tempfile.TemporaryDirectory() as folder:
        files = photos(Path(folder), arguments.files)
        embedded(files[:BATCH], runner, workers())
        one, ahead, alone = [], [], []
        for _ in range(arguments.rounds):
            one.append(embedded(files, runner, 0))
            ahead.append(embedded(files, runner, workers()))
            alone.append(read_alone(files, config))
    print(f"{arguments.model}, {arguments.files} photos, {os.cpu_count()} cores")
    print(f"reading alone, one thread  {max(alone):6.1f} images/s")
    print(f"one after the other        {max(one):6.1f} images/s")
    print(f"{workers()} threads read ahead       {max(ahead):6.1f} images/s")
    print(f"ratio                      {max(ahead) / max(one):6.2f}")


if __name__ == "__main__":
    main()
