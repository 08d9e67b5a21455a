"""Draws a fresh model's weights from the table that both twins share."""

import contextlib
import threading

import keras

from vit_config import ViTConfig
from vit_config.init import Init, initial
from vit_config.sincos import sincos_table
from vit_config.weights import weight_table

_state = threading.local()


@contextlib.contextmanager
def no_init():
    """Inside, new models are neither drawn nor traced: they are about to be loaded.

    Until then their weights are anything at all.
    """
    _state.skip = True
    try:
        yield
    finally:
        _state.skip = False


def loading() -> bool:
    """Whether this is inside `no_init`."""
    return getattr(_state, "skip", False)


def init_weights(model: keras.Model, config: ViTConfig) -> None:
    """Fills every weight, with Keras' global seed.

    Args:
        model: The twin of `config`.
        config: Its configuration.
    """
    if loading():
        return
    weights = {model.relative_path(weight): weight for weight in model.weights}
    for weight in weight_table(config):
        variable = weights[weight.path]
        if variable.dtype != "int8":  # quantised: only ever loaded
            fill(variable, initial(config, weight), config)


def fill(variable: keras.Variable, init: Init, config: ViTConfig) -> None:
    """Draws one weight."""
    match init.kind:
        case "constant":
            draw = keras.initializers.Constant(init.value)
        case "normal":
            draw = keras.initializers.RandomNormal(stddev=init.value)
        case "truncated_normal":
            draw = keras.initializers.TruncatedNormal(stddev=init.value)
        case "uniform":
            draw = keras.initializers.RandomUniform(-init.value, init.value)
        case "sincos":
            variable.assign(sincos_table(config))
            return
    variable.assign(draw(variable.shape, dtype=variable.dtype))
