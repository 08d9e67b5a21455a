"""What the real libraries call their tensors, and what every table is held to.

`keys/*.json` are made by `tools/make_state_dict_keys.py` with the libraries themselves:
names, shapes and hashes of the values that a model has when it is filled from
`tests.fill` through maps that no table has anything to do with.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.libraries.variant import Dialect, Variant
from converters.mapping.pipe import MemorySource, Pipe
from converters.mapping.table import Plan
from tests.fill import fill_weights
from vit_config import ViTConfig
from vit_config.weights import weight_table

KEYS = Path(__file__).parent / "keys"
Arrays = dict[str, np.ndarray]

# Whose names are others', too: what is found where nothing is told.
SAME_NAMES = {
    "lucidrains@vit_3d": {"lucidrains@vit_3d", "lucidrains@vit_3d-1.5"},
    "lucidrains@simple_vit_3d": {"lucidrains@simple_vit"},
}


@dataclass(frozen=True)
class Listing:
    """One model in one generation of names.

    Attributes:
        family: Name of the JSON file.
        model: Key in it.
        generation: `"memory"`, `"saved"`, ...
    """

    family: str
    model: str
    generation: str

    @property
    def entry(self) -> dict[str, Any]:
        found: dict[str, Any] = load(self.family)["models"][self.model]
        return found

    @property
    def tensors(self) -> dict[str, tuple[tuple[int, ...], str | None]]:
        """Shape and hash by name; no hash for what no output depends on."""
        listed = self.entry["generations"][self.generation]
        return {
            name: (tuple(shape), digest) for name, (shape, digest) in listed.items()
        }

    @property
    def config(self) -> ViTConfig:
        """Read from the library's own config, where there is a reader."""
        said = self.entry["config"]
        if not said["dialect"]:
            return ViTConfig(**said["given"])
        config = ViTConfig.from_dialect(said["dialect"], said["given"])
        return config.replace(**said["set"]) if said["set"] else config


@functools.cache
def load(family: str) -> dict[str, Any]:
    """One file of listings."""
    found: dict[str, Any] = json.loads((KEYS / f"{family}.json").read_text())
    return found


def variant_of(dialect: Dialect, name: str) -> Variant:
    """The variant of that full name."""
    return next(v for v in dialect.variants if v.name == f"{dialect.name}@{name}")


def beside(variant: Variant, prefix: str, name: str) -> bool:
    """Whether a name is of a module that the variant leaves out."""
    if prefix and not name.startswith(prefix):
        return name.startswith(tuple(variant.around))
    return name.removeprefix(prefix).startswith(tuple(variant.beside))


def check(listing: Listing, variant: Variant, prefix: str = "") -> None:
    """Holds one table to one real model: names, shapes, values, both directions."""
    config = listing.config
    plan = variant.plan(config, prefix)
    check_names(listing, variant, plan, prefix)
    check_canonical(config, plan, computed=_computed(variant, config))
    check_values(listing, plan)
    check_round_trip(plan)


def check_names(listing: Listing, variant: Variant, plan: Plan, prefix: str) -> None:
    """The library's list is the table's, and what is written to be left out."""
    listed = listing.tensors
    dropped = {prefix + name for name in variant.drops(listing.config)}
    left = {n for n in listed if n in dropped or beside(variant, prefix, n)}
    wanted = {n: shape for n, (shape, _) in listed.items() if n not in left}
    assert plan.source_shapes == wanted
    # What is dropped is exactly what no output of the library depends on.
    assert left == {n for n, (_, digest) in listed.items() if digest is None}
    for name, fill in variant.fills(listing.config).items():
        assert listed[prefix + name][0] == fill.shape


def check_canonical(config: ViTConfig, plan: Plan, computed: set[str]) -> None:
    """The right side is the config's own list of weights."""
    wanted = {w.name: w.shape for w in weight_table(config) if w.name not in computed}
    assert plan.target_shapes == wanted


def check_values(listing: Listing, plan: Plan) -> None:
    """The table puts every value where the library's own, other map has it."""
    config, listed = listing.config, listing.tensors
    weights = fill_weights(config)
    foreign = Pipe(MemorySource(weights), plan.inverse())
    assert set(foreign.tensors) == set(plan.source_shapes)
    for name in foreign.tensors:
        digest = hashlib.sha256(foreign.read(name).tobytes()).hexdigest()
        assert digest.startswith(str(listed[name][1])), name
    back = Pipe(foreign, plan)
    for name in back.tensors:
        np.testing.assert_array_equal(back.read(name), weights[name], strict=True)


def check_round_trip(plan: Plan) -> None:
    """There and back gives the same bits, from either side."""
    for one, other in ((plan, plan.inverse()), (plan.inverse(), plan)):
        rng = np.random.default_rng(0)
        arrays = {
            name: rng.standard_normal(shape).astype(np.float32)
            for name, shape in one.source_shapes.items()
        }
        for step in one.steps:
            _blank_zeros(step, arrays)
        back = Pipe(Pipe(MemorySource(arrays), one), other)
        assert set(back.tensors) == set(arrays)
        for name, array in arrays.items():
            assert back.read(name).tobytes() == array.tobytes(), name


def _blank_zeros(step: Any, arrays: Arrays) -> None:
    """A part that is not stored on the other side has to be zero on this one."""
    absent = [i for i, name in enumerate(step.targets) if not name]
    for name in step.sources:
        if absent and name:
            parts = np.split(arrays[name], len(step.targets))
            for i in absent:
                parts[i][:] = 0


def _computed(variant: Variant, config: ViTConfig) -> set[str]:
    """The table of positions, where no file of the library has it."""
    rows = {name for row in variant.table.rows for name in row.targets}
    return {"pos_embed"} - rows if config.pos_embed == "sincos" else set()


def check_signature(dialect: Dialect, variant: Variant, listing: Listing) -> None:
    """Of all variants that fit the names, one is the most precise, and it is this."""
    shapes = {name: shape for name, (shape, _) in listing.tensors.items()}
    best = {match: match[2] for match in _fits(dialect, shapes)}
    precise = {
        (name, prefix)
        for (name, prefix, _), signature in best.items()
        if not any(signature < other for other in best.values())
    }
    wanted = {variant.name}
    if variant.name in SAME_NAMES:
        wanted = SAME_NAMES[variant.name]
    assert {name for name, _ in precise} == wanted


def _fits(
    dialect: Dialect, shapes: dict[str, tuple[int, ...]]
) -> Iterator[tuple[str, str, frozenset[str]]]:
    names = set(shapes)
    for variant in dialect.variants:
        if variant.told:
            continue
        anchor = max(variant.signature, key=len)
        for start in [n.removesuffix(anchor) for n in names if n.endswith(anchor)]:
            prefixed = frozenset(start + name for name in variant.signature)
            if prefixed <= names and not any(
                start + n in names for n in variant.absent
            ):
                own = {n.removeprefix(start): s for n, s in shapes.items()}
                if variant.fits(own):
                    yield variant.name, start, prefixed
