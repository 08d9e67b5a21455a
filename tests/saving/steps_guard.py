"""Proofs of the guard: what Keras reloads silently wrong is refused.

Every proof has its control: with the guard switched off, the same load passes without
an error or a warning, and the model is another one.
"""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import keras
import numpy as np

import keras_vit
from keras_vit import guard
from keras_vit.block import LayerScale
from keras_vit.guard import WeightsGuard
from keras_vit.mlp import Mlp
from keras_vit.named_weights import NamedWeights
from tests.saving.common import (
    config_2d,
    demand_other,
    demand_same,
    demand_verified,
    fill,
    images,
    plain_load,
    run,
    vits,
    weights_of,
)
from tests.saving.tamper import (
    EDITS,
    nudge,
    swap,
    tampered_h5,
    tampered_keras,
    tampered_shard,
    zero,
)
from vit_config import ViTConfig

SHARD_GB = 16384 / 1024**3
Action = Callable[[], Any]


# ---- helpers -------------------------------------------------------------------


def refuse(action: Action, *words: str, error: type[Exception] = ValueError) -> None:
    """Fails unless the action raises the error, with these words in its message.

    Raises:
        AssertionError: Otherwise.
    """
    try:
        with warnings.catch_warnings():
            # Keras warns of all that `skip_mismatch` skips, before we raise.
            warnings.filterwarnings("ignore", "A total of")
            action()
    except error as raised:
        text = str(raised)
        missing = [word for word in words if word not in text]
        if missing:
            raise AssertionError(f"no {missing} in: {text}") from raised
    else:
        raise AssertionError("accepted")


@contextlib.contextmanager
def no_guard() -> Iterator[None]:
    """Inside, loaded weights are not compared with the digests."""

    def load_own_variables(self: WeightsGuard, store: Any) -> None:
        self.verified, self.failure = True, None

    with mock.patch.object(WeightsGuard, "load_own_variables", load_own_variables):
        yield


@contextlib.contextmanager
def no_check() -> Iterator[None]:
    """Inside, the constructor does not compare the weights with the config's."""
    with mock.patch("keras_vit.vit.check_built", lambda model: None):
        yield


@contextlib.contextmanager
def no_trace() -> Iterator[None]:
    """Inside, the constructor does not trace `call`."""
    spec = mock.patch.object(
        keras_vit.ViT, "compute_output_spec", lambda self, *args: None
    )
    init = mock.patch.object(keras_vit.ViT, "init_weights", lambda self: None)
    with spec, init:
        yield


def saved(name: str, model: keras.Model) -> np.ndarray:
    """Saves a model in the three ways; returns its output."""
    output = run(model, images(config_2d()))
    model.save(f"{name}.keras")
    model.save_weights(f"{name}.weights.h5")
    model.save_weights(f"{name}.weights.json", max_shard_size=SHARD_GB)
    return output


def loads(name: str, config: ViTConfig) -> dict[str, Callable[[], keras.Model]]:
    """All ways in which a saved ViT can be loaded."""

    def weights(suffix: str) -> Callable[[], keras.Model]:
        def load() -> keras.Model:
            model = keras_vit.ViT(config)
            model.load_weights(f"{name}.{suffix}")
            return model

        return load

    return {
        "keras.models.load_model": lambda: plain_load(f"{name}.keras"),
        "keras_vit.load_model": lambda: keras_vit.load_model(f"{name}.keras"),
        "keras": weights("keras"),
        "weights.h5": weights("weights.h5"),
        "weights.json": weights("weights.json"),
    }


# ---- a parent that forgets a child ---------------------------------------------


class ForgetfulMlp(Mlp):
    """Its `build` forgets one of two children."""

    def build(self, input_shape: tuple) -> None:
        self.fc1.build(input_shape)


class SpecifiedMlp(ForgetfulMlp):
    """The same, and it says its output's shape."""

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape


class LazyScale(LayerScale):
    """Creates its weight when it is first called."""

    def build(self, input_shape: tuple) -> None:
        pass

    def call(self, x: Any) -> Any:
        if not hasattr(self, "gamma"):
            self._tracker.unlock()  # or Keras itself refuses
            super().build(x.shape)
            self._tracker.lock()
        return super().call(x)


def check_forgotten_child() -> None:
    for broken in (ForgetfulMlp, SpecifiedMlp):
        with mock.patch("keras_vit.block.Mlp", broken):
            _prove_unbuilt(broken.__name__, "blocks_0/mlp/fc2", config_2d())


def check_lazy_weight() -> None:
    with mock.patch("keras_vit.block.LayerScale", LazyScale):
        config = config_2d(init_values=0.5)
        _prove_unbuilt("LazyScale", "blocks_0/ls1", config)


def _prove_unbuilt(name: str, path: str, config: ViTConfig) -> None:
    x = images(config)
    # 1. The constructor's check sees it.
    with no_trace():
        refuse(
            lambda: keras_vit.ViT(config),
            f"{path}/",
            "never built",
            error=keras_vit.WeightsError,
        )
    # 2. The constructor's trace cures it: what it makes has all weights, and reloads.
    wanted = saved(name, fill(keras_vit.ViT(config)))
    for way in ("keras.models.load_model", "weights.h5"):
        model = loads(name, config)[way]()
        demand_same(run(model, x), wanted, f"{name}, {way}")
        demand_verified(model)
    # 3. Without both, the first call builds it, and the digests see that it is missing
    # after a reload.
    with no_trace(), no_check():
        model = keras_vit.ViT(config)
        run(model, x)
        wanted = saved(name, fill(model))
        for load in loads(name, config).values():
            refuse(load)
        # 4. Control: without the guard nothing is said, and the weights are random.
        with no_guard():
            for way in ("keras.models.load_model", "weights.h5"):
                found = run(loads(name, config)[way](), x)
                demand_other(found, wanted, f"{name}, {way}, no guard")


# ---- order and names -----------------------------------------------------------


class Reordered(keras_vit.ViT):
    """Creates two tokens of one shape in the other order."""

    def _add_token(self, name: str, count: int, trainable: bool = True) -> Any:
        if name == "cls_token":
            self.early = super()._add_token("dist_token", 1)
        if name == "dist_token":
            return self.early
        return super()._add_token(name, count, trainable)


def check_order_of_same_shapes() -> None:
    config = config_2d(dist_token=True)
    x = images(config)
    wanted = saved("order", fill(keras_vit.ViT(config)))
    # Own weights are stored by name: the order does not matter.
    model = Reordered(config)
    model.load_weights("order.weights.h5")
    demand_same(run(model, x), wanted)
    demand_verified(model)
    # Stored by position, as Keras does by itself, they are exchanged.
    layer = keras.layers.Layer
    by_position = mock.patch.multiple(
        NamedWeights,
        save_own_variables=layer.save_own_variables,
        load_own_variables=layer.load_own_variables,
    )
    with by_position:
        wanted = saved("position", fill(keras_vit.ViT(config)))
        model = Reordered(config)
        refuse(lambda: model.load_weights("position.weights.h5"), "not the values")
        with no_guard():
            model.load_weights("position.weights.h5")
            demand_other(run(model, x), wanted, "exchanged tokens")


def check_order_inside_a_layer() -> None:
    """As if another version of Keras stored a layer's weights in another order."""
    config = config_2d()
    wanted = saved("inside", fill(keras_vit.ViT(config)))

    def load_own_variables(self: keras.layers.Layer, store: Any) -> None:
        self.beta.assign(store["0"])
        self.gamma.assign(store["1"])

    norm = keras.layers.LayerNormalization
    with mock.patch.object(norm, "load_own_variables", load_own_variables):
        for load in loads("inside", config).values():
            refuse(load, "norm/gamma: not the values")
        with no_guard():
            found = run(plain_load("inside.keras"), images(config))
            demand_other(found, wanted, "exchanged scale and offset")


def check_shifted_names() -> None:
    config = config_2d(pre_norm=True)
    model = fill(keras_vit.ViT(config))
    saved("shifted", model)
    other = keras_vit.ViT(config_2d(pre_norm=False))
    for suffix in ("weights.h5", "weights.json", "keras"):
        path = f"shifted.{suffix}"
        refuse(lambda path=path: other.load_weights(path), "norm/gamma: not the values")
        # Nor does `skip_mismatch` excuse it.
        refuse(
            lambda path=path: other.load_weights(path, skip_mismatch=True),
            "norm/gamma: not the values",
            error=keras_vit.WeightsError,
        )
    tampered_keras(
        "shifted.keras",
        "no_pre_norm.keras",
        config=lambda fields: fields["config"].update(pre_norm=False),
    )
    for load in (plain_load, keras_vit.load_model):
        refuse(lambda load=load: load("no_pre_norm.keras"), "norm/gamma: not the")
    with no_guard():
        other.load_weights("shifted.weights.h5")
        found = weights_of(other)["norm/gamma"]
        demand_same(found, weights_of(model)["norm_pre/gamma"], "the wrong norm")
        plain_load("no_pre_norm.keras")


# ---- changed files -------------------------------------------------------------


def check_changed_files() -> None:
    config = config_2d()
    x = images(config)
    wanted = saved("good", fill(keras_vit.ViT(config)))
    words = {"drop_digests": "no weight digests", "spoil_digests": ""}
    for name, edit in EDITS.items():
        tampered_keras("good.keras", f"{name}.keras", edit)
        tampered_h5("good.weights.h5", f"{name}.weights.h5", edit)
        ways = loads(name, config)
        if name in ("nudge", "zero"):
            tampered_shard("good.weights.json", f"{name}.weights.json", edit)
        else:
            ways.pop("weights.json")
        for load in ways.values():
            refuse(load, words.get(name, "not the values that were saved"))
        if edit in (zero, swap):
            with no_guard():
                for way in ("keras.models.load_model", "weights.h5"):
                    demand_other(
                        run(ways[way](), x), wanted, f"{name}, {way}, no guard"
                    )


def check_changed_file_inside_other_models() -> None:
    vit = keras_vit.ViT(config_2d(num_classes=0))
    inputs = keras.Input((24, 16, 3))
    outer = keras.Model(inputs, keras.layers.Dense(2)(vit(inputs)))
    wanted = saved("outer", fill(outer))
    tampered_keras("outer.keras", "outer_bad.keras", swap)
    tampered_h5("outer.weights.h5", "outer_bad.weights.h5", swap)
    actions = [
        lambda: plain_load("outer_bad.keras"),
        lambda: keras_vit.load_model("outer_bad.keras"),
        lambda: outer.load_weights("outer_bad.weights.h5"),
    ]
    for action in actions:
        refuse(action, "not the values that were saved")
    (inner,) = vits(outer)
    if inner._guard.verified:
        raise AssertionError("verified, though the file was refused")
    with no_guard():
        found = run(plain_load("outer_bad.keras"), images(config_2d()))
        demand_other(found, wanted, "exchanged matrices")


def check_changed_file_in_another_dtype() -> None:
    """There samples are compared: enough for a weight that is another one."""
    model = fill(keras_vit.ViT(config_2d()))
    saved("exact", model)
    for name, edit in (("zero", zero), ("swap", swap)):
        path = tampered_keras("exact.keras", f"exact_{name}.keras", edit)
        for dtype in ("bfloat16", "float16"):
            refuse(
                lambda path=path, dtype=dtype: keras_vit.load_model(path, dtype=dtype),
                "not the values that were saved",
            )
    good = keras_vit.load_model("exact.keras", dtype="bfloat16")
    demand_verified(good)


def check_other_layers_are_not_covered() -> None:
    """The limit that the documentation states: what is around the ViT."""
    vit = keras_vit.ViT(config_2d(num_classes=0))
    inputs = keras.Input((24, 16, 3))
    outer = fill(keras.Model(inputs, keras.layers.Dense(2, name="top")(vit(inputs))))
    wanted = saved("covered", outer)

    def spoil_top(file: Any) -> None:
        file["layers/dense/vars/0"][...] *= 2

    tampered_keras("covered.keras", "spoilt_top.keras", spoil_top)
    model = plain_load("spoilt_top.keras")
    demand_verified(model)
    demand_other(run(model, images(config_2d())), wanted, "the head around the ViT")


def check_a_good_file_after_a_bad_one() -> None:
    config = config_2d()
    wanted = saved("fine", fill(keras_vit.ViT(config)))
    tampered_h5("fine.weights.h5", "bad.weights.h5", nudge)
    model = keras_vit.ViT(config)
    for _ in range(2):
        refuse(lambda: model.load_weights("bad.weights.h5"), "not the values")
        if model._guard.verified:
            raise AssertionError("verified, though the file was refused")
        model.load_weights("fine.weights.h5")
        demand_verified(model)
        demand_same(run(model, images(config)), wanted)


# ---- other heads ---------------------------------------------------------------


def check_classifier_and_feature_files() -> None:
    classifier = fill(keras_vit.ViT(config_2d()))
    features = fill(keras_vit.ViT(config_2d(num_classes=0)), seed=1)
    saved("classifier", classifier)
    saved("features", features)
    for suffix in ("keras", "weights.h5", "weights.json"):
        refuse(lambda s=suffix: classifier.load_weights(f"features.{s}"), "head")
        refuse(
            lambda s=suffix: features.load_weights(f"classifier.{s}"),
            "in the file, not in the model: head/bias",
        )
    with no_guard():  # Keras would take it
        features.load_weights("classifier.weights.h5")
    # Asked for, it is right, and the rest is compared.
    features.load_weights("classifier.weights.h5", skip_mismatch=True)
    demand_verified(features)
    tampered_h5("classifier.weights.h5", "bad_classifier.weights.h5", nudge)
    refuse(
        lambda: features.load_weights("bad_classifier.weights.h5", skip_mismatch=True),
        "not the values",
        error=keras_vit.WeightsError,
    )
    features.load_weights("features.weights.h5")  # strict again
    refuse(lambda: features.load_weights("classifier.weights.h5"), "head/kernel")


# ---- a subclass with weights of its own ----------------------------------------


class Wider(keras_vit.ViT):
    """Adds a weight that the config does not have."""

    def build(self, input_shape: tuple) -> None:
        self.extra = self.add_weight(name="extra", shape=(2,))
        super().build(input_shape)


def check_weights_that_the_config_does_not_have() -> None:
    refuse(
        lambda: Wider(config_2d()),
        "extra: the config has no such weight",
        error=keras_vit.WeightsError,
    )


def check_legacy_h5() -> None:
    """The old format stores no digests: our loader says so, Keras' does not."""
    vit = keras_vit.ViT(config_2d(num_classes=0))
    inputs = keras.Input((24, 16, 3))
    outer = fill(keras.Model(inputs, keras.layers.Dense(2)(vit(inputs))))
    outer.save("legacy.h5")
    refuse(
        lambda: keras_vit.load_model("legacy.h5"),
        "no weights were loaded",
        error=keras_vit.WeightsError,
    )
    with mock.patch.object(keras.Model, "load_weights", lambda *args, **options: None):
        refuse(
            lambda: vit.load_weights("legacy.h5"),
            "nothing was compared",
            error=keras_vit.WeightsError,
        )


def check_what_is_not_about_weights_stays_what_it_is() -> None:
    try:
        keras_vit.load_model("nowhere.keras")
    except keras_vit.WeightsError as error:
        raise AssertionError("a missing file is not a matter of weights") from error
    except ValueError as error:
        if "nowhere.keras" not in str(error):
            raise
    else:
        raise AssertionError("accepted")


def check_digests_are_those_of_the_bytes_in_order() -> None:
    """However a backend lays a weight out, and in however many parts it is hashed."""
    for dtype in ("float32", "bfloat16"):
        model = fill(keras_vit.ViT(config_2d(), dtype=dtype))
        wanted = {}
        for variable in model.weights:
            value = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
            hashed = hashlib.sha256(value.tobytes()).hexdigest()
            name = model.relative_path(variable)
            wanted[name] = [str(value.dtype), list(value.shape), hashed]
        with mock.patch.object(guard, "CHUNK", 100):
            found = guard.digests_of(dict(guard.own_variables(model)))
        if found != wanted:
            raise AssertionError([key for key in wanted if found[key] != wanted[key]])


def check_only_loading_skips_the_trace() -> None:
    saved("plain", fill(keras_vit.ViT(config_2d())))
    with mock.patch.object(keras_vit.ViT, "call", side_effect=KeyError("traced")):
        keras_vit.load_model("plain.keras")
        refuse(lambda: keras_vit.ViT(config_2d()), "traced", error=KeyError)
    demand_verified(keras_vit.load_model("plain.keras"))
