r"""What bit-identity costs: the Keras twin on the torch backend against the torch twin.

    python benchmarks/twin_overhead.py [--models vit-s16-224 ...] [--rounds 5]

Three models with the same weights take turns on the same input, in one process:

- `torch_vit.ViT`;
- `keras_vit.ViT`, whose bits are the same;
- `keras_vit.ViT` with Keras' own layers in the place of `keras_vit/linear.py`: `Dense`
  as matmul and add, the convolution channels last, attention with its copies.

Times are processor time of one thread, the least of the rounds, so that what else runs
on the machine disturbs little; figures to read are the ratios. Forward is without
gradients, backward is of the sum of the output, for all weights.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import keras
import numpy as np
import torch

import keras_vit
import torch_vit
from keras_vit import attention, attn_pool
from keras_vit.init import no_init
from keras_vit.linear import Linear, PatchConv, PatchConv2D, PatchConv3D
from tests.fill import fill_weights, image
from tests.parity.protocol import to_keras
from vit_config import ViTConfig
from vit_config.weights import weight_table


@contextmanager
def stock_layers() -> Iterator[None]:
    """Keras' own layers where this project has its own."""
    convs = {PatchConv2D: keras.layers.Conv2D, PatchConv3D: keras.layers.Conv3D}
    own = [(Linear, "build"), (Linear, "call"), (PatchConv, "build")]
    own += [(PatchConv, "call"), *((m, ATTENTION) for m in (attention, attn_pool))]
    before = [getattr(place, name) for place, name in own]
    Linear.build, Linear.call = keras.layers.Dense.build, keras.layers.Dense.call
    PatchConv.build = lambda self, shape: convs[type(self)].build(self, shape)
    PatchConv.call = lambda self, x: convs[type(self)].call(self, x)
    attention.dot_product_attention = keras.ops.dot_product_attention
    attn_pool.dot_product_attention = keras.ops.dot_product_attention
    try:
        yield
    finally:
        for (place, name), value in zip(own, before, strict=True):
            setattr(place, name, value)


ATTENTION = "dot_product_attention"


def torch_model(config: ViTConfig, weights: dict[str, np.ndarray]) -> Any:
    model = torch_vit.ViT(config, device="meta").eval()
    tensors = {name: torch.from_numpy(values) for name, values in weights.items()}
    model.load_state_dict(tensors, assign=True)
    return model


def keras_model(config: ViTConfig, weights: dict[str, np.ndarray]) -> Any:
    with no_init():
        model = keras_vit.ViT(config)
    variables = {model.relative_path(v): v for v in model.weights}
    for weight in weight_table(config):
        variables[weight.path].assign(to_keras(config, weight, weights[weight.name]))
    return model


def forward(model: Any, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(x)


def both(model: Any, x: torch.Tensor) -> None:
    for parameter in model.parameters():
        parameter.grad = None
    model(x).sum().backward()


def seconds(work: Callable[[Any, torch.Tensor], object], model: Any, x: Any) -> float:
    start = time.process_time()
    work(model, x)
    return time.process_time() - start


def measure(name: str, batch: int, rounds: int) -> list[str]:
    """Rows of the table for one model."""
    config = ViTConfig.preset(name, num_classes=1000)
    weights = fill_weights(config)
    theirs, ours = torch_model(config, weights), keras_model(config, weights)
    with stock_layers():
        stock = keras_model(config, weights)
    x = torch.from_numpy(image((batch, config.in_chans, *config.img_size)))
    x_last = x.movedim(1, -1).contiguous()
    same = torch.equal(forward(ours, x_last), forward(theirs, x))
    rows = []
    for what, work in (("forward", forward), ("forward + backward", both)):
        times: dict[str, list[float]] = {"torch": [], "keras": [], "stock": []}
        for turn in range(rounds + 1):
            found = {
                "torch": seconds(work, theirs, x),
                "keras": seconds(work, ours, x_last),
            }
            with stock_layers():
                found["stock"] = seconds(work, stock, x_last)
            if turn:  # the first is a warm-up
                for who, value in found.items():
                    times[who].append(value)
        least = {who: min(values) for who, values in times.items()}
        ratios = [least[who] / least["torch"] for who in ("keras", "stock")]
        rows.append(
            f"| {name} | {what} | {least['torch'] * 1e3:.0f} ms | {ratios[0]:.2f} | "
            f"{ratios[1]:.2f} | {'yes' if same else 'NO'} |"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["vit-s16-224", "vit-b16-224"])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"torch {torch.__version__}, Keras {keras.__version__}, batch {options.batch}, "
        f"one thread, least of {options.rounds} rounds\n"
    )
    print(
        "| model | | torch_vit | keras_vit / torch_vit | with Keras' own layers / "
        "torch_vit | same bits |\n| --- | --- | ---: | ---: | ---: | --- |"
    )
    for name in options.models:
        for row in measure(name, options.batch, options.rounds):
            print(row, flush=True)


if __name__ == "__main__":
    main()
