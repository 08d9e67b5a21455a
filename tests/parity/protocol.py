"""What is computed with both twins, stated once. Knows no framework.

A `Job` is one call: a model, its filled weights, an input, and the names of the outputs
wanted. The torch twin runs it in the test's process (`reference.py`), the Keras twin in
a process of its own per backend (`worker.py`); both through `compute`, because the
twins have the same methods. Results are arrays in torch layout, gradients by canonical
name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from einops import rearrange

from tests.fill import FAINT, InputKind, fill, fill_weights, image, is_faint
from vit_config import ViTConfig
from vit_config.weights import Weight, axis_sizes, weight_table

Arrays = dict[str, np.ndarray]

KINDS: tuple[InputKind, ...] = ("noise", "low_variance", "large", "zeros")

EVERYTHING = (
    *("output", "features", "pre_logits", "head", "monai", "hidden", "attention"),
    *("map", "prefix", "map_norm", "prefix_norm", "tokens", "tokens_norm"),
    "tap",
)
"""All groups of outputs; `tap` is every tap, `hidden` every block, and so on."""

GRADIENTS = "grad"
"""The group of gradients: of every trainable weight and of the input."""


@dataclass(frozen=True)
class Job:
    """One call of one model.

    Attributes:
        case: Name of the model.
        config: The model.
        names: Groups of outputs, or single outputs such as `hidden.1`.
        kind: Kind of the input; `low_variance` also means a faint fill.
        batch: Number of inputs.
        seed: Seed of the inputs.
        fill: Another number, other weights.
        impl: `"fused"` or `"explicit"` attention.
        dtype: `"float32"` or `"float64"`.
        compiled: Whether the backend's compiler makes one program of the call.
        mutant: Name of a mistake to make, see `MUTANTS`.
    """

    case: str
    config: ViTConfig
    names: tuple[str, ...]
    kind: InputKind = "noise"
    batch: int = 3
    seed: int = 0
    fill: int = 0
    impl: str = "fused"
    dtype: str = "float32"
    compiled: bool = False
    mutant: str = ""

    @property
    def key(self) -> str:
        """Text that names this job and no other one."""
        parts = [self.case, self.kind, f"b{self.batch}", f"s{self.seed}", self.impl]
        parts += [f"f{self.fill}"] * bool(self.fill)
        parts += [self.dtype] * (self.dtype != "float32")
        parts += ["compiled"] * self.compiled + [self.mutant] * bool(self.mutant)
        return "/".join([*parts, "+".join(self.names)])

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON types."""
        return {**asdict(self), "config": self.config.to_dict()}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Job:
        """Reads what `to_json` wrote."""
        config = ViTConfig.from_dict(fields["config"])
        return cls(**{**fields, "config": config, "names": tuple(fields["names"])})

    def weights(self) -> Arrays:
        """Canonical weights, in the job's type."""
        faint = self.kind == "low_variance"
        weights = filled(self.config, self.fill, faint)
        if self.mutant in WEIGHT_MUTANTS:
            change = WEIGHT_MUTANTS[self.mutant]
            weights = change(self.config, {k: v.copy() for k, v in weights.items()})
        return {name: values.astype(self.dtype) for name, values in weights.items()}

    def inputs(self) -> np.ndarray:
        """The input in torch layout."""
        shape = (self.batch, self.config.in_chans, *self.config.img_size)
        return image(shape, self.seed, self.kind).astype(self.dtype)

    def cotangent(self, shape: tuple[int, ...]) -> np.ndarray:
        """What the output is multiplied with before it is summed, for gradients."""
        return image(tuple(shape), self.seed + 1000).astype(self.dtype)


@lru_cache(maxsize=4)
def filled(config: ViTConfig, number: int, faint: bool) -> Arrays:
    """Weights number 0, 1, ... of a config; 0 is the fill of the goldens."""
    if number == 0:
        return fill_weights(config, faint=faint)
    weights = {}
    for weight in weight_table(config):
        values = fill(f"fill {number}.{weight.name}", weight.shape)
        scale = FAINT if faint and is_faint(weight.name) else 1.0
        weights[weight.name] = values * np.float32(scale)
        if config.qkv_bias == "qv" and weight.name.endswith(".attn.qkv.bias"):
            weights[weight.name][config.attn_dim : 2 * config.attn_dim] = 0.0
    return weights


# ---- outputs ------------------------------------------------------------------


def groups(config: ViTConfig, names: Iterable[str] = EVERYTHING) -> tuple[str, ...]:
    """The groups that a model has: without a pooled vector there is no head."""
    headless = config.global_pool == "none"
    skipped = {"pre_logits", "head"} if headless else set()
    return tuple(name for name in names if name not in skipped)


def compute(model: Any, x: Any, names: Iterable[str]) -> dict[str, Any]:
    """Calls either twin for outputs, by group or by single name.

    Args:
        model: A twin.
        x: An input of its framework, in its layout.
        names: What is wanted.

    Returns:
        Its framework's tensors, in its layout, by name.
    """
    names = tuple(names)
    found: dict[str, Any] = {}
    for group in dict.fromkeys(name.partition(".")[0] for name in names):
        if group not in found:
            found |= _call(model, x, group)
    wanted = {
        name: value
        for name, value in found.items()
        if name in names or name.partition(".")[0] in names
    }
    missing = [name for name in names if "." in name and name not in wanted]
    if missing:
        raise ValueError(f"no outputs {missing} among {sorted(found)}")
    return wanted


def _call(model: Any, x: Any, group: str) -> dict[str, Any]:
    match group:
        case "output":
            return {"output": model(x)}
        case "features":
            return {"features": model.forward_features(x)}
        case "pre_logits":
            features = model.forward_features(x)
            return {"pre_logits": model.forward_head(features, pre_logits=True)}
        case "head":
            return {"head": model.forward_head(model.forward_features(x))}
        case "monai" | "hidden":
            output, hidden = model.monai_forward(x)
            return {"monai": output, **_numbered("hidden", hidden)}
        case "attention":
            return _numbered("attention", model.attention_maps(x))
        case "map" | "prefix" | "map_norm" | "prefix_norm":
            norm = group.endswith("_norm")
            pairs = model.forward_intermediates(x, norm=norm, return_prefix_tokens=True)
            suffix = "_norm" if norm else ""
            return {
                **_numbered(f"map{suffix}", [patches for patches, _ in pairs]),
                **_numbered(f"prefix{suffix}", [prefix for _, prefix in pairs]),
            }
        case "tokens" | "tokens_norm":
            norm = group.endswith("_norm")
            tokens = model.forward_intermediates(x, reshape=False, norm=norm)
            return _numbered(group, tokens)
        case "tap":
            output, taps = model.forward_taps(x)
            named = {f"tap.{name}": value for name, value in taps.items()}
            return {"tap": output, **named}
    raise ValueError(f"no group of outputs {group!r}")


def _numbered(name: str, values: Iterable[Any]) -> dict[str, Any]:
    return {f"{name}.{i}": value for i, value in enumerate(values)}


def is_map(name: str) -> bool:
    """Whether an output has a spatial layout, which the twins have in other orders."""
    return name.partition(".")[0] in ("map", "map_norm")


# ---- layouts ------------------------------------------------------------------


def to_keras(config: ViTConfig, weight: Weight, values: np.ndarray) -> np.ndarray:
    """Canonical layout -> the Keras twin's."""
    return rearrange(values, weight.rule.layout, **_axes(config, weight))


def to_torch(config: ViTConfig, weight: Weight, values: np.ndarray) -> np.ndarray:
    """The Keras twin's layout -> canonical: the same pattern, its sides swapped."""
    left, right = weight.rule.layout.split("->")
    return rearrange(values, f"{right} -> {left}", **_axes(config, weight))


def _axes(config: ViTConfig, weight: Weight) -> dict[str, int]:
    sizes = axis_sizes(config)
    symbols = weight.rule.torch_axes.replace("(", " ").replace(")", " ").split()
    return {s: int(sizes[s]) for s in symbols if s not in ("1", "...")}  # type: ignore[arg-type]


# ---- mistakes -----------------------------------------------------------------


def _transpose_square(config: ViTConfig, weights: Arrays) -> Arrays:
    name = "blocks.0.attn.proj.weight"
    weights[name] = weights[name].T.copy()
    return weights


def _swap_q_k(config: ViTConfig, weights: Arrays) -> Arrays:
    for part in ("weight", "bias"):
        name = f"blocks.0.attn.qkv.{part}"
        q, k, v = np.split(weights[name], 3)
        weights[name] = np.concatenate([k, q, v])
    return weights


def _transpose_positions(config: ViTConfig, weights: Arrays) -> Arrays:
    table = weights["pos_embed"]
    first = table.shape[1] - config.num_patches
    grid = table[0, first:].reshape(*config.grid_size, -1)
    grid = np.swapaxes(grid, 0, 1).reshape(config.num_patches, -1)
    weights["pos_embed"] = np.concatenate([table[0, :first], grid])[None]
    return weights


def _transpose_patch(config: ViTConfig, weights: Arrays) -> Arrays:
    kernel = weights["patch_embed.proj.weight"]
    turned = np.swapaxes(kernel, 2, 3)
    weights["patch_embed.proj.weight"] = turned.reshape(kernel.shape).copy()
    return weights


def _drop_key_bias(config: ViTConfig, weights: Arrays) -> Arrays:
    for i in range(config.depth):
        width = config.attn_dim
        weights[f"blocks.{i}.attn.qkv.bias"][width : 2 * width] = 0.0
    return weights


WEIGHT_MUTANTS: dict[str, Callable[[ViTConfig, Arrays], Arrays]] = {
    "transposed_square_weight": _transpose_square,
    "swapped_q_k": _swap_q_k,
    "transposed_positions": _transpose_positions,
    "transposed_patch_kernel": _transpose_patch,
    "dropped_key_bias": _drop_key_bias,
}
"""Mistakes in the weights, as a converter could make them."""

CODE_MUTANTS = ("tanh_gelu", "eps_1e-5", "eps_1e-12", "keras_default_eps")
"""Mistakes in the Keras twin's code, made by the worker."""


# ---- jobs in a file -----------------------------------------------------------


def dump_jobs(jobs: Iterable[Job]) -> str:
    """Jobs as JSON text."""
    return json.dumps([job.to_json() for job in jobs])


def load_jobs(text: str) -> list[Job]:
    """Reads what `dump_jobs` wrote."""
    return [Job.from_json(fields) for fields in json.loads(text)]
