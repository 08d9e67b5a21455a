"""Steps of a model's life: made, changed and saved here, loaded in another process.

Every `make_` has a `load_`, which runs in a fresh process and calls nothing before it
is loaded.
"""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_vit
from keras_vit.guard import layer_at
from tests.saving.common import (
    array,
    config_2d,
    config_3d,
    demand_other,
    demand_same,
    demand_verified,
    fill,
    images,
    plain_load,
    relative_rms,
    run,
    seeds_of,
    store,
    stored,
    vits,
    weights_of,
)

BACKEND = keras.backend.backend()
Loader = Callable[..., keras.Model]
LOADERS: tuple[Loader, ...] = (plain_load, keras_vit.load_model)


def new(**changes: Any) -> keras_vit.ViT:
    """A filled 2D classifier."""
    return fill(keras_vit.ViT(config_2d(**changes)))


def save(name: str, model: keras.Model, x: np.ndarray | None = None) -> None:
    """Saves a model and its output."""
    output = run(model, images(config_2d()) if x is None else x)
    store(name, output=output)
    model.save(f"{name}.keras")


def demand_reload(name: str, count: int = 1, x: np.ndarray | None = None) -> None:
    """Both loaders give the bits that `save` kept."""
    x = images(config_2d()) if x is None else x
    for load in LOADERS:
        model = load(f"{name}.keras")
        demand_same(run(model, x), stored(name)["output"], f"{name}, {load.__name__}")
        demand_verified(model, count)


# ---- copies --------------------------------------------------------------------


def make_copies() -> None:
    model = new(drop_rate=0.1, reg_tokens=2)
    x = images(model.config)
    output = run(model, x)
    clone = keras.models.clone_model(model)
    made = keras_vit.ViT.from_config(model.get_config())
    for copied in (clone, made):
        demand_other(run(copied, x), output, "weights of its own")
        copied.set_weights(model.get_weights())
    deep = copy.deepcopy(model)
    unpickled = pickle.loads(pickle.dumps(model))
    demand_verified(deep)
    demand_verified(unpickled)
    copies = {"clone": clone, "config": made, "deep": deep, "pickle": unpickled}
    for name, copied in copies.items():
        demand_same(run(copied, x), output, name)
        save(name, copied)
    fill(model, seed=1)  # a copy that shared its weights would follow
    for name, copied in copies.items():
        demand_same(run(copied, x), output, f"{name}, after a change of the model")
    Path("model.pickle").write_bytes(pickle.dumps(deep))
    # The guard of a copy guards the copy, not the model that it was copied from.
    fill(deep, seed=2)
    save("deep", deep)


def load_copies() -> None:
    for name in ("clone", "config", "deep", "pickle"):
        demand_reload(name)
    model = pickle.loads(Path("model.pickle").read_bytes())
    demand_verified(model)
    demand_same(run(model, images(model.config)), stored("pickle")["output"])


# ---- inside other models -------------------------------------------------------


def make_nested() -> None:
    vit = fill(keras_vit.ViT(config_2d(num_classes=0), name="encoder"))
    inputs = keras.Input((24, 16, 3))
    x = keras.layers.Rescaling(0.5)(inputs)
    outputs = keras.layers.Dense(5, name="top")(vit(x))
    model = fill(keras.Model(inputs, outputs, name="outer"))
    save("nested", model)
    model.save_weights("nested.weights.h5")


def load_nested() -> None:
    demand_reload("nested")
    vit = keras_vit.ViT(config_2d(num_classes=0))  # another name
    inputs = keras.Input((24, 16, 3))
    x = keras.layers.Rescaling(0.5)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(5)(vit(x)))
    model.load_weights("nested.weights.h5")
    demand_same(run(model, images(config_2d())), stored("nested")["output"])
    demand_verified(model)


@keras.saving.register_keras_serializable(package="vit_duet_tests")
class Classifier(keras.Model):
    """A user's model: a Functional encoder with a ViT in it, and a head."""

    def __init__(self, encoder: keras.Model | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if encoder is None:
            inputs = keras.Input((24, 16, 3), name="pixels")
            vit = keras_vit.ViT(config_2d(num_classes=0, global_pool="none"))
            tokens = vit(keras.layers.Rescaling(2.0)(inputs))
            pooled = keras.layers.GlobalMaxPooling1D()(tokens)
            encoder = keras.Model(inputs, pooled, name="functional")
        self.encoder = encoder
        self.top = keras.layers.Dense(4, name="top")

    def build(self, input_shape: tuple) -> None:
        self.top.build((None, 24))

    def call(self, x: Any, training: bool | None = None) -> Any:
        return self.top(self.encoder(x, training=training))

    def get_config(self) -> dict[str, Any]:
        encoder = keras.saving.serialize_keras_object(self.encoder)
        return {**super().get_config(), "encoder": encoder}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Classifier:
        encoder = keras.saving.deserialize_keras_object(config.pop("encoder"))
        return cls(encoder=encoder, **config)


def make_user_model() -> None:
    model = Classifier()
    model(images(config_2d()))
    save("user", fill(model))
    model.save_weights("user.weights.h5")


def load_user_model() -> None:
    demand_reload("user")
    model = Classifier()
    model.build((None, 24, 16, 3))
    model.load_weights("user.weights.h5")
    demand_same(run(model, images(config_2d())), stored("user")["output"])
    demand_verified(model)


def make_two_vits() -> None:
    left = fill(keras_vit.ViT(config_2d(), name="left"), seed=1)
    right = fill(keras_vit.ViT(config_2d(pre_norm=True), name="right"), seed=2)
    inputs = keras.Input((24, 16, 3))
    outputs = keras.layers.Concatenate()(
        [left(inputs), right(inputs), right(-inputs)]  # one of them used twice
    )
    save("two", keras.Model(inputs, outputs))
    save("left", left)  # alone, though a part of another model
    # The same name twice, in one process.
    for seed in (3, 4):
        save(f"seed{seed}", fill(keras_vit.ViT(config_2d()), seed))


def load_two_vits() -> None:
    demand_reload("two", count=2)
    demand_reload("left")
    x = images(config_2d())
    models = [plain_load(f"seed{seed}.keras") for seed in (3, 4)]
    for model, seed in zip(models, (3, 4), strict=True):
        demand_same(run(model, x), stored(f"seed{seed}")["output"])
        demand_verified(model)


def make_renamed() -> None:
    model = fill(keras_vit.ViT(config_2d(), name="my_encoder"))
    save("renamed", model)
    model.save_weights("renamed.weights.h5")


def load_renamed() -> None:
    demand_reload("renamed")
    model = plain_load("renamed.keras")
    if model.name != "my_encoder":
        raise AssertionError(model.name)
    other = keras_vit.ViT(config_2d(), name="other")
    other.load_weights("renamed.weights.h5")
    demand_same(run(other, images(config_2d())), stored("renamed")["output"])
    demand_verified(other)


def make_feature_extractor() -> None:
    model = fill(keras_vit.ViT(config_3d(class_token=True, reg_tokens=2)))
    x = images(model.config)
    extractor = keras_vit.feature_extractor(
        model, [0, -1], norm=True, return_prefix_tokens=True, name="features"
    )
    outputs = {key: array(value) for key, value in extractor(x).items()}
    if set(outputs) != {"block_0", "block_0_prefix", "block_1", "block_1_prefix"}:
        raise AssertionError(sorted(outputs))
    store("extractor", **outputs)
    extractor.save("extractor.keras")
    extractor.save_weights("extractor.weights.h5")
    inputs = keras.Input(x.shape[1:])
    features = extractor(inputs)["block_1"]
    save("on_features", keras.Model(inputs, keras.layers.Flatten()(features)), x)


def load_feature_extractor() -> None:
    config = config_3d(class_token=True, reg_tokens=2)
    x = images(config)
    fresh = keras_vit.feature_extractor(
        keras_vit.ViT(config), [0, 1], norm=True, return_prefix_tokens=True
    )
    fresh.load_weights("extractor.weights.h5")
    loaded = [load("extractor.keras") for load in LOADERS]
    for model in (*loaded, fresh):
        wanted = stored("extractor")
        outputs = model(x)
        if set(outputs) != set(wanted):
            raise AssertionError(sorted(outputs))
        for key, value in outputs.items():
            demand_same(array(value), wanted[key], key)
        demand_verified(model)
    demand_reload("on_features", x=x)


# ---- training ------------------------------------------------------------------


def data() -> tuple[np.ndarray, np.ndarray]:
    """Five batches of four images and their classes."""
    x = images(config_2d(), batch=20)
    return x, np.arange(20) % 3


def compiled(**changes: Any) -> keras_vit.ViT:
    """A filled model that can be trained; its loss takes logits."""
    model = new(**changes)
    model.compile(
        optimizer=keras.optimizers.AdamW(1e-3, weight_decay=0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def make_checkpoint() -> None:
    x, y = data()
    model = compiled(proj_drop_rate=0.1)
    before = run(model, x)
    callbacks = [
        keras.callbacks.ModelCheckpoint("checkpoint.keras"),
        keras.callbacks.ModelCheckpoint(
            "checkpoint.weights.h5", save_weights_only=True
        ),
    ]
    model.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=callbacks)
    output = run(model, x)
    demand_other(output, before, "training")
    store("checkpoint", output=output)


def load_checkpoint() -> None:
    x, y = data()
    wanted = stored("checkpoint")["output"]
    weights_only = keras_vit.ViT(config_2d(proj_drop_rate=0.1))
    weights_only.load_weights("checkpoint.weights.h5")
    models = [load("checkpoint.keras") for load in LOADERS]
    for model in (*models, weights_only):
        demand_same(run(model, x), wanted)
        demand_verified(model)
    models[0].fit(x, y, batch_size=4, verbose=0)  # goes on without compiling
    demand_other(run(models[0], x), wanted, "further training")
    models[0].save("again.keras")
    demand_same(run(plain_load("again.keras"), x), run(models[0], x))


RATES = {
    f"{name}_rate": 0.2
    for name in ("drop", "pos_drop", "proj_drop", "attn_drop", "drop_path")
}


def train(model: keras.Model, batches: range) -> None:
    """One step on each of these batches."""
    x, y = data()
    for i in batches:
        model.train_on_batch(x[4 * i : 4 * i + 4], y[4 * i : 4 * i + 4])


def state(model: keras.Model) -> dict[str, np.ndarray]:
    """Weights, optimizer state and states of the dropout generators."""
    slots = {f"optimizer/{i}": v for i, v in enumerate(model.optimizer.variables)}
    return {
        **{key.replace("/", "|"): value for key, value in weights_of(model).items()},
        **{key.replace("/", "|"): array(value) for key, value in slots.items()},
        "seeds": seeds_of(model),
    }


def make_resume() -> None:
    """Saving half way changes nothing: the same model goes on to the fifth step."""
    keras.utils.set_random_seed(5)
    model = compiled(depth=1, **RATES)  # what a compiler takes grows with it
    first = seeds_of(model)
    train(model, range(3))
    store("three_steps", **state(model))
    model.save("three_steps.keras")
    demand_state(model, stored("three_steps"), "after saving")
    train(model, range(3, 5))
    store("five_steps", **state(model))
    seeds = stored("three_steps")["seeds"]
    if len(seeds) != 6 or (seeds == first).all(1).any():
        raise AssertionError(f"generators that were not used: {seeds}")


def load_resume() -> None:
    models = [load("three_steps.keras") for load in LOADERS]
    for model in models:
        demand_state(model, stored("three_steps"), "after loading")
    ours = models[-1]  # `load_model` of Keras goes on in `load_checkpoint`
    train(ours, range(3, 5))
    demand_state(ours, stored("five_steps"), "after two more steps")
    for load in LOADERS:
        plain = load("three_steps.keras", compile=False)
        demand_same(seeds_of(plain), stored("three_steps")["seeds"], "seeds")


def demand_state(model: keras.Model, wanted: dict[str, np.ndarray], when: str) -> None:
    """Fails unless the whole state of a training has the same bits."""
    found = state(model)
    if found.keys() != wanted.keys():
        raise AssertionError(f"{when}: {sorted(found.keys() ^ wanted.keys())}")
    for key, value in found.items():
        demand_same(value, wanted[key], f"{when}: {key}")


def make_frozen() -> None:
    model = new()
    for path in ("patch_embed", "blocks_0", "blocks_1/attn/qkv"):
        layer_at(model, path).trainable = False
    model.blocks[0].norm1.trainable = True  # inside a frozen block
    model.cls_token.trainable = False  # of the model itself, which is not frozen
    model.head.kernel.trainable = False
    save("frozen", model)
    store("frozen_paths", paths=np.array(trainable(model)))
    whole = new()
    whole.trainable = False
    save("all_frozen", whole)


def load_frozen() -> None:
    demand_reload("frozen")
    demand_reload("all_frozen")
    for load in LOADERS:
        model = load("frozen.keras")
        wanted = stored("frozen_paths")["paths"].tolist()
        if trainable(model) != wanted or len(wanted) != len(model.weights) - 16:
            raise AssertionError(f"{trainable(model)}, was {wanted}")
        if load("all_frozen.keras").trainable_weights:
            raise AssertionError("trainable again")
    model = plain_load("frozen.keras")
    model.freeze([])
    if len(model.trainable_weights) != len(model.weights):
        raise AssertionError("cannot be thawed")
    model.freeze(["pos_embed", "blocks_0", "blocks_0/mlp"])
    paths = trainable(model)
    if {path for path in paths if path.startswith("blocks_0")} or "pos_embed" in paths:
        raise AssertionError(f"not frozen: {paths}")
    if "cls_token" not in paths or "blocks_1/attn/qkv/kernel" not in paths:
        raise AssertionError(f"frozen as well: {paths}")
    thawed = plain_load("all_frozen.keras")
    thawed.trainable = True
    if len(thawed.trainable_weights) != len(thawed.weights):
        raise AssertionError("cannot be thawed as a whole")


def trainable(model: keras.Model) -> list[str]:
    """Paths of the trainable weights below the model."""
    return [w.path.removeprefix(f"{model.name}/") for w in model.trainable_weights]


# ---- dtypes, quantisation, adapters --------------------------------------------

MIXED = ("mixed_bfloat16", "mixed_float16")
# The other backends compute float64 in float32.
PURE = ("bfloat16", "float16", *(("float64",) if BACKEND == "tensorflow" else ()))


def make_mixed_dtypes() -> None:
    _make_dtypes(MIXED)


def load_mixed_dtypes() -> None:
    _load_dtypes(MIXED)


def make_pure_dtypes() -> None:
    _make_dtypes(PURE)


def load_pure_dtypes() -> None:
    _load_dtypes(PURE)


def _make_dtypes(policies: tuple[str, ...]) -> None:
    save("float32", new(init_values=0.1))
    for policy in policies:
        model = fill(keras_vit.ViT(config_2d(init_values=0.1), dtype=policy))
        save(policy, model)
        model.save_weights(f"{policy}.weights.h5")


def _load_dtypes(policies: tuple[str, ...]) -> None:
    x = images(config_2d())
    exact = plain_load("float32.keras")
    for policy in policies:
        demand_reload(policy)
        model = plain_load(f"{policy}.keras")
        if model.dtype_policy.name != policy or model.head.dtype_policy.name != policy:
            raise AssertionError(f"{policy}: came back as {model.dtype_policy.name}")
        same = keras_vit.ViT(config_2d(init_values=0.1), dtype=policy)
        same.load_weights(f"{policy}.weights.h5")
        demand_same(run(same, x), stored(policy)["output"], policy)
        # The file of float32, asked for in another dtype: its values, rounded once.
        other = keras_vit.load_model("float32.keras", dtype=policy)
        demand_verified(other)
        expected = keras_vit.ViT(config_2d(init_values=0.1), dtype=policy)
        expected.set_weights([array(weight) for weight in exact.weights])
        demand_same(run(other, x), run(expected, x), f"{policy} of a float32 file")
        if other.dtype_policy.name != policy:
            raise AssertionError(f"{policy}: {other.dtype_policy.name}")
        # And back: the file of another dtype in a float32 model.
        wide = keras_vit.ViT(config_2d(init_values=0.1))
        wide.load_weights(f"{policy}.weights.h5")
        demand_verified(wide)
        for a, b in zip(wide.weights, model.weights, strict=True):
            demand_same(array(a), array(b).astype("float32"), a.path)


def make_int8() -> None:
    _make_quantized("int8")


def load_int8() -> None:
    _load_quantized("int8")


def make_int4() -> None:
    _make_quantized("int4")


def load_int4() -> None:
    _load_quantized("int4")


def _make_quantized(mode: str) -> None:
    model = new(qkv_bias="qv")
    x = images(model.config)
    before = run(model, x)
    with warnings.catch_warnings():  # Keras: its convolutions cannot be quantised
        warnings.filterwarnings("ignore", "Layer .* does not have a `quantize` method")
        model.quantize(mode)
    output = run(model, x)
    off = relative_rms(output, before)
    if not 1e-4 < off < 0.5:
        raise AssertionError(f"{mode} changes the output by {off:.3g} of its RMS")
    save(mode, model)
    model.save_weights(f"{mode}.weights.h5")


def _load_quantized(mode: str) -> None:
    x = images(config_2d())
    demand_reload(mode)
    model = plain_load(f"{mode}.keras")
    kinds = {array(block.mlp.fc1._kernel).dtype.name for block in model.blocks}
    if kinds != {"int8"}:  # two int4 in one int8
        raise AssertionError(f"kernels came back as {kinds}")
    model.save(f"{mode}_again.keras")
    for load in LOADERS:
        again = load(f"{mode}_again.keras")
        demand_same(run(again, x), stored(mode)["output"], "saved again")
        demand_verified(again)
    made = keras_vit.ViT.from_config(model.get_config())
    made.load_weights(f"{mode}.weights.h5")
    demand_same(run(made, x), stored(mode)["output"], "weights only")
    demand_verified(made)


def make_lora() -> None:
    model = new()
    before = run(model, images(model.config))
    for block in model.blocks:
        block.attn.qkv.enable_lora(4)
        block.mlp.fc1.enable_lora(2)
        for layer in (block.attn.qkv, block.mlp.fc1):
            layer.lora_kernel_a.assign(0.1 * np.ones(layer.lora_kernel_a.shape))
            layer.lora_kernel_b.assign(0.1 * np.ones(layer.lora_kernel_b.shape))
    demand_other(run(model, images(model.config)), before, "the adapter")
    save("lora", model)
    model.save_weights("lora.weights.h5")
    qkv = model.blocks[0].attn.qkv
    store("lora_kernel", kernel=array(qkv.kernel), own=array(qkv._kernel))


def load_lora() -> None:
    x = images(config_2d())
    kept = stored("lora_kernel")
    demand_other(kept["kernel"], kept["own"], "the adapter's part of the kernel")
    for load in LOADERS:
        model = load("lora.keras")
        demand_verified(model)
        demand_same(array(model.blocks[0].attn.qkv.kernel), kept["kernel"], "kernel")
        if model.blocks[0].attn.qkv.lora_enabled:
            raise AssertionError("the adapter is merged, but still there")
        # Merged, the product is one operation: the same bits only where the layer
        # computes the same with and without an adapter.
        off = relative_rms(run(model, x), stored("lora")["output"])
        if off > 4e-6:
            raise AssertionError(f"the output is off by {off:.3g} of its RMS")
    adapted = keras_vit.ViT(config_2d())
    for block in adapted.blocks:
        block.attn.qkv.enable_lora(4)
    adapted.load_weights("lora.weights.h5")
    demand_verified(adapted)
    off = relative_rms(run(adapted, x), stored("lora")["output"])
    if off > 4e-6:
        raise AssertionError(f"with a new adapter off by {off:.3g} of its RMS")


# ---- another head --------------------------------------------------------------


def make_head_swap() -> None:
    model = new(num_classes=3, drop_rate=0.1)
    model.save("head3.keras")
    model.save_weights("head3.weights.h5")
    store("head3", **{k.replace("/", "|"): v for k, v in weights_of(model).items()})


def load_head_swap() -> None:
    for path in ("head3.weights.h5", "head3.keras"):
        for classes in (7, 0):
            model = keras_vit.ViT(config_2d(num_classes=classes))
            fresh = weights_of(model)
            _load_partly(model, path, warns=classes > 0)
            demand_verified(model)
            kept = {k.replace("|", "/"): v for k, v in stored("head3").items()}
            for key, value in weights_of(model).items():
                wanted = fresh if key.startswith("head/") else kept
                demand_same(value, wanted[key], key)
            model.save("swapped.keras")
            demand_same(
                run(plain_load("swapped.keras"), images(model.config)),
                run(model, images(model.config)),
            )
    # The head of the file is wanted where it fits.
    model = keras_vit.ViT(config_2d())
    _load_partly(model, "head3.weights.h5", warns=False)
    demand_same(weights_of(model)["head/kernel"], stored("head3")["head|kernel"])


def _load_partly(model: keras_vit.ViT, path: str, warns: bool) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.load_weights(path, skip_mismatch=True)
    texts = [str(w.message) for w in caught if "could not be loaded" in str(w.message)]
    if bool(texts) != warns or any("total of 1 objects" not in text for text in texts):
        raise AssertionError(f"{path}: warnings {texts}")


# ---- serving -------------------------------------------------------------------


def make_predict() -> None:
    x = images(config_2d(), batch=5)
    outputs = {}
    for jit in (False, True):
        if jit and BACKEND == "torch":  # torch.compile needs a C++ compiler
            continue
        model = new()
        model.compile(
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=jit,
        )
        model.optimizer.build(model.trainable_variables)  # or Keras warns on loading
        for count in (3,) if jit else (1, 3, 5):
            outputs[f"jit{jit}_{count}"] = model.predict_on_batch(x[:count])
        outputs[f"jit{jit}_all"] = model.predict(x, batch_size=3, verbose=0)
        model.save(f"jit{jit}.keras")
    store("predict", **outputs)


def load_predict() -> None:
    x = images(config_2d(), batch=5)
    wanted = stored("predict")
    models = {}
    for key, value in wanted.items():
        name, _, count = key.partition("_")
        model = models.setdefault(name, plain_load(f"{name}.keras"))
        if model.jit_compile != (name == "jitTrue"):
            raise AssertionError(f"{name}: jit_compile is {model.jit_compile}")
        if count == "all":
            found = model.predict(x, batch_size=3, verbose=0)
        else:
            found = model.predict_on_batch(x[: int(count)])
        demand_same(found, value, key)
        demand_verified(model)
        off = relative_rms(found, wanted["jitFalse_5"][: len(found)])
        if off > 4e-6:
            raise AssertionError(f"{key}: off by {off:.3g} of the RMS")


def make_shared() -> None:
    """One ViT behind two outputs, saved through the outer model."""
    vit = fill(keras_vit.ViT(config_2d(num_classes=0)))
    inputs = keras.Input((24, 16, 3))
    pooled = vit(inputs)
    outer = keras.Model(inputs, [keras.layers.Dense(2)(pooled), pooled])
    fill(outer)
    store("shared", output=array(outer(images(config_2d()))[1]))
    outer.save("shared.keras")


def load_shared() -> None:
    for load in LOADERS:
        outer = load("shared.keras")
        wanted = stored("shared")["output"]
        demand_same(array(outer(images(config_2d()))[1]), wanted)
        (vit,) = vits(outer)
        demand_same(run(vit, images(config_2d())), wanted, "the ViT by itself")
        demand_verified(outer)
