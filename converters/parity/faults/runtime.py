"""The file is right, and the Keras model in memory is not, or its code.

Done to a `keras_vit.ViT` after loading, in its process, and taken back afterwards. What
is in the code is changed as deep in the model as it goes, in the layer that computes
it: so it shows in a single layer as well as in the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from converters.parity.faults.base import Condition, Fault, Inject, one_of
from converters.parity.faults.patch import Patch
from converters.parity.faults.values import FRESH_SEED
from vit_config import ViTConfig

Call = Callable[..., Any]
BLOCK = 1
"""The block in which a fault of one block is."""


def _fault(
    family: str,
    name: str,
    does: str,
    tensors: tuple[str, ...],
    fields: tuple[str, ...],
    inject: Inject,
    applies: Condition,
) -> Fault:
    return Fault(
        "runtime",
        family,
        f"runtime/{name}",
        does,
        tensors,
        fields,
        applies,
        inject=inject,
    )


def _always(config: ViTConfig) -> bool:
    return True


# ---- one number of the code -------------------------------------------------------


def _layer(model: Any, name: str) -> Any:
    from keras_vit.guard import layer_at

    path = name.replace("blocks.", "blocks_", 1).replace(".", "/")
    return layer_at(model, path)


def _epsilon(layer: str, value: float) -> Fault:
    field = "fc_norm_eps" if layer == "fc_norm" else "norm_eps"

    def inject(patch: Patch, model: Any) -> None:
        patch.set(_layer(model, layer), "epsilon", value)

    def applies(config: ViTConfig) -> bool:
        own = config.head_norm_eps if layer == "fc_norm" else config.norm_eps
        return one_of(f"{layer}.weight")(config) and own != value

    return _fault(
        "epsilon",
        f"epsilon {value:g}/{layer}",
        f"computes {layer} with an epsilon of {value:g}",
        (f"{layer}.*",),
        (field,) if layer != "fc_norm" else (field, "norm_eps"),
        inject,
        applies,
    )


def _scale(factor: float) -> Fault:
    """Queries times the factor, as every way to compute attention has them."""

    def inject(patch: Patch, model: Any) -> None:
        def split_heads(was: Call, qkv: Any) -> Any:
            q, k, v = was(qkv)
            return q * factor, k, v

        patch.wrap(model.blocks[BLOCK].attn, "split_heads", split_heads)

    return _fault(
        "attention",
        f"softmax scale x{factor:g}",
        f"multiplies the scores of block {BLOCK} by {factor:g} before the softmax",
        (f"blocks.{BLOCK}.attn.qkv.*",),
        ("head_dim", "num_heads"),
        inject,
        _always,
    )


def _no_scale(patch: Patch, model: Any) -> None:
    attn = model.blocks[BLOCK].attn

    def split_heads(was: Call, qkv: Any) -> Any:
        q, k, v = was(qkv)
        return q * attn.head_dim**0.5, k, v

    patch.wrap(attn, "split_heads", split_heads)


def _k_for_q(patch: Patch, model: Any) -> None:
    def split_heads(was: Call, qkv: Any) -> Any:
        q, k, v = was(qkv)
        return k, q, v

    patch.wrap(model.blocks[BLOCK].attn, "split_heads", split_heads)


def _head_order(patch: Patch, model: Any) -> None:
    from keras import ops

    def split_heads(was: Call, qkv: Any) -> Any:
        q, k, v = was(qkv)
        return q, k, ops.flip(v, axis=2)

    patch.wrap(model.blocks[BLOCK].attn, "split_heads", split_heads)


def _activation(name: str) -> Fault:
    def inject(patch: Patch, model: Any) -> None:
        from keras_vit.activations import ACTIVATIONS

        patch.set(model.blocks[BLOCK].mlp, "act", ACTIVATIONS[name])

    return _fault(
        "activation",
        f"{name} in one block",
        f"computes {name} in block {BLOCK}",
        (),
        ("act_layer",),
        inject,
        lambda config: config.act_layer not in (name, "silu"),
    )


def _gate(patch: Patch, model: Any) -> None:
    from keras_vit.activations import ACTIVATIONS

    patch.set(model.blocks[BLOCK].mlp, "act", ACTIVATIONS["gelu"])


# ---- dropout ----------------------------------------------------------------------


def _seeded(patch: Patch, model: Any) -> None:
    """The same masks in every run."""
    from keras_vit.guard import seed_generators

    generators: list[Any] = seed_generators(model)  # type: ignore[no-untyped-call]
    for i, generator in enumerate(generators):
        patch.assign(generator.state, [FRESH_SEED, i])


def _training(patch: Patch, layer: Any) -> None:
    def call(was: Call, *args: Any, **kwargs: Any) -> Any:
        return was(*args, **{**kwargs, "training": True})

    patch.wrap(layer, "call", call)


def _dropout_on(patch: Patch, model: Any) -> None:
    _seeded(patch, model)
    for layer in (model.pos_drop, model.head_drop, *model.blocks):
        _training(patch, layer)


def _dropout_in_one_block(patch: Patch, model: Any) -> None:
    _seeded(patch, model)
    _training(patch, model.blocks[BLOCK])


RATES_OF_BLOCKS = ("proj_drop_rate", "attn_drop_rate", "drop_path_rate")
RATES = ("drop_rate", "pos_drop_rate", *RATES_OF_BLOCKS)


def _any_rate(*fields: str) -> Condition:
    return lambda config: any(getattr(config, field) for field in fields)


# ---- weights in memory ------------------------------------------------------------


def _values(model: Any, name: str) -> tuple[Any, Any, Any]:
    """The Keras variable of a canonical weight, its values, and the weight."""
    from keras import ops

    from vit_config.weights import weight_table

    (weight,) = (w for w in weight_table(model.config) if w.name == name)
    (variable,) = (v for v in model.weights if model.relative_path(v) == weight.path)
    return variable, ops.convert_to_numpy(variable).copy(), weight


def _memory(
    what: str, does: str, name: str, edit: Call, applies: Condition | None = None
) -> Fault:
    """Edits (values in Keras' layout, config, weight) of one variable."""

    def inject(patch: Patch, model: Any) -> None:
        variable, values, weight = _values(model, name)
        patch.assign(variable, edit(values, model.config, weight))

    return _fault(
        "weights in memory",
        f"{what}/{name}",
        f"{does} {name} after loading",
        (name,),
        (),
        inject,
        applies or one_of(name),
    )


def _redrawn(values: Any, config: ViTConfig, weight: Any) -> Any:
    """As after a reload that left this weight as the new model had drawn it."""
    from converters.engine import apply
    from converters.rules import KERAS
    from converters.steps.fresh import draw

    steps = KERAS.plan(config).steps
    (step,) = (step for step in steps if weight.path in step.targets)
    return apply(step, [draw(config, weight, FRESH_SEED)])[0]


def _transposed(values: Any, config: ViTConfig, weight: Any) -> Any:
    return values.T.copy()


def _zeroed(values: Any, config: ViTConfig, weight: Any) -> Any:
    return 0 * values


def _keyless(values: Any, config: ViTConfig, weight: Any) -> Any:
    values[config.attn_dim : 2 * config.attn_dim] = 0
    return values


def _square(name: str) -> Condition:
    def applies(config: ViTConfig) -> bool:
        from vit_config.weights import weight_table

        shapes = {w.name: w.keras_shape for w in weight_table(config)}
        shape = shapes.get(name, ())
        return len(shape) == 2 and shape[0] == shape[1]

    return applies


# ---- inputs and tokens ------------------------------------------------------------


def _of_inputs(edit: Call) -> Inject:
    """Edits (B, *spatial, C) before the patches are taken."""

    def inject(patch: Patch, model: Any) -> None:
        patch.wrap(model.patch_embed, "call", lambda was, x: was(edit(x)))

    return inject


def _of_patches(edit: Call) -> Inject:
    """Edits (B, N, D) after the patches are taken; gets the config too."""

    def inject(patch: Patch, model: Any) -> None:
        config = model.config
        patch.wrap(model.patch_embed, "call", lambda was, x: edit(was(x), config))

    return inject


def _flip(axis: int) -> Call:
    def edit(x: Any) -> Any:
        from keras import ops

        return ops.flip(x, axis=axis)

    return edit


def _swap(one: int, other: int) -> Call:
    def edit(x: Any) -> Any:
        from keras import ops

        return ops.swapaxes(x, one, other)

    return edit


def _backwards(tokens: Any, config: ViTConfig) -> Any:
    from keras import ops

    return ops.flip(tokens, axis=1)


def _column_major(tokens: Any, config: ViTConfig) -> Any:
    from keras import ops

    grid, width = config.grid_size, config.embed_dim
    x = ops.reshape(tokens, (-1, *grid, width))
    axes = (0, *range(len(grid), 0, -1), len(grid) + 1)
    return ops.reshape(ops.transpose(x, axes), (-1, config.num_patches, width))


def _no_positions(patch: Patch, model: Any) -> None:
    patch.set(model, "pos_embed", None)


def _moved_positions(patch: Patch, model: Any) -> None:
    from keras import ops

    patch.set(model, "pos_embed", ops.roll(model.pos_embed, 1, axis=1))


def _turned_positions(patch: Patch, model: Any) -> None:
    from keras import ops

    table, config = ops.convert_to_tensor(model.pos_embed), model.config
    first = config.num_pos_tokens - config.num_patches
    rows = _column_major(table[:, first:], config)
    patch.set(model, "pos_embed", ops.concatenate([table[:, :first], rows], axis=1))


def _registers_first(patch: Patch, model: Any) -> None:
    from keras import ops

    end = model.config.num_prefix_tokens
    start = end - model.config.reg_tokens

    def moved(x: Any) -> Any:
        return ops.concatenate([x[:, start:end], x[:, :start], x[:, end:]], axis=1)

    patch.wrap(model, "_join", lambda was, x: moved(was(x)))


def _distillation_first(patch: Patch, model: Any) -> None:
    token, other = model.cls_token, model.dist_token
    patch.set(model, "cls_token", other)
    patch.set(model, "dist_token", token)


# ---- wiring -----------------------------------------------------------------------


def _no_residual(layer: str) -> Inject:
    """What goes round a branch does not come back: only the branch is left."""

    def inject(patch: Patch, model: Any) -> None:
        block, first = model.blocks[BLOCK], layer == "drop_path1"
        around: dict[str, Any] = {}

        def call(
            was: Call, x: Any, training: Any = None, return_taps: Any = False
        ) -> Any:
            around["x"] = x
            return was(x, training=training, return_taps=return_taps)

        def norm2(was: Call, x: Any) -> Any:
            around["x"] = x
            return was(x)

        def drop_path(was: Call, y: Any, training: Any = False) -> Any:
            return was(y, training=training) - around["x"]

        if first:
            patch.wrap(block, "call", call)
        else:
            patch.wrap(block.norm2, "call", norm2)
        patch.wrap(getattr(block, layer), "call", drop_path)

    return inject


def _no_branch(layer: str) -> Inject:
    def inject(patch: Patch, model: Any) -> None:
        def drop_path(was: Call, y: Any, training: Any = False) -> Any:
            return 0 * y

        patch.wrap(getattr(model.blocks[BLOCK], layer), "call", drop_path)

    return inject


def _norm_left_out(patch: Patch, model: Any) -> None:
    patch.wrap(model.norm, "call", lambda was, x: 1 * x)


def _under(method: str, **fields: Any) -> Inject:
    """Runs one method of the model as if the config were another."""

    def inject(patch: Patch, model: Any) -> None:
        def run(was: Call, *args: Any, **kwargs: Any) -> Any:
            with Patch() as inner:
                inner.set(model, "config", model.config.replace(**fields))
                return was(*args, **kwargs)

        patch.wrap(model, method, run)

    return inject


def _turned_prefix(patch: Patch, model: Any) -> None:
    _under("_pool", pool_include_prefix=not model.config.pool_include_prefix)(
        patch, model
    )


def _pool_of_patches(config: ViTConfig) -> bool:
    return config.global_pool in ("avg", "max", "token_avg", "map")


def _one_head(patch: Patch, model: Any) -> None:
    patch.set(model, "head_dist", model.head)


# ---- the list ---------------------------------------------------------------------

NORMS = (f"blocks.{BLOCK}.norm1", f"blocks.{BLOCK}.norm2", "norm", "fc_norm")
EPSILONS = (1e-3, 1e-5, 1e-6, 1e-12)
PATCHES = ("patch_embed.proj.weight",)
SPACE = ("data.axes", "data.orientation")


def _numbers() -> Iterator[Fault]:
    for layer in NORMS:
        for value in EPSILONS:
            yield _epsilon(layer, value)
    for factor in (0.5, 1.01):
        yield _scale(factor)
    qkv = (f"blocks.{BLOCK}.attn.qkv.*",)
    for name, does, inject in (
        ("no softmax scale", "does not scale the scores", _no_scale),
        ("k for q", "takes keys for queries", _k_for_q),
        ("heads of v", "reverses the heads of v", _head_order),
    ):
        yield _fault(
            "attention",
            name,
            f"{does} in block {BLOCK}",
            qkv,
            ("head_dim", "num_heads"),
            inject,
            _always,
        )
    for act in ("gelu_tanh", "quick_gelu", "relu"):
        yield _activation(act)
    yield _fault(
        "activation",
        "gelu as gate",
        f"gates with GELU in block {BLOCK}",
        (),
        ("act_layer", "mlp_layer"),
        _gate,
        lambda config: config.mlp_layer == "swiglu",
    )
    yield _fault(
        "dropout",
        "dropout left on",
        "computes as in training",
        (),
        RATES,
        _dropout_on,
        _any_rate(*RATES),
    )
    yield _fault(
        "dropout",
        "dropout left on in one block",
        f"computes block {BLOCK} as in training",
        (),
        RATES_OF_BLOCKS,
        _dropout_in_one_block,
        lambda config: _last_rates(config) > 0,
    )


def _last_rates(config: ViTConfig) -> float:
    path = config.drop_path_rates[BLOCK]
    return max(config.proj_drop_rate, config.attn_drop_rate, path)


def _weights() -> Iterator[Fault]:
    for name in (
        *("patch_embed.proj.weight", f"blocks.{BLOCK}.attn.qkv.weight"),
        *(f"blocks.{BLOCK}.mlp.fc2.weight", "norm.weight", "pos_embed"),
        *("head.weight", "attn_pool.latent"),
    ):
        yield _memory("redrawn", "draws anew", name, _redrawn)
    for name in (f"blocks.{BLOCK}.attn.proj.weight", "attn_pool.proj.weight"):
        yield _memory("transposed", "transposes", name, _transposed, _square(name))
    for name in (
        *("patch_embed.proj.bias", f"blocks.{BLOCK}.attn.proj.bias"),
        *(f"blocks.{BLOCK}.mlp.fc1.bias", "norm.bias", "head.bias"),
    ):
        yield _memory("zeroed", "zeroes", name, _zeroed)
    yield _memory(
        "key bias zeroed",
        "zeroes the key's part of",
        f"blocks.{BLOCK}.attn.qkv.bias",
        _keyless,
        lambda config: config.qkv_bias is True,
    )


def _space() -> Iterator[Fault]:
    for axis in range(3):
        yield _fault(
            "input",
            f"input flipped {axis}",
            f"turns axis {axis} of the input round",
            PATCHES,
            SPACE,
            _of_inputs(_flip(axis + 1)),
            _long_enough(axis),
        )
    for one, other in ((0, 1), (0, 2), (1, 2)):
        yield _fault(
            "input",
            f"input axes {one} {other}",
            f"exchanges axes {one} and {other} of the input",
            PATCHES,
            SPACE,
            _of_inputs(_swap(one + 1, other + 1)),
            _equal(one, other),
        )
    yield _fault(
        "input",
        "input channels reversed",
        "has the channels of the input in reverse order",
        PATCHES,
        ("data.mean", "data.std"),
        _of_inputs(_flip(-1)),
        lambda config: config.in_chans > 1,
    )
    for name, does, edit in (
        ("patches backwards", "has the patches in reverse order", _backwards),
        ("patches column-major", "counts the patches column by column", _column_major),
    ):
        fields = ("patch_size", "img_size")
        yield _fault("tokens", name, does, PATCHES, fields, _of_patches(edit), _always)
    has_positions = one_of("pos_embed")
    for name, does, inject in (
        ("no positions", "adds no positions", _no_positions),
        ("positions moved", "adds the positions of the token before", _moved_positions),
        ("positions column-major", "has the grid's axes reversed", _turned_positions),
    ):
        yield _fault(
            "tokens",
            name,
            does,
            ("pos_embed",),
            ("pos_embed", "pos_embed_tokens"),
            inject,
            has_positions,
        )
    yield _fault(
        "tokens",
        "registers first",
        "puts the registers before the class token",
        ("cls_token", "reg_token"),
        ("reg_tokens", "class_token", "pos_embed_tokens"),
        _registers_first,
        one_of("cls_token", "reg_token"),
    )
    yield _fault(
        "tokens",
        "distillation token first",
        "puts the distillation token before the class token",
        ("cls_token", "dist_token"),
        ("dist_token", "class_token", "distilled"),
        _distillation_first,
        one_of("cls_token", "dist_token"),
    )


def _long_enough(axis: int) -> Condition:
    return lambda config: axis < config.spatial_dims


def _equal(one: int, other: int) -> Condition:
    def applies(config: ViTConfig) -> bool:
        size = config.img_size
        return max(one, other) < len(size) and size[one] == size[other]

    return applies


def _wiring() -> Iterator[Fault]:
    for i, part in ((1, "attn"), (2, "mlp")):
        layer = f"drop_path{i}"
        place = (f"blocks.{BLOCK}.{part}.*", f"blocks.{BLOCK}.ls{i}.gamma")
        yield _fault(
            "wiring",
            f"no residual around {part}",
            f"leaves the way around {part} of block {BLOCK} out",
            place,
            (),
            _no_residual(layer),
            _always,
        )
        yield _fault(
            "wiring",
            f"no {part}",
            f"leaves {part} of block {BLOCK} out",
            place,
            ("drop_path_rate",),
            _no_branch(layer),
            _always,
        )
    yield _fault(
        "wiring",
        "no final norm",
        "leaves the final norm out",
        ("norm.*",),
        ("final_norm",),
        _norm_left_out,
        one_of("norm.weight"),
    )
    yield _fault(
        "wiring",
        "pooled over other tokens",
        "pools over the prefix too, or not over it",
        (),
        ("pool_include_prefix", "global_pool"),
        _turned_prefix,
        lambda config: _pool_of_patches(config) and config.num_prefix_tokens > 0,
    )
    yield _fault(
        "wiring",
        "mean for token",
        "pools by the mean of the patches",
        (),
        ("global_pool",),
        _under("_pool", global_pool="avg"),
        lambda config: config.global_pool == "token" and not config.distilled,
    )
    yield _fault(
        "wiring",
        "no head_act",
        "leaves the activation of the head out",
        (),
        ("head_act",),
        _under("_classify", head_act=None),
        lambda config: config.head_act is not None,
    )
    yield _fault(
        "wiring",
        "one head twice",
        "takes the head for the distillation's, too",
        ("head_dist.*",),
        ("distilled",),
        _one_head,
        one_of("head_dist.weight"),
    )


RUNTIME: tuple[Fault, ...] = (*_numbers(), *_weights(), *_space(), *_wiring())
"""All of them."""
