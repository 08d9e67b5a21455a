"""Value and gradients of a number that depends on a Keras model, on each backend.

`PULLBACKS[backend](model, variables, score)` gives a function of the input and of
whatever else the score takes; it gives `(score(model(x), other), its gradient with
respect to x, a list of those with respect to the variables)`, None where nothing
depends on one. The model is called as in inference: dropout is off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Score = Callable[[Any, Any], Any]
Pullback = Callable[[Any, Any], tuple[Any, Any, list[Any]]]


def _torch(model: Any, variables: Sequence[Any], score: Score) -> Pullback:
    parameters = [variable.value for variable in variables]

    def pull(x: Any, other: Any) -> tuple[Any, Any, list[Any]]:
        leaf = x.detach().clone().requires_grad_()
        for parameter in parameters:
            parameter.grad = None
        value = score(model(leaf, training=False), other)
        value.backward()
        found = [parameter.grad for parameter in parameters]
        for parameter in parameters:
            parameter.grad = None
        return value.detach(), leaf.grad, found

    return pull


def _tensorflow(model: Any, variables: Sequence[Any], score: Score) -> Pullback:
    import tensorflow as tf

    values = [variable.value for variable in variables]

    def pull(x: Any, other: Any) -> tuple[Any, Any, list[Any]]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = score(model(x, training=False), other)
        of_input, *found = tape.gradient(value, [x, *values])
        return value, of_input, found

    return pull


def _jax(model: Any, variables: Sequence[Any], score: Score) -> Pullback:
    import jax
    import keras

    fixed = [v for v in model.variables if not any(v is own for own in variables)]

    def scored(values: Any, x: Any, rest: Any, other: Any) -> Any:
        mapping = list(zip([*variables, *fixed], [*values, *rest], strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return score(model(x, training=False), other)

    program = jax.jit(jax.value_and_grad(scored, argnums=(0, 1)))

    def pull(x: Any, other: Any) -> tuple[Any, Any, list[Any]]:
        values, rest = ([v.value for v in group] for group in (variables, fixed))
        value, (found, of_input) = program(values, x, rest, other)
        return value, of_input, list(found)

    return pull


PULLBACKS: dict[str, Callable[[Any, Sequence[Any], Score], Pullback]] = {
    "torch": _torch,
    "tensorflow": _tensorflow,
    "jax": _jax,
}
