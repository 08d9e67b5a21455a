"""Live twins: whether an object still is what its weights and its config say.

`torch_vit.ViT` and `keras_vit.ViT` are saved, compared and made again by weights and
config alone. An object that has more to it, as somebody changed an attribute, put in a
hook or replaced a layer, is refused here, with every place.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from converters.errors import ConversionError, Issue
from converters.extras import optional, twin
from converters.twins.patches import global_hooks
from converters.twins.structure import Comparison, Framework
from vit_config import ViTConfig

TORCH_VIT, TORCH_PIPELINE = "torch_vit.vit.ViT", "torch_vit.pipeline.Pipeline"
KERAS_VIT, KERAS_PIPELINE = "keras_vit.vit.ViT", "keras_vit.pipeline.Pipeline"
_FRAMEWORKS = {
    TORCH_VIT: "torch",
    TORCH_PIPELINE: "torch",
    KERAS_VIT: "keras",
    KERAS_PIPELINE: "keras",
}

_ATTENTION = ("fused", "explicit")
_NOT_COMPUTED = ("problem_type", "weight_init", "schema_version")

_HINT = (
    "Weights and config do not describe this object, and they are all that is saved "
    "and compared. Undo the change; or make a model of the config that is meant, and "
)
_LOAD = {
    "torch": "load_state_dict(model.state_dict()).",
    "keras": "set_weights(model.get_weights()).",
}
_WAYS = {
    # words in what was found: what takes it away
    " hook, ": "A hook goes with handle.remove(), or with all of its module's: "
    "module._forward_hooks.clear().",
    "Parametrized": "torch.nn.utils.parametrize.remove_parametrizations makes a "
    "parametrised weight a plain one.",
    "peft.": "merge_and_unload() of peft gives the plain model back.",
    "accelerate.": "accelerator.unwrap_model(model, keep_fp32_wrapper=False) gives the "
    "model that it wrapped.",
    "set on the object": "del removes what was set on an object.",
    "nothing of that name": "del removes what was added.",
    "Quantized": "A quantised model is saved by model.save().",
    "lora_": "save_pretrained merges LoRA into what it writes: compare that.",
}


def framework_of(source: Any) -> str:
    """`"torch"` or `"keras"` for a live twin, alone or in a pipeline; else empty."""
    for base in type(source).__mro__:
        name = f"{base.__module__}.{base.__qualname__}"
        if name in _FRAMEWORKS:
            return _FRAMEWORKS[name]
    return ""


def is_twin(source: Any) -> bool:
    """Whether something is a live model of one of the two twins."""
    return bool(framework_of(source))


def is_pipeline(source: Any) -> bool:
    """Whether a live twin has its preprocessing with it."""
    names = {f"{base.__module__}.{base.__qualname__}" for base in type(source).__mro__}
    return bool(names & {TORCH_PIPELINE, KERAS_PIPELINE})


def check_twin(
    model: Any, *, name: str = "", gradients: bool = False, saving: bool = False
) -> None:
    """Checks that a live twin is what its weights and config say, part by part.

    Nothing is computed: the object is held against a fresh twin of its config.

    Args:
        model: A `ViT` or `Pipeline` of either package.
        name: What to call it.
        gradients: Whether gradients count, too: hooks on the way back, and layers or
            weights that stand in two places.
        saving: Whether it is about to be saved, which merges LoRA.

    Raises:
        ConversionError: If it is not, with every difference.
        ConfigError: If its config describes no model.
    """
    kind = framework_of(model)
    issues = _issues(model, kind, gradients, saving)
    if issues:
        found = " ".join(f"{issue.found} {issue.expected}" for issue in issues)
        ways = dict.fromkeys(way for words, way in _WAYS.items() if words in found)
        raise ConversionError(
            issues,
            file=name or type(model).__name__,
            dialect=f"live, {kind}_vit",
            hint=" ".join([*ways, _HINT + _LOAD[kind]]),
        )


def _issues(model: Any, kind: str, gradients: bool, saving: bool) -> list[Issue]:
    vit = getattr(model, "vit", None) if is_pipeline(model) else model
    config = getattr(vit, "config", None)
    if not isinstance(config, ViTConfig):
        return [Issue("config", "config", type(config).__name__, "a ViTConfig")]
    if kind == "torch":
        fresh, framework = _torch(model), _torch_parts()
        parts = Comparison(model, fresh, framework, gradients=gradients)
        return [*parts.issues, *([] if saving else global_hooks())]
    with _random_kept(), optional("keras", "keras").device("cpu"):
        fresh = _keras(model)
    found = Comparison(model, fresh, _keras_parts(saving), gradients=gradients)
    return found.issues or list(_left_over(model, found, saving))


def copy_of(model: Any) -> Any:
    """A fresh model with the weights, config and settings of a live twin.

    It lies beside the object, in its type and on its device, and shares no memory.
    """
    if framework_of(model) == "torch":
        copy = _torch(model)
        state = {name: x.detach().clone() for name, x in model.state_dict().items()}
        copy.load_state_dict(state, strict=True, assign=True)
        pairs = zip(copy.parameters(), model.parameters(), strict=True)
        for weight, original in pairs:  # torch's products sum in another order without
            weight.requires_grad_(original.requires_grad)
        return copy.eval()
    with _random_kept():
        copy = _keras(model)
    for weight, original in zip(copy.weights, model.weights, strict=True):
        weight.assign(original)
        weight.trainable = original.trainable
    return copy


# ---- torch --------------------------------------------------------------------------


def _torch(model: Any) -> Any:
    """A fresh one without memory, of the type that most weights have."""
    module = twin("torch_vit")
    vit = model.vit if is_pipeline(model) else model
    types = Counter(weight.dtype for weight in vit.parameters())
    dtype = types.most_common(1)[0][0] if types else None
    fresh = module.ViT(vit.config, device="meta", dtype=dtype)
    fresh.grad_checkpointing = bool(vit.grad_checkpointing)
    _set_attention(vit, fresh)
    if is_pipeline(model):
        return module.Pipeline(fresh, white=model.preprocess.white)
    return fresh


def _torch_parts() -> Framework:
    torch = optional("torch", "torch")
    module = torch.nn.Module
    own = set(vars(module())) - {"_modules", "_parameters", "_buffers"}
    return Framework(
        layer=module,
        tensors=(torch.Tensor,),
        ignored=lambda name, fresh: name in own,
        packages=("torch_vit",),
        differ={"config": _other_fields},
    )


# ---- Keras --------------------------------------------------------------------------


def _keras(model: Any) -> Any:
    """A fresh one whose weights are anything at all."""
    module: Any = twin("keras_vit")
    vit = model.vit if is_pipeline(model) else model
    with import_module("keras_vit.init").no_init():
        fresh = module.ViT(vit.config, dtype=vit.dtype_policy)
    _set_attention(vit, fresh)
    if is_pipeline(model):
        return module.Pipeline(fresh, white=model.preprocess.white)
    return fresh


def _keras_parts(saving: bool) -> Framework:
    keras = optional("keras", "keras")
    layer, variable = keras.layers.Layer, keras.Variable
    # What a model has and a layer has not is its trainer's.
    trainer = set(vars(keras.Model())) - set(vars(layer()))
    state = {*trainer, "name", "training", "_guard"}

    def ignored(name: str, fresh: Any) -> bool:
        if name in state or (saving and name.startswith("lora_")):
            return True
        private = name.startswith("_") and name != "_dtype_policy"
        return private and not isinstance(fresh, layer | variable)

    return Framework(
        layer=layer,
        tensors=(variable,),
        ignored=ignored,
        packages=("keras_vit",),
        differ={"config": _other_fields},
    )


def _left_over(model: Any, found: Comparison, saving: bool) -> Iterator[Issue]:
    """Keras saves what it tracks; that has to be what the model calls."""
    tracked = import_module("keras_vit.guard").all_layers(model)
    for layer in tracked:
        if id(layer) not in found.layers:
            text = "tracked and saved, but not called"
            yield Issue("config", layer.path or layer.name, text, "no such layer")
    known = {id(layer) for layer in tracked}
    for key, path in found.layers.items():
        if key not in known:
            text = "called, but not tracked or saved"
            yield Issue("config", path, text, "a layer that Keras tracks")
    weights = {id(weight): weight for weight in model.weights}
    for key, weight in weights.items():
        if key not in found.weights and not (saving and "lora_" in weight.name):
            text = "saved, but not used"
            yield Issue("config", weight.path, text, "no such weight")
    for key, path in found.weights.items():
        if key not in weights:
            yield Issue("config", path, "used, but not saved", "a weight of the model")


@contextmanager
def _random_kept() -> Iterator[None]:
    """Keras draws the seeds of dropout layers from Python's own generator."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


# ---- both ---------------------------------------------------------------------------


def _set_attention(vit: Any, fresh: Any) -> None:
    """How attention is computed is free to change at run time, in every block."""
    for block, other in zip(vit.blocks, fresh.blocks, strict=False):
        kernel = getattr(getattr(block, "attn", None), "attn_impl", None)
        if kernel in _ATTENTION:
            other.attn.attn_impl = kernel


def _other_fields(live: ViTConfig, fresh: ViTConfig) -> str:
    """What a layer computes by; labels or rates the model's config may get later."""
    one, other = live.architecture(), fresh.architecture()
    names = [
        name
        for name in one
        if one[name] != other[name]
        and name not in _NOT_COMPUTED
        and not name.endswith("_rate")
    ]
    return f"another {', '.join(names)}" if names else ""
