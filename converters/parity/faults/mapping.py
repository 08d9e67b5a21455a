"""A Keras file written by a table with one wrong rule.

The weights go through the right table into the layout of Keras, one rule goes wrong
there, and what the file then holds is read back by the right table: those are the
weights of the faulty B. A rule of a block goes wrong in all blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import permutations

import numpy as np
from einops import rearrange

from converters.mapping.pipe import Array, MemorySource, Pipe
from converters.mapping.table import KERAS, Plan
from converters.parity.faults.base import Condition, Fault, Model
from converters.parity.faults.bases import BASES
from converters.steps.fresh import draw
from vit_config import ViTConfig
from vit_config.weights import RULES, Rule, Weight, axis_sizes, weight_table

FRESH_SEED = 2
"""Of what a rule leaves as a fresh model has it."""

Wrong = Callable[[dict[str, Array], Model], None]
"""Changes the tensors of a Keras file, by path."""


def _through_keras(model: Model, wrong: Wrong) -> Model:
    plan = _plan(model.config)
    there = Pipe(MemorySource(model.tensors), plan)
    file = {path: there.read(path).copy() for path in there.tensors}
    wrong(file, model)
    back = Pipe(MemorySource(file), plan.inverse())
    return model.with_tensors({name: back.read(name).copy() for name in back.tensors})


@lru_cache(maxsize=4)
def _plan(config: ViTConfig) -> Plan:
    return KERAS.plan(config)


def _pattern(rule: Rule) -> str:
    return rule.torch.replace("{i}", "*")


def _label(rule: Rule) -> str:
    """A name for the rule: two of them share the patch kernel, one a config."""
    return f"{rule.torch}, linear" if rule.fan_in == "f" else rule.torch


def _fault(
    family: str,
    name: str,
    does: str,
    rules: tuple[Rule, ...],
    wrong: Wrong,
    applies: Condition | None = None,
) -> Fault:
    def had(config: ViTConfig) -> bool:
        return all(rule.when(config) for rule in rules)

    return Fault(
        "mapping",
        family,
        name,
        does,
        tuple(_pattern(rule) for rule in rules),
        (),
        applies or had,
        lambda model: _through_keras(model, wrong),
    )


def weights_of(rule: Rule, config: ViTConfig) -> list[Weight]:
    """The weights that a rule stands for in a config, block by block."""
    return [weight for weight in weight_table(config) if weight.rule is rule]


# ---- dropped ----------------------------------------------------------------------


def _dropped(rule: Rule) -> Fault:
    def wrong(file: dict[str, Array], model: Model) -> None:
        mine = weights_of(rule, model.config)
        fresh = {w.name: draw(model.config, w, FRESH_SEED) for w in mine}
        there = Pipe(MemorySource(model.tensors | fresh), _plan(model.config))
        for weight in mine:
            file[weight.path] = there.read(weight.path)

    return _fault(
        "rule dropped",
        f"rule dropped/{_label(rule)}",
        f"leaves {_pattern(rule)} as a fresh model has it",
        (rule,),
        wrong,
    )


# ---- swapped ----------------------------------------------------------------------


def _swapped(one: Rule, other: Rule) -> Fault:
    """Each of the rules writes to the other's target."""

    def wrong(file: dict[str, Array], model: Model) -> None:
        pairs = zip(
            weights_of(one, model.config), weights_of(other, model.config), strict=True
        )
        for a, b in pairs:
            file[a.path], file[b.path] = file[b.path], file[a.path]

    def applies(config: ViTConfig) -> bool:
        return other is next_alike(one, config) or one is next_alike(other, config)

    return _fault(
        "rules swapped",
        f"rules swapped/{_label(one)} and {_label(other)}",
        f"exchanges {_pattern(one)} and {_pattern(other)}",
        (one, other),
        wrong,
        applies,
    )


def _pairs() -> list[tuple[Rule, Rule]]:
    """Every rule with the next that writes tensors of the same shapes, if any."""
    pairs = {
        (min(at, to), max(at, to)): None
        for config in BASES.values()
        for at, rule in enumerate(RULES)
        if (partner := next_alike(rule, config)) is not None
        for to in [RULES.index(partner)]
    }
    return [(RULES[one], RULES[other]) for one, other in sorted(pairs)]


def next_alike(rule: Rule, config: ViTConfig) -> Rule | None:
    """The next rule, round the table, that writes as many tensors of such shapes."""
    at, mine = RULES.index(rule), _shapes(rule, config)
    if not mine:
        return None
    around = (*RULES[at + 1 :], *RULES[:at])
    return next((other for other in around if _alike(rule, other, config)), None)


def _shapes(rule: Rule, config: ViTConfig) -> list[tuple[int, ...]]:
    return [weight.keras_shape for weight in weights_of(rule, config)]


def _alike(rule: Rule, other: Rule, config: ViTConfig) -> bool:
    if _shapes(rule, config) != _shapes(other, config):
        return False
    # A zero key bias may not move: it would be another config, and refused.
    biases = {"blocks.{i}.attn.qkv.bias"} & {rule.torch, other.torch}
    return not (config.qkv_bias == "qv" and biases)


# ---- untransposed -----------------------------------------------------------------

REGROUPED: dict[str, tuple[str, ...]] = {
    "(s h e)": ("(h s e)", "(h e s)"),
    "(h e)": ("(e h)",),
    "(g m)": ("(m g)",),
    "(t o)": ("(o t)",),
}
"""Other orders of the axes that a fused one is made of."""


def _reshaped(rule: Rule) -> Fault:
    """The memory as it lies, under the shape that Keras wants."""

    def wrong(file: dict[str, Array], model: Model) -> None:
        for weight in weights_of(rule, model.config):
            values = model.tensors[weight.name]
            file[weight.path] = values.reshape(weight.keras_shape)

    return _fault(
        "rule untransposed",
        f"rule untransposed/{_label(rule)}",
        f"reshapes {_pattern(rule)} where it should transpose",
        (rule,),
        wrong,
    )


def _tokens_last(rule: Rule) -> Fault:
    """(1, n, d) taken for (1, d, n)."""

    def wrong(file: dict[str, Array], model: Model) -> None:
        for weight in weights_of(rule, model.config):
            values = np.swapaxes(file[weight.path], 1, 2)
            file[weight.path] = values.reshape(weight.keras_shape)

    return _fault(
        "rule untransposed",
        f"rule untransposed/{_label(rule)}",
        f"transposes {_pattern(rule)}, which should stay",
        (rule,),
        wrong,
    )


def _regrouped(rule: Rule, group: str, other: str) -> Fault:
    """A fused axis taken for one of another order."""
    symbols = group.strip("()").split()

    def applies(config: ViTConfig) -> bool:
        sizes = axis_sizes(config)
        several = [s for s in symbols if sizes[s] != 1]
        zeros = config.qkv_bias == "qv" and rule.torch.endswith("qkv.bias")
        return rule.when(config) and len(several) > 1 and not zeros

    def wrong(file: dict[str, Array], model: Model) -> None:
        left, right = rule.torch_axes, rule.keras_axes
        sizes = axis_sizes(model.config)
        known = {s: sizes[s] for s in symbols if isinstance(sizes[s], int)}
        for weight in weights_of(rule, model.config):
            pattern = f"{left.replace(group, other)} -> {right}"
            values = model.tensors[weight.name]
            file[weight.path] = rearrange(values, pattern, **known)

    return _fault(
        "rule untransposed",
        f"rule regrouped/{_label(rule)} {other}",
        f"takes {group} of {_pattern(rule)} for {other}",
        (rule,),
        wrong,
        applies,
    )


def _permuted(rule: Rule, order: tuple[int, ...]) -> Fault:
    """Keras' patch axes in another order, where they are equally long."""
    moved = [i for i, other in enumerate(order) if i != other]

    def applies(config: ViTConfig) -> bool:
        if not rule.when(config) or len(order) != config.spatial_dims:
            return False
        return len({config.patch_size[i] for i in moved}) == 1

    def wrong(file: dict[str, Array], model: Model) -> None:
        for weight in weights_of(rule, model.config):
            axes = (*order, len(order), len(order) + 1)
            file[weight.path] = np.transpose(file[weight.path], axes).copy()

    text = " ".join(map(str, order))
    return _fault(
        "rule untransposed",
        f"rule permuted/{_label(rule)} {text}",
        f"puts the patch axes of {_pattern(rule)} into the order {text}",
        (rule,),
        wrong,
        applies,
    )


def is_identity(rule: Rule) -> bool:
    """Whether a right rule leaves the tensor as it is."""
    return rule.torch_axes == rule.keras_axes


def _faults() -> Iterator[Fault]:
    for rule in RULES:
        yield _dropped(rule)
    for one, other in _pairs():
        yield _swapped(one, other)
    for rule in RULES:
        if not is_identity(rule):
            yield _reshaped(rule)
        elif rule.role == "pos" or rule.torch_axes == "1 r d":
            yield _tokens_last(rule)
        for group, others in REGROUPED.items():
            if group in rule.torch_axes:
                yield from (_regrouped(rule, group, other) for other in others)
        if "..." in rule.torch_axes:
            for dims in (2, 3):
                for order in list(permutations(range(dims)))[1:]:
                    yield _permuted(rule, order)


MAPPING: tuple[Fault, ...] = tuple(_faults())
"""All of them."""
