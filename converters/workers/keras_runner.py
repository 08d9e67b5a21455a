"""The Keras twin as a runner; its methods stand in the order of `torch_runner`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.mapping.pipe import Digests, apply, cast
from converters.mapping.stream import Hasher
from converters.mapping.table import KERAS
from converters.workers.archive import widened
from converters.workers.parts import INPUT, Part
from converters.workers.pullback import PULLBACKS
from converters.workers.raw import APART, PREPARED, WHOLE
from vit_config import ViTConfig
from vit_config.weights import Weight, weight_table

Array = NDArray[Any]


class KerasRunner:
    """`keras_vit.ViT`, asked.

    Args:
        model: The model, or a `Pipeline` around it; it computes in the type of its
            dtype policy.
    """

    def __init__(self, model: Any) -> None:
        import keras

        import keras_vit

        self._backend: str = keras.backend.backend()
        self._whole = model
        self._pipeline = isinstance(model, keras_vit.Pipeline)
        self.model = model = model.vit if self._pipeline else model
        self.config = model.config
        plan = KERAS.plan(model.config)
        self._steps = {step.sources[0]: step.inverse() for step in plan.steps}
        self._variables = {model.relative_path(v): v for v in model.weights}

    def outputs(self, x: Array) -> Array:
        """What the model gives for inputs (B, C, *spatial)."""
        return self._asked(self.model, _image(x), training=False)

    def tokens(self, x: Array) -> Array:
        """All tokens after the last norm (B, N, D)."""
        return self._asked(self.model.forward_features, _image(x))

    def head(self, tokens: Array, pre_logits: bool = False) -> Array:
        """The head on tokens, or what comes before its last layer."""
        return self._asked(self.model.forward_head, tokens, pre_logits=pre_logits)

    def taps(self, x: Array) -> Iterator[tuple[str, Array]]:
        """Every tap."""
        with self._no_graph():
            _, taps = self.model.forward_taps(self._tensor(_image(x)))
        while taps:
            name = next(iter(taps))
            yield name, as_array(taps.pop(name))

    def attention(self, x: Array, block: int = -1) -> Array:
        """Attention of a block, without a number of the last one (B, H, N, N)."""
        return self._asked(self._maps, _image(x), block=block)

    def step(self, part: Part, values: Sequence[Array]) -> Array:
        """One step alone."""
        if part.sources == (INPUT,):
            values = [_image(values[0])]
        with self._no_graph():
            return as_array(part.compute(self.model, *map(self._tensor, values)))

    def raw(self, x: Array, config: ViTConfig) -> Iterator[tuple[str, Array]]:
        """What is prepared of raw inputs, and outputs: of the whole, and of that."""
        from keras import ops

        if not self._pipeline:
            return
        with self._no_graph():
            given = ops.convert_to_tensor(_image(x))
            prepared = self._whole.preprocess(given)
            apart = as_array(self.model(prepared, training=False))
            whole = as_array(self._whole(given, training=False))
        yield PREPARED, np.moveaxis(as_array(prepared), -1, 1)
        yield WHOLE, whole
        yield APART, apart

    def gradients(self, x: Array, cotangent: Array) -> Iterator[tuple[str, Array]]:
        """Of the input and of every weight that is trained."""
        trained = self._trained()
        variables = [variable for _, variable in trained]
        pull = PULLBACKS[self._backend](self.model, variables, _weighted)
        _, of_input, found = pull(self._tensor(_image(x)), self._tensor(cotangent))
        yield INPUT, np.moveaxis(as_array(of_input), -1, 1)
        for weight, variable in trained:
            gradient = _or_zeros(found.pop(0), variable)
            yield weight.name, self._canonical(weight, as_array(gradient))

    def train(
        self, x: Array, targets: Array, optimizer: str, settings: dict[str, Any]
    ) -> Iterator[tuple[str, Array]]:
        """`loss`, then every weight that was trained."""
        trained = self._trained()
        variables = [variable for _, variable in trained]
        stepper = _STEPPERS[optimizer](settings)
        stepper.build(variables)
        pull = PULLBACKS[self._backend](self.model, variables, _loss)
        losses = []
        for t, (batch, target) in enumerate(zip(x, targets, strict=True), 1):
            if optimizer == "adamw":
                stepper.epsilon = _epsilon(t, settings)
            loss, _, gradients = pull(self._tensor(_image(batch)), self._tensor(target))
            pairs = zip(gradients, variables, strict=True)
            stepper.apply([_or_zeros(*pair) for pair in pairs], variables)
            losses.append(float(as_array(loss)))
            del gradients
        with self._no_graph():
            y = self.model(self._tensor(_image(x[-1])), training=False)
            loss = _loss(y, self._tensor(targets[-1]))
        losses.append(float(as_array(loss)))
        yield "loss", np.array(losses)
        for weight, variable in trained:
            yield weight.name, self._canonical(weight, as_array(variable.value))

    def digests(self, dtype: str | None = None) -> Digests:
        """Type, shape and SHA-256 of every weight in memory, in canonical layout.

        Args:
            dtype: Type that the file has them in; they are rounded to it first, which
                changes nothing unless something else did.
        """
        with Hasher() as hasher:
            for weight in weight_table(self.config):
                value = as_stored(self._variables[weight.path].value)
                array = self._canonical(weight, value)
                hasher.add(weight.name, array if dtype is None else cast(array, dtype))
            return hasher.digests()

    def save(self, path: Path) -> None:
        """Saves the model as Keras does."""
        self._whole.save(path)

    def _asked(self, function: Any, x: Array, **options: Any) -> Array:
        with self._no_graph():
            return as_array(function(self._tensor(x), **options))

    def _maps(self, x: Any, block: int) -> Any:
        (maps,) = self.model.attention_maps(x, [block])
        return maps

    def _trained(self) -> list[tuple[Weight, Any]]:
        table = weight_table(self.config)
        return [(row, self._variables[row.path]) for row in table if row.trainable]

    def _canonical(self, weight: Weight, value: Array) -> Array:
        return apply(self._steps[weight.name], [value])[0]

    def _no_graph(self) -> AbstractContextManager[Any]:
        """Under torch, no graph is kept for what is only looked at."""
        if self._backend != "torch":
            return nullcontext()
        import torch

        return torch.no_grad()

    def _tensor(self, x: Array) -> Any:
        from keras import ops

        return ops.convert_to_tensor(x, self.model.compute_dtype)


def _image(x: Array) -> Array:
    """(B, C, *spatial) -> (B, *spatial, C)."""
    return np.moveaxis(x, 1, -1)


def _or_zeros(gradient: Any, variable: Any) -> Any:
    """A gradient; zeros where nothing depends on the variable."""
    from keras import ops

    return ops.zeros_like(variable.value) if gradient is None else gradient


def _weighted(y: Any, cotangent: Any) -> Any:
    from keras import ops

    return ops.sum(y * cotangent)


def _loss(y: Any, target: Any) -> Any:
    from keras import ops

    return 0.5 * ops.mean(ops.square(y - target))


def _sgd(settings: dict[str, Any]) -> Any:
    import keras

    return keras.optimizers.SGD(settings["lr"], momentum=settings.get("momentum", 0.0))


def _adamw(settings: dict[str, Any]) -> Any:
    import keras

    beta_1, beta_2 = settings["betas"]
    return keras.optimizers.AdamW(
        settings["lr"],
        weight_decay=settings["weight_decay"],
        beta_1=beta_1,
        beta_2=beta_2,
        epsilon=settings["eps"],
    )


_STEPPERS: dict[str, Callable[[dict[str, Any]], Any]] = {"sgd": _sgd, "adamw": _adamw}


def _epsilon(step: int, settings: dict[str, Any]) -> float:
    """The epsilon with which Keras takes the step that torch takes.

    With v' = v / (1 - b^t), torch 2.13 divides by sqrt(v') + eps; Keras 3.15.1 moves
    the correction out, to sqrt(v) + epsilon, and leaves epsilon without it. What is
    left: Keras has 1 - b^t in float32, which for b = 0.999 is wrong by 1e-5 in the
    first step and shows, for 0.95 by less than 1e-6.
    """
    beta_2 = settings["betas"][1]
    return float(settings["eps"] * (1 - beta_2**step) ** 0.5)


def as_array(tensor: Any) -> Array:
    """The tensor as numpy has it; of a smaller type in float32, which is exact."""
    return widened(as_stored(tensor))


def as_stored(tensor: Any) -> Array:
    """The tensor in its own type; bfloat16 as that of `ml_dtypes`."""
    from keras import ops

    found: Array = np.asarray(ops.convert_to_numpy(tensor))
    return found
