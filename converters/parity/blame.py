"""Which weight or config field most likely explains where a difference begins.

A step that is wrong when fed with the right input is wrong by itself. If one of its
weights in memory is not the file's, that is the cause; if all are, only what the config
says of that step is left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

from converters.engine import Array
from converters.parity.parts import Part, parts
from converters.parity.record import Divergence
from vit_config import ViTConfig
from vit_config.weights import weight_table

DROPOUT = {
    "pos_embed": ("pos_drop_rate",),
    "attn.heads": ("attn_drop_rate",),
    "attn.proj": ("proj_drop_rate",),
    "residual1": ("proj_drop_rate", "drop_path_rate"),
    "mlp.act": ("proj_drop_rate",),
    "residual2": ("proj_drop_rate", "drop_path_rate"),
    "head": ("drop_rate",),
}
"""Fields that change a step in training only, by its last words."""

EPSILONS = (1e-3, 1e-5, 1e-6, 1e-12, 1e-7, 1e-8)
_ERF = np.vectorize(math.erf, otypes=[np.float64])


def part_of(tap: str, config: ViTConfig) -> Part:
    """The step that gives a tap."""
    return next(part for part in parts(config) if part.name == tap)


def step_of(tap: str) -> str:
    """The last words of a tap: `"mlp.act"` of `"blocks.3.mlp.act"`."""
    return tap.split(".", 2)[2] if tap.startswith("blocks.") else tap


def weights_of(part: Part, config: ViTConfig) -> tuple[str, ...]:
    """Canonical names of the weights that one step uses."""
    return tuple(w.name for w in weight_table(config) if part.uses(w.name))


def blame(
    *,
    subject: str,
    tap: str,
    forced: bool,
    index: tuple[int, ...],
    config: ViTConfig,
    wrong: Iterable[str],
    hypothesis: str = "",
) -> Divergence:
    """What most likely explains the first step that is wrong.

    Args:
        subject: Which model.
        tap: Name of that step's result.
        forced: Whether the step was fed with the right input.
        index: Place of its largest error.
        config: The reference's.
        wrong: Weights in memory that are not those of the reference.
        hypothesis: What the result was found to be instead.
    """
    wrong = set(wrong)
    part = part_of(tap, config)
    own = weights_of(part, config)
    guilty = tuple(name for name in own if name in wrong)
    if guilty:
        return Divergence(
            subject=subject,
            tap=tap,
            index=index,
            tensors=guilty,
            explanation=f"Not the reference's in memory: {_listed(guilty)}",
        )
    fields = (*part.fields, *DROPOUT.get(step_of(tap), ()))
    if hypothesis:
        fields = (hypothesis.partition(" ")[0],)
        return Divergence(
            subject=subject,
            tap=tap,
            index=index,
            fields=fields,
            explanation=f"It is what {hypothesis} would give",
        )
    how = "even if fed with the right input" if forced else "fed with what came before"
    return Divergence(
        subject=subject,
        tap=tap,
        index=index,
        tensors=() if wrong else own,
        fields=fields,
        explanation=f"Wrong {how}; it depends on {_listed(fields + own)}",
    )


def explained(
    tap: str,
    config: ViTConfig,
    given: Array,
    source: Array,
    weights: Callable[[str], Array],
) -> str:
    """Another value of a config field that gives what a wrong step gave.

    Norms are computed with other epsilons, the MLP's activation with the other ones,
    in float64 by their definitions (Ba et al., 2016; Hendrycks and Gimpel, 2016).

    Args:
        tap: Name of the step's result.
        config: The reference's.
        given: The wrong result.
        source: The input that the step was fed with.
        weights: Values of a canonical tensor.

    Returns:
        `"norm_eps = 0.001"`, or an empty text if nothing tried explains it.
    """
    step = step_of(tap)
    wanted = given.astype(np.float64)
    x = source.astype(np.float64)
    if step in ("norm1", "norm2", "norm", "norm_pre", "fc_norm"):
        gain, bias = (
            weights(f"{tap}.{kind}").astype(np.float64) for kind in ("weight", "bias")
        )
        centred = x - x.mean(-1, keepdims=True)
        variance = np.mean(centred**2, -1, keepdims=True)
        field = "fc_norm_eps" if step == "fc_norm" else "norm_eps"
        tried = {
            f"{field} = {eps:g}": centred / np.sqrt(variance + eps) * gain + bias
            for eps in EPSILONS
        }
        known = config.head_norm_eps if step == "fc_norm" else config.norm_eps
        now = f"{field} = {known:g}"
    elif step == "mlp.act" and config.mlp_layer == "mlp":
        tried = {f"act_layer = {name!r}": f(x) for name, f in ACTIVATIONS.items()}
        now = f"act_layer = {config.act_layer!r}"
    else:
        return ""
    errors = {
        name: float(np.sqrt(np.mean((values - wanted) ** 2)))
        for name, values in tried.items()
    }
    best = min(errors, key=lambda name: errors[name])
    scale = float(np.sqrt(np.mean(wanted**2)))
    if best == now or not errors[best] <= 1e-5 * scale:
        return ""
    if now in errors and not errors[best] < 0.25 * errors[now]:
        return ""
    return best


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": lambda x: 0.5 * x * (1 + _ERF(x / math.sqrt(2))),
    "gelu_tanh": lambda x: (
        0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ),
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
}


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    return ", ".join(found[:4]) + more
