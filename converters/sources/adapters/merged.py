"""A model with a LoRA adapter merged into it, as a file of the model's own names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from converters.errors import ConversionError, Issue
from converters.files.contents import together
from converters.mapping.pipe import Array, TensorInfo
from converters.mapping.table import CANONICAL, Plan
from converters.sources.adapters.lora_config import MERGE_IT, LoraConfig
from converters.sources.adapters.lora_state import PREFIX, LoraState, Update
from vit_config import ViTConfig


class Tensors(Protocol):
    """An open file of named tensors."""

    path: Path
    format: str

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Every tensor of the file."""

    def read(self, name: str) -> Array:
        """The values of one tensor."""

    def close(self) -> None:
        """Lets the file go."""


class MergedFile:
    """Serves the base's tensors, those with an update merged as peft merges them.

    For a layer with weight W, `lora_A` A and `lora_B` B that is `W + scaling * B @ A`;
    with DoRA every row of the sum gets the trained length instead of its own. The sum
    is computed in float64 and rounded once, to W's type. Tensors that were trained as a
    whole replace the base's.

    Args:
        base: The file of the model that the adapter was trained on.
        adapter: The file of the adapter; the same one where it holds both.
        state: What the adapter's names are.
        config: How it was trained.
        names: Names in `base` by the names that the adapter means.
        dropped: Tensors of the base that the adapted model has not, with the reason.

    Raises:
        ConversionError: If an update does not fit the base or the config.
    """

    def __init__(
        self,
        base: Tensors,
        adapter: Tensors,
        state: LoraState,
        config: LoraConfig,
        names: Mapping[str, str],
        dropped: Mapping[str, str],
    ) -> None:
        self.path, self.format = adapter.path, base.format
        self._base, self._adapter = base, adapter
        self._state, self._lora, self._names = state, config, names
        self.dropped = dict(dropped)
        issues = [*self._misfits(), *self._strangers()]
        if issues:
            raise ConversionError(issues, file=adapter.path, hint=MERGE_IT)
        infos = {name: base.tensors[place] for name, place in names.items()}
        infos |= {n: adapter.tensors[place] for n, place in state.whole.items()}
        self.tensors: Mapping[str, TensorInfo] = infos
        self.steps = tuple(_steps(state, config))
        self.others = together((base, adapter))
        self.own_config = self._own_config()
        self.own_dialect: str = getattr(base, "own_dialect", "")
        self._given: ViTConfig | None = None

    # ---- what may not be ----------------------------------------------------------

    def _misfits(self) -> Iterator[Issue]:
        """Updates without a layer of that name, or of another shape."""
        for module, update in self._state.updates.items():
            weight = f"{module}.weight"
            if weight not in self._names or weight in self._state.whole:
                text = "an update of a layer that the base does not have"
                yield Issue("missing", weight, text)
                continue
            shape = self._base.tensors[self._names[weight]].shape
            down = self._adapter.tensors[update.down].shape
            up = self._adapter.tensors[update.up].shape
            rank = self._lora.rank_of(_inner(module))
            if not _fits(shape, down, up):
                found = f"lora_A {down}, lora_B {up}"
                yield Issue("shape", weight, found, f"an update of {shape}")
            elif down[0] != rank:
                where = f"rank {rank}, as {self._lora.path.name} says"
                yield Issue("shape", weight, f"an update of rank {down[0]}", where)
            if not self._lora.is_target(_inner(module)):
                text = f"{list(self._lora.targets)}, and {_inner(module)} has an update"
                yield Issue("config", "target_modules", text)
            if bool(update.magnitude) != self._lora.dora:
                there = "a" if update.magnitude else "no"
                text = f"{self._lora.dora}, and {there} lora_magnitude_vector is there"
                yield Issue("config", "use_dora", text)
            if update.bias and f"{module}.bias" not in self._names:
                yield Issue("missing", f"{module}.bias", "lora_B has one")

    def _strangers(self) -> Iterator[Issue]:
        """Tensors of an adapter alone that its config does not say were trained."""
        if self._state.base:
            return
        for name in self._state.whole:
            module, _, leaf = name.rpartition(".")
            saved = any(f".{module}.".find(f".{own}.") >= 0 for own in self._lora.saved)
            trained = saved or (leaf == "bias" and self._lora.bias != "none")
            if not trained:
                text = f"in neither modules_to_save nor bias of {self._lora.path.name}"
                yield Issue("unexpected", name, text)

    def _own_config(self) -> ViTConfig | None:
        """The base's own config, with the classes of a head that was trained."""
        own: ViTConfig | None = getattr(self._base, "own_config", None)
        head = self.tensors.get("head.weight")
        if own is None or head is None or head.shape[0] == own.num_classes:
            return own
        return own.replace(num_classes=head.shape[0], labels=None)

    # ---- values ---------------------------------------------------------------------

    def read(self, name: str) -> Array:
        """The values of one tensor, merged."""
        if name in self._state.whole:
            return self._adapter.read(self._state.whole[name])
        values = self._base.read(self._names[name])
        module, _, leaf = name.rpartition(".")
        update = self._state.updates.get(module)
        if update is None or not (leaf == "weight" or (leaf == "bias" and update.bias)):
            return values
        kind = values.dtype
        scaling = self._lora.scaling(_inner(module))
        if leaf == "bias":
            return (values + scaling * self._wide(update.bias)).astype(kind)
        merged = values.astype(np.float64) + scaling * self._product(update, values)
        if update.magnitude:
            rows = merged.reshape(len(merged), -1)
            factor = self._wide(update.magnitude).reshape(-1)
            factor /= np.linalg.norm(rows, axis=1)
            merged *= factor.reshape(-1, *(1,) * (merged.ndim - 1))
        return merged.astype(kind)

    def _product(self, update: Update, values: Array) -> Array:
        """`lora_B @ lora_A`, of a convolution over all its taps."""
        down, up = self._wide(update.down), self._wide(update.up)
        product = up.reshape(len(up), -1) @ down.reshape(len(down), -1)
        found: Array = product.reshape(values.shape)
        return found

    def _wide(self, name: str) -> Array:
        return self._adapter.read(name).astype(np.float64)

    # ---- a file of our own ----------------------------------------------------------

    def as_own(self, config: ViTConfig | None) -> Self:
        """This file as a reader of canonical names.

        Args:
            config: The config, where the base's header has none.
        """
        self._given = config
        return self

    dialect = "canonical"

    @property
    def config(self) -> ViTConfig:
        """Config of the model, from the base or from the caller."""
        from converters.checks.source import with_steps
        from converters.files.base import merge_configs

        return with_steps(
            merge_configs(self.path, self.own_config, self._given), self.steps
        )

    def plan(self) -> Plan:
        """From canonical names to canonical names."""
        return CANONICAL.plan(self.config)

    def close(self) -> None:
        """Lets both files go."""
        self._adapter.close()
        self._base.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _inner(module: str) -> str:
    """The name that the wrapped model has for a module."""
    return module.rpartition(PREFIX)[2]


def _fits(shape: tuple[int, ...], down: tuple[int, ...], up: tuple[int, ...]) -> bool:
    """Whether the two factors are those of a layer of this shape.

    A convolution's `lora_A` has its taps, its `lora_B` one tap.
    """
    return (
        len(shape) >= 2
        and len(down) == len(shape) == len(up)
        and down[1:] == shape[1:]
        and up == (shape[0], down[0], *(1,) * (len(shape) - 2))
    )


def _steps(state: LoraState, config: LoraConfig) -> Iterator[str]:
    """What was done, one text for every rank and scale."""
    groups: dict[str, list[str]] = {}
    for module, update in state.updates.items():
        inner = _inner(module)
        how = f"merge_lora:r={config.rank_of(inner)}:alpha={config.alpha_of(inner):g}"
        how += ":rslora" if config.root else ""
        how += ":dora" if update.magnitude else ""
        groups.setdefault(how, []).append(inner)
    for how, modules in sorted(groups.items()):
        yield f"{how}:{_listed(modules)}"
    if state.whole:
        yield f"take_trained:{_listed([_inner(name) for name in state.whole])}"


def _listed(names: list[str]) -> str:
    """`blocks.0.attn.qkv`, `blocks.1.attn.qkv` -> `blocks.*.attn.qkv (2)`."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r"\.\d+\.", ".*.", name), []).append(name)
    return ", ".join(
        f"{pattern} ({len(same)})" if len(same) > 1 else same[0]
        for pattern, same in sorted(groups.items())
    )
