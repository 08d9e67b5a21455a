"""Nothing is loaded, or built, unnoticed.

Keras' loader walks the object tree; a child that was never built has no variables,
finds none under a second path, and counts as loaded: `load_model` returns a model with
random weights and raises nothing (measured on Keras 3.9.2 to 3.15.1). Two checks close
this:

- after construction, the weights' paths and shapes must be those that the config has;
- after loading, a digest of every weight must be the one saved beside the weights.

The second is done by a layer without weights, `WeightsGuard`, which the loader visits
last because it is the model's last layer: by then everything else has been read. So it
works under a plain `keras.models.load_model`, too, and for a ViT inside other models.
"""

import hashlib
import json
import os
import weakref
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
from keras import ops

from vit_config.weights import weight_table

SAMPLES = 16
CHUNK = 1 << 20


class WeightsError(ValueError):
    """A model whose weights are not those that its config, or its file, says."""


@keras.saving.register_keras_serializable(package="vit_duet")
class WeightsGuard(keras.layers.Layer):
    """Saves digests of all weights of a model and checks them after loading.

    Args:
        model: The model to guard.
        **kwargs: `name` of the layer.

    Attributes:
        verified: Whether weights were loaded and found to be those of the file.
        partial: Set while a caller asked for `skip_mismatch`: weights that the file
            does not have, or has in another shape, may then differ.
        failure: What was wrong at the last load, or None.
    """

    def __init__(self, model=None, **kwargs):
        super().__init__(**kwargs)
        self._model = weakref.ref(model) if model is not None else lambda: None
        self.verified = False
        self.partial = False
        self.failure = None
        self.built = True

    def save_own_variables(self, store):
        """Writes digests, samples and the states of the dropout generators."""
        model = self._model()
        values = dict(sorted(own_variables(model)))
        digests = digests_of(values)
        samples = [sample(value) for value in values.values()]
        text = json.dumps(
            {"schema": 1, "weights": digests}, sort_keys=True, separators=(",", ":")
        )
        store["digests"] = np.frombuffer(text.encode(), np.uint8)
        store["samples"] = np.stack(samples)
        seeds = [ops.convert_to_numpy(seed.state) for seed in seed_generators(model)]
        if seeds:
            store["seeds"] = np.stack(seeds)

    def load_own_variables(self, store):
        """Compares what the model now holds with what was saved.

        Raises:
            WeightsError: If any weight is not the one of the file.
        """
        if self.failure is not None and not store.keys():
            # Keras tries a failed object again under every other path to it, where
            # the file has nothing, and forgets the failure if that "succeeds".
            raise self.failure
        self.verified, self.failure = False, None
        try:
            self._check(store)
        except WeightsError as error:
            self.failure = error
            raise
        self._load_seeds(store)
        self.verified = True

    def _check(self, store):
        if "digests" not in store.keys():  # noqa: SIM118  (a store is no mapping)
            raise WeightsError(
                "the file has no weight digests: it was not written by this library, "
                "or without its last part"
            )
        saved = json.loads(bytes(np.asarray(store["digests"])))["weights"]
        samples = dict(zip(sorted(saved), np.asarray(store["samples"]), strict=True))
        values = dict(own_variables(self._model()))
        same = {
            key: value
            for key, value in values.items()
            if key in saved and str(value.dtype) == saved[key][0]
        }
        found = digests_of(same)
        problems = []
        if not self.partial:
            problems += [
                f"missing in the file: {k}" for k in values.keys() - saved.keys()
            ]
            problems += [
                f"in the file, not in the model: {k}"
                for k in saved.keys() - values.keys()
            ]
        for key in values.keys() & saved.keys():
            value, was = values[key], saved[key]
            if list(value.shape) != was[1]:
                if not self.partial:
                    problems.append(
                        f"{key}: shape {tuple(value.shape)}, saved {tuple(was[1])}"
                    )
            elif key in found:
                if found[key] != was:
                    problems.append(f"{key}: not the values that were saved")
            elif not close(sample(value), samples[key], value.dtype):
                problems.append(f"{key}: not the values that were saved")
        if problems:
            shown = sorted(problems)[:20]
            more = len(problems) - len(shown)
            raise WeightsError(
                f"{len(problems)} weights of {self._model().name!r} are not those of "
                "the file:\n  "
                + "\n  ".join(shown)
                + (f"\n  ... and {more} more" if more else "")
            )

    def _load_seeds(self, store):
        generators = seed_generators(self._model())
        if "seeds" not in store.keys():  # noqa: SIM118  (a store is no mapping)
            return  # converted files have none
        seeds = np.asarray(store["seeds"])
        if len(seeds) == len(generators):  # another dropout setting: keep the new ones
            for generator, state in zip(generators, seeds, strict=True):
                generator.state.assign(state)

    def call(self, x):
        """The guard computes nothing."""
        return x


def check_built(model) -> None:
    """Compares a fresh model's weights with those that its config has.

    Raises:
        WeightsError: With every missing, unexpected or misshapen weight.
    """
    wanted = {w.path: w.keras_shape for w in weight_table(model.config)}
    quantized = {
        layer.path for layer in all_layers(model) if is_quantized(layer) and layer.path
    }
    found, problems = {}, []
    for weight in model.weights:
        path = model.relative_path(weight)
        if path in found:
            problems.append(f"{path}: two weights of this name")
        found[path] = tuple(weight.shape)
        layer, _, name = weight.path.rpartition("/")
        if layer in quantized and (name != "kernel" or path in wanted):
            found[path] = wanted.get(path)  # packed or scaled: Keras' own business
    problems += [
        f"{path}: never built; the config has {shape}"
        for path, shape in wanted.items()
        if path not in found
    ]
    problems += [
        f"{path}: the config has no such weight"
        for path, shape in found.items()
        if path not in wanted and shape is not None
    ]
    problems += [
        f"{path}: shape {found[path]}, the config has {shape}"
        for path, shape in wanted.items()
        if found.get(path) is not None and found[path] != shape
    ]
    if problems:
        raise WeightsError(
            f"{type(model).__name__} {model.name!r} does not have the weights of its "
            "config. A layer that adds weights belongs around the model, not into a "
            "subclass.\n  " + "\n  ".join(problems)
        )


def all_layers(model):
    """The model and every layer below it, the guard excepted."""
    layers = model._flatten_layers(include_self=True, recursive=True)
    return [layer for layer in layers if not isinstance(layer, WeightsGuard)]


def layer_at(model, path: str):
    """The layer at a path such as `blocks_0/attn/qkv` below the model.

    Raises:
        ValueError: If there is none.
    """
    layer = model
    for name in path.split("/"):
        children = layer._flatten_layers(include_self=False, recursive=False)
        layer = next((child for child in children if child.name == name), None)
        if layer is None:
            raise ValueError(f"{path}: no such layer in {model.name!r}")
    return layer


def is_quantized(layer) -> bool:
    """Whether the layer's kernel is quantised."""
    return getattr(layer, "quantization_mode", None) is not None


def own_variables(model):
    """Yields (path, array) of everything that saving the model writes.

    Asks each layer's own `save_own_variables`, so that what is merged or packed on
    saving (LoRA, quantisation) is seen as it is written. Named by the variable and not
    by its key, which is a position: two that change places are seen, too.
    """
    for layer in all_layers(model):
        store = {}
        layer.save_own_variables(store)
        prefix = model.relative_path(layer)
        merged = iter(("kernel", "kernel_scale", "kernel_zero"))  # LoRA: no variables
        for value in store.values():
            name = value.name if isinstance(value, keras.Variable) else next(merged)
            path = f"{prefix}/{name}" if prefix else name
            yield path, as_numpy(value)


def as_numpy(value) -> np.ndarray:
    """What a variable or tensor holds: where numpy can see that memory, without a copy.

    To be read at once; the variable may be assigned to later.
    """
    try:
        return np.from_dlpack(ops.stop_gradient(ops.convert_to_tensor(value)))
    except (AttributeError, BufferError, RuntimeError, TypeError, ValueError):
        return ops.convert_to_numpy(value)  # bfloat16, another device, a numpy array


def seed_generators(model):
    """Generators of all dropout layers, in model order."""
    found = [getattr(layer, "seed_generator", None) for layer in all_layers(model)]
    return [generator for generator in found if generator is not None]


def digests_of(values) -> dict[str, list]:
    """`digest` of every array, by key; hashing leaves the interpreter to others."""
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return dict(zip(values, pool.map(digest, values.values()), strict=True))


def digest(value) -> list:
    """[dtype, shape, SHA-256 of the little-endian C-order bytes] of an array."""
    value = np.asarray(value)
    shape = list(value.shape)
    if not value.flags.c_contiguous and value.ndim:
        # The torch backend's kernels: put in order a few rows at a time, since memory
        # for all at once takes longer to get than to fill.
        rows = max(1, CHUNK * len(value) // value.nbytes)
        parts = [value[i : i + rows] for i in range(0, len(value), rows)]
    else:
        parts = [value]
    found = hashlib.sha256()
    for part in parts:
        row = np.ascontiguousarray(part)
        found.update(row.view(np.uint8) if row.size else row)
    return [str(value.dtype), shape, found.hexdigest()]


def sample(value) -> np.ndarray:
    """16 evenly spread elements as float64: what survives a change of dtype."""
    flat = np.asarray(value).reshape(-1)
    index = np.arange(SAMPLES) * flat.size // SAMPLES
    return flat[index].astype(np.float64)


def close(found, saved, dtype) -> bool:
    """Whether two samples agree up to one rounding to the dtype."""
    import ml_dtypes

    limits = ml_dtypes.finfo(dtype)
    eps, tiny = float(limits.eps), float(limits.smallest_normal)
    return bool(np.all(np.abs(found - saved) <= eps * np.abs(saved) + tiny))
