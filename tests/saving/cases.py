"""A pairwise-covering matrix of the schema's flags, in tiny models.

Every two values of two different flags that may stand together do so in at least one
case. The few that may not are listed; a test compares the list with what `ViTConfig`
refuses.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from vit_config import ViTConfig

Pair = tuple[tuple[str, Any], tuple[str, Any]]

FACTORS: dict[str, tuple[Any, ...]] = {
    "global_pool": ("token", "avg", "map", "token_avg", "max", "none"),
    "num_classes": (0, 1, 3),
    "spatial_dims": (2, 3),
    "act_layer": ("gelu", "gelu_tanh", "quick_gelu", "silu", "relu"),
    "mlp_layer": ("mlp", "swiglu"),
    "in_chans": (1, 3),
    "head_dim": (None, 10),
    "patch_bias": (True, False),
    "patch_norm": ("none", "post", "dual"),
    "pre_norm": (False, True),
    "class_token": (True, False),
    "dist_token": (False, True),
    "reg_tokens": (0, 2),
    "pos_embed": ("learned", "sincos", "none"),
    "pos_embed_tokens": ("all", "cls", "patch"),
    "norm_eps": (1e-6, 1e-5),
    "qkv_bias": (True, False, "qv"),
    "proj_bias": (True, False),
    "mlp_bias": (True, False),
    "qk_norm": (False, True),
    "init_values": (None, 0.1),
    "final_norm": (True, False),
    "fc_norm": (False, True),
    "fc_norm_eps": (None, 1e-3),
    "pool_include_prefix": (False, True),
    "distilled": (False, True),
    "representation_size": (None, 20),
    "head_bias": (True, False),
    "head_act": (None, "tanh"),
    "dropout": (False, True),
}

WAYS = (
    "keras.models.load_model",
    "keras_vit.load_model",
    "weights.h5",
    "weights.json",
)
"""Ways to load what was saved."""

ILLEGAL = frozenset(
    (key, value, other, bad)
    for key, value, other, bads in (
        ("global_pool", "none", "num_classes", (1, 3)),
        ("global_pool", "none", "fc_norm", (True,)),
        ("global_pool", "none", "fc_norm_eps", (1e-3,)),
        ("global_pool", "none", "representation_size", (20,)),
        ("global_pool", "none", "head_act", ("tanh",)),
        ("pool_include_prefix", True, "global_pool", ("token", "none")),
        ("class_token", False, "global_pool", ("token", "token_avg")),
        ("class_token", False, "pos_embed_tokens", ("cls",)),
        ("class_token", False, "dist_token", (True,)),
        ("mlp_layer", "swiglu", "global_pool", ("map",)),
        (
            "mlp_layer",
            "swiglu",
            "act_layer",
            ("gelu", "gelu_tanh", "quick_gelu", "relu"),
        ),
        ("fc_norm", False, "fc_norm_eps", (1e-3,)),
        ("head_act", "tanh", "num_classes", (0,)),
        (
            "distilled",
            True,
            "global_pool",
            ("avg", "map", "token_avg", "max", "none"),
        ),
        ("distilled", True, "class_token", (False,)),
        ("distilled", True, "dist_token", (False,)),
        ("distilled", True, "pool_include_prefix", (True,)),
        ("distilled", True, "representation_size", (20,)),
    )
    for bad in bads
)
"""Pairs of values that do not go together; the only ones."""


@dataclass(frozen=True)
class Case:
    """One configuration of the matrix.

    Attributes:
        name: Its number and what it returns, `"07-3d-logits"`.
        values: Its values of the factors.
        config: The configuration.
    """

    name: str
    values: dict[str, Any]
    config: ViTConfig


def make_config(values: dict[str, Any]) -> ViTConfig:
    """A tiny model with no two equal axes, with the given flags.

    Raises:
        ConfigError: If the flags do not go together.
    """
    flags = dict(values)
    rate = 0.1 if flags.pop("dropout") else 0.0
    flat = flags["spatial_dims"] == 2
    return ViTConfig(
        img_size=(24, 16) if flat else (8, 12, 4),
        patch_size=(8, 4) if flat else (4, 6, 2),
        embed_dim=24,
        depth=2,
        num_heads=3,
        mlp_dim=40,
        drop_rate=rate,
        pos_drop_rate=rate,
        proj_drop_rate=rate,
        attn_drop_rate=rate,
        drop_path_rate=rate,
        **flags,
    )


def legal(a: str, x: Any, b: str, y: Any) -> bool:
    """Whether two values may stand together."""
    return (a, x, b, y) not in ILLEGAL and (b, y, a, x) not in ILLEGAL


def pairs_of(row: dict[str, Any]) -> set[Pair]:
    """All pairs of values in a row, the factors in the order of `FACTORS`."""
    return set(itertools.combinations([(key, row[key]) for key in FACTORS], 2))


def draw(rng: random.Random, pair: Pair, wanted: set[Pair]) -> dict[str, Any] | None:
    """A legal row with that pair and, greedily, many other wanted ones."""
    row = dict(pair)
    keys = [key for key in FACTORS if key not in row]
    for key in rng.sample(keys, len(keys)):
        gains = {}
        for value in FACTORS[key]:
            if all(legal(key, value, k, v) for k, v in row.items()):
                new = [((key, value), item) for item in row.items()]
                gain = sum((a, b) in wanted or (b, a) in wanted for a, b in new)
                gains[value] = gain + rng.random()
        if not gains:
            return None
        row[key] = max(gains, key=gains.__getitem__)
    return row


@lru_cache(maxsize=1)
def matrix() -> tuple[Case, ...]:
    """The cases: always the same ones."""
    rng = random.Random(0)
    wanted = [
        ((a, x), (b, y))
        for (a, xs), (b, ys) in itertools.combinations(FACTORS.items(), 2)
        for x, y in itertools.product(xs, ys)
        if legal(a, x, b, y)
    ]
    cases: list[Case] = []
    while wanted:
        left = set(wanted)
        rows = [draw(rng, wanted[0], left) for _ in range(20)]
        best = max(
            (row for row in rows if row), key=lambda row: len(pairs_of(row) & left)
        )
        covered = pairs_of(best)
        wanted = [pair for pair in wanted if pair not in covered]
        config = make_config(best)
        output = "logits" if config.num_classes else "features"
        name = f"{len(cases):02}-{config.spatial_dims}d-{output}"
        cases.append(Case(name, best, config))
    return tuple(cases)


def values_of(cases: Iterable[Case]) -> set[tuple[str, Any]]:
    """All values of factors that are met in some case."""
    return {item for case in cases for item in case.values.items()}


def covering(cases: Sequence[Case]) -> tuple[Case, ...]:
    """As few of the cases as can be in which every value of every factor is met.

    Values that no case has are left out.
    """
    values = [values_of([case]) for case in cases]

    def search(left: set[tuple[str, Any]], count: int) -> tuple[int, ...] | None:
        if not left:
            return ()
        if count < max(Counter(key for key, _ in left).values()):
            return None
        having = {v: [i for i, mine in enumerate(values) if v in mine] for v in left}
        rarest = min(left, key=lambda value: (len(having[value]), str(value)))
        for i in having[rarest]:
            found = search(left - values[i], count - 1)
            if found is not None:
                return (i, *found)
        return None

    every = set().union(*values)
    found = next(found for n in itertools.count(1) if (found := search(every, n)))
    return tuple(cases[i] for i in sorted(found))
