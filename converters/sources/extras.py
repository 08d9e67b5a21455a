"""Tensors of a file that no model of its dialect has, and what can be done about them.

Losses, metrics and counters are left out by their names: they never take part in what
a model computes. Of everything else the caller decides; the advice here says how, with
the options that do it. It never proposes to leave out what may be a part of the model:
what stands in one of its modules, or a parameter beside them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from converters.errors import printable
from converters.libraries.dropping import patterns_for
from converters.libraries.heads import POOLS, Linear, linear_layers
from converters.libraries.variant import Shapes
from converters.wording import Blank, options
from vit_config import ViTConfig

_COUNTERS = {
    "n_averaged": "counter of torch's AveragedModel",
    "total_ops": "counter of the profiler thop",
    "total_params": "counter of the profiler thop",
}
_LOSS = "of a loss, by its name"
_METRIC = "of a metric, by its name"
_LOSSES = frozenset({"loss", "losses", "criterion", "criteria", "criterions"})
_METRICS = frozenset(
    {
        *("metric", "metrics", "acc", "accuracy", "auc", "auroc", "f1", "f1score"),
        *("precision", "recall", "specificity", "sensitivity", "confmat", "confusion"),
        *("iou", "jaccard", "kappa", "dice"),
    }
)
_OF_MODEL = frozenset(
    # words in names of what works on the tokens, wherever it stands
    {
        *(
            "embed",
            "embedding",
            "embeddings",
            "pos",
            "position",
            "rope",
            "rel",
            "rotary",
        ),
        *("relative", "token", "tokens", "prompt", "prompts", "adapter", "adapters"),
        *("patch", "stem", "norm", "lora", "attn", "attention", "gamma", "scale"),
        *("block", "blocks", "layer", "layers", "bias", "input"),
    }
)
_BESIDE = frozenset({"decoder", "head", "heads", "projector", "predictor", "proj"})
"""Words of what comes after the tokens, which count more than those of the model."""


def training_only(name: str) -> str:
    """Why a tensor is of the training alone, or an empty text."""
    *modules, leaf = name.split(".")
    if leaf in _COUNTERS:
        return _COUNTERS[leaf]
    words = {word for module in modules for word in _words(module)}
    if words & _LOSSES:
        return _LOSS
    return _METRIC if words & _METRICS else ""


def _words(module: str) -> list[str]:
    """`"train_Acc"`, `"DiceLoss"` -> words in small letters."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", module)
    return [word for word in split.lower().split("_") if word]


@dataclass(frozen=True)
class Extras:
    """Tensors that the model does not have.

    Attributes:
        names: Their names.
        own: Names of the model's tensors.
        shapes: Shape of every tensor of the file.
        prefix: What stands before the model's names.
        width: Of its tokens.
        pooled: Whether it is known what a head reads.
        headless: Whether the model has no head so far.
    """

    names: tuple[str, ...]
    own: frozenset[str]
    shapes: Shapes
    prefix: str
    width: int
    pooled: bool
    headless: bool

    @classmethod
    def of(
        cls,
        names: Iterable[str],
        own: Iterable[str],
        shapes: Shapes,
        prefix: str,
        config: ViTConfig,
        pooled: bool | None = None,
    ) -> Extras:
        """Those of a model with a config; see the attributes."""
        return cls(
            names=tuple(names),
            own=frozenset(own),
            shapes=shapes,
            prefix=prefix,
            width=config.embed_dim,
            pooled=config.global_pool != "none" if pooled is None else pooled,
            headless=not config.num_classes,
        )

    def advice(self, changes: Mapping[str, Any] | None = None) -> str:
        """What can be done, each way with all options that it takes.

        Args:
            changes: Fields of the config to change where they are left out.
        """
        if doubtful := [name for name in self.names if self._of_model(name)]:
            named = ", ".join(patterns_for(doubtful, [*self.own])[:4])
            return (
                f"{printable(named)}: may take part in what the model computes, for "
                f"which the schema has no place. {options(drop=Blank('GLOB'))} leaves "
                "out what certainly does not."
            )
        lines = []
        for layer in self._heads():
            lines.append(f"To take {layer} for the head: {self._taking(layer)}")
        leaving = self._leaving(self.names) | ({"changes": changes} if changes else {})
        lines.append(f"To leave them out: {options(**leaving)}")
        return "\n".join(lines)

    def _of_model(self, name: str) -> bool:
        """Whether a tensor may take part in what the tokens go through."""
        if not name.startswith(self.prefix):
            return False  # beside the encoder, which is a module of its own
        first, dot, _ = name.removeprefix(self.prefix).partition(".")
        if not dot:
            return True
        start = self.prefix + first + dot
        if any(other.startswith(start) for other in self.own):
            return True
        words = set(_words(first))
        return bool(words & _OF_MODEL) and not words & _BESIDE

    def _heads(self) -> list[Linear]:
        """Linear layers that may be the head, by their width."""
        if not self.headless:
            return []
        mine = {name: self.shapes[name] for name in self.names}
        layers = linear_layers(mine).values()
        return [one for one in layers if self._fits(one) and self._alone(one, mine)]

    def _fits(self, layer: Linear) -> bool:
        return any(layer.inputs == times * self.width for times in POOLS)

    @staticmethod
    def _alone(layer: Linear, mine: Mapping[str, object]) -> bool:
        """Whether no other tensor is in the module that the layer is in."""
        parent, dot, _ = layer.name.removesuffix(".").rpartition(".")
        beside = [n for n in mine if dot and n.startswith(f"{parent}.")]
        grown = set(beside) - set(layer.tensors)
        return not grown or not layer.name.rpartition(".")[2].isdecimal()

    def _taking(self, layer: Linear) -> str:
        rest = [name for name in self.names if name not in layer.tensors]
        given: dict[str, Any] = {"head": layer.name}
        if not self.pooled:
            fits = POOLS[layer.inputs // self.width]
            given["changes"] = {"global_pool": Blank(" or ".join(fits))}
        return options(**given, **(self._leaving(rest) if rest else {}))

    def _leaving(self, names: Iterable[str]) -> dict[str, Any]:
        """The arguments that leave tensors out."""
        names = list(names)
        if self.prefix and not any(name.startswith(self.prefix) for name in names):
            return {"prefix": self.prefix}
        patterns = patterns_for(names, set(self.shapes) - set(names))
        return {"drop": patterns if len(patterns) > 1 else patterns[0]}
