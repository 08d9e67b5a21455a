"""Trains a torch twin, and asks it: float32, float64, feature mode."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from converters.demo.task import Array, Recipe, Task
from converters.steps.output import HEADS

if TYPE_CHECKING:
    import torch

    import torch_vit

BATCH = 256
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread; the caller's number is back afterwards.

    As fast for models this small, much faster on a busy machine, and the results do
    not depend on the number of cores.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train(task: Task, tick: Callable[[], None] = lambda: None) -> torch_vit.ViT:
    """A trained model, in evaluation mode, on the CPU.

    Args:
        task: What to train, and how.
        tick: Called after each epoch.
    """
    import torch
    from torch.nn.functional import cross_entropy

    import torch_vit

    recipe = task.recipe
    x = torch.from_numpy(task.split.train_x)
    y = torch.from_numpy(task.split.train_y)
    steps = len(x) // recipe.batch
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = torch_vit.ViT(task.config).train()
        optimizer = torch.optim.AdamW(
            model.parameters(), betas=(0.9, 0.95), weight_decay=WEIGHT_DECAY
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            recipe.rate,
            total_steps=recipe.epochs * steps,
            pct_start=0.2,
            cycle_momentum=False,
        )
        for _ in range(recipe.epochs):
            order = torch.randperm(len(x))[: steps * recipe.batch]
            for batch in order.view(steps, recipe.batch):
                logits = model(disturbed(x[batch], recipe))
                loss = cross_entropy(logits, y[batch], label_smoothing=LABEL_SMOOTHING)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
            tick()
    return model.eval()


def disturbed(x: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """Inputs (B, C, *spatial), some mirrored, each with another gain, and noise."""
    import torch

    one = (len(x),) + (1,) * (x.ndim - 1)
    if recipe.flip_axis is not None:
        x = torch.where(torch.rand(one) < 0.5, x.flip(recipe.flip_axis + 2), x)
    if recipe.gain:
        x = x * (1 + recipe.gain * torch.randn(one))
    return x + recipe.noise * torch.randn_like(x)


def feature_mode(model: torch_vit.ViT) -> torch_vit.ViT:
    """The same backbone without a head: its output are the normalised tokens."""
    import torch_vit

    config = model.config.replace(
        num_classes=0, global_pool="none", labels=None, problem_type=None
    )
    twin = torch_vit.ViT(config, device="meta")
    state = {k: v for k, v in model.state_dict().items() if k not in HEADS}
    twin.load_state_dict(state, strict=True, assign=True)
    return twin.eval()


def exact(model: torch_vit.ViT) -> torch_vit.ViT:
    """The same model in float64."""
    return copy.deepcopy(model).double()


def outputs(model: torch_vit.ViT, x: Array) -> Array:
    """What the model says, in batches; in the type of its weights."""
    import torch

    dtype = model.patch_embed.proj.weight.dtype
    with one_thread(), torch.inference_mode():
        parts = [
            model(torch.from_numpy(x[i : i + BATCH]).to(dtype)).numpy()
            for i in range(0, len(x), BATCH)
        ]
    return np.concatenate(parts)


def layers(model: torch_vit.ViT, x: Array) -> dict[str, Array]:
    """Every intermediate result, by name, in the order of computation."""
    import torch

    dtype = model.patch_embed.proj.weight.dtype
    with one_thread(), torch.inference_mode():
        _, taps = model.forward_taps(torch.from_numpy(x).to(dtype))
    return {name: value.numpy() for name, value in taps.items()}
