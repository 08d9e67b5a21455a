"""The torch twin as a runner; its methods stand in the order of `keras_runner`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from converters.mapping.pipe import Digests, cast
from converters.mapping.stream import Hasher
from converters.workers.archive import widened
from converters.workers.parts import INPUT, Part
from converters.workers.raw import PREPARED
from vit_config import ViTConfig
from vit_config.weights import weight_table

if TYPE_CHECKING:
    import torch

    import torch_vit

Array = NDArray[Any]


class TorchRunner:
    """`torch_vit.ViT`, asked.

    Its parameters keep `requires_grad`: torch's matmul asks for it and sums in another
    order without.

    Args:
        model: The model; it computes in the type and on the device of its weights.
    """

    def __init__(self, model: torch_vit.ViT) -> None:
        self.model = model.eval()
        self.config = model.config
        weight = next(model.parameters())
        self._device, self._dtype = weight.device, weight.dtype

    def outputs(self, x: Array) -> Array:
        """What the model gives for inputs (B, C, *spatial)."""
        return self._asked(self.model, x)

    def tokens(self, x: Array) -> Array:
        """All tokens after the last norm (B, N, D)."""
        return self._asked(self.model.forward_features, x)

    def head(self, tokens: Array, pre_logits: bool = False) -> Array:
        """The head on tokens, or what comes before its last layer."""
        return self._asked(self.model.forward_head, tokens, pre_logits=pre_logits)

    def taps(self, x: Array) -> Iterator[tuple[str, Array]]:
        """Every tap."""
        import torch

        with torch.no_grad():
            _, taps = self.model.forward_taps(self._tensor(x))
        while taps:
            name = next(iter(taps))
            yield name, as_array(taps.pop(name))

    def attention(self, x: Array, block: int = -1) -> Array:
        """Attention of a block, without a number of the last one (B, H, N, N)."""
        return self._asked(self._maps, x, block=block)

    def step(self, part: Part, values: Sequence[Array]) -> Array:
        """One step alone."""
        import torch

        with torch.no_grad():
            return as_array(part.compute(self.model, *map(self._tensor, values)))

    def raw(self, x: Array, config: ViTConfig) -> Iterator[tuple[str, Array]]:
        """What is prepared of raw inputs, as the config says."""
        import torch

        from converters.extras import twin

        prepare = twin("torch_vit").Preprocess(config)
        yield PREPARED, as_array(prepare(torch.from_numpy(x)))

    def gradients(self, x: Array, cotangent: Array) -> Iterator[tuple[str, Array]]:
        """Of the input and of every weight that is trained."""
        import torch

        leaf = self._tensor(x).clone().requires_grad_()
        torch.autograd.backward((self.model(leaf) * self._tensor(cotangent)).sum())
        yield INPUT, as_array(_taken(leaf))
        for name, parameter in self._trained().items():
            yield name, as_array(_taken(parameter))

    def train(
        self, x: Array, targets: Array, optimizer: str, settings: dict[str, Any]
    ) -> Iterator[tuple[str, Array]]:
        """`loss`, then every weight that was trained."""
        import torch

        trained = self._trained()
        kinds = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}
        stepper = kinds[optimizer](trained.values(), **settings)
        losses = []
        for batch, target in zip(x, targets, strict=True):
            stepper.zero_grad()
            loss = self._loss(batch, target)
            torch.autograd.backward(loss)
            stepper.step()
            losses.append(loss.item())
        with torch.no_grad():
            losses.append(self._loss(x[-1], targets[-1]).item())
        yield "loss", np.array(losses)
        for name, parameter in trained.items():
            yield name, as_array(parameter)

    def digests(self, dtype: str | None = None) -> Digests:
        """Type, shape and SHA-256 of every weight in memory.

        Args:
            dtype: Type that the file has them in; they are rounded to it first, which
                changes nothing unless something else did.
        """
        with Hasher() as hasher:
            for name, parameter in self.model.named_parameters():
                array = as_stored(parameter)
                hasher.add(name, array if dtype is None else cast(array, dtype))
            return hasher.digests()

    def save(self, path: Path) -> None:
        """Saves the model as a canonical file."""
        self.model.save_pretrained(path)

    def _asked(self, function: Any, x: Array, **options: Any) -> Array:
        import torch

        with torch.no_grad():
            return as_array(function(self._tensor(x), **options))

    def _maps(self, x: torch.Tensor, block: int) -> torch.Tensor:
        (maps,) = self.model.attention_maps(x, [block])
        return maps

    def _loss(self, x: Array, target: Array) -> torch.Tensor:
        y: torch.Tensor = self.model(self._tensor(x))
        return 0.5 * (y - self._tensor(target)).square().mean()

    def _trained(self) -> dict[str, torch.nn.Parameter]:
        named = dict(self.model.named_parameters())
        table = weight_table(self.config)
        return {row.name: named[row.name] for row in table if row.trainable}

    def _tensor(self, x: Array) -> torch.Tensor:
        import torch

        return torch.from_numpy(x).to(self._device, self._dtype)


def _taken(leaf: torch.Tensor) -> torch.Tensor:
    """A gradient, no longer kept; zeros if nothing depends on the leaf."""
    import torch

    gradient, leaf.grad = leaf.grad, None
    return torch.zeros_like(leaf) if gradient is None else gradient


def as_array(tensor: torch.Tensor) -> Array:
    """The tensor as numpy has it; of a smaller type in float32, which is exact."""
    return widened(as_stored(tensor))


def as_stored(tensor: torch.Tensor) -> Array:
    """The tensor in its own type; bfloat16 as that of `ml_dtypes`."""
    import torch

    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        return cast(tensor.float().numpy(), "bfloat16")
    found: Array = tensor.numpy()
    return found
