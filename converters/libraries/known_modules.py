"""The classes of modules that all the libraries use, and what their instances hold."""

from __future__ import annotations

from typing import Any

LINEAR = ("torch.nn.modules.linear.Linear",)
IDENTITY = ("torch.nn.modules.linear.Identity",)
DROPOUT = ("torch.nn.modules.dropout.Dropout",)
CONV = ("torch.nn.modules.conv.Conv2d", "torch.nn.modules.conv.Conv3d")
LAYER_NORM = (
    "torch.nn.modules.normalization.LayerNorm",
    "timm.layers.norm.LayerNorm",
)
LIST = (
    "torch.nn.modules.container.ModuleList",
    "torch.nn.modules.container.Sequential",
)
ATTENTION = ("torch.nn.modules.activation.MultiheadAttention",)


class OneOf(tuple[Any, ...]):
    """In place of a value: any of several."""

    __slots__ = ()

    def __new__(cls, *values: Any) -> OneOf:
        """The values."""
        return super().__new__(cls, values)


ANY: Any = object()
"""In place of a value: whatever it is, the outputs are the same."""

COUNT: Any = object()
"""In place of a value: a table of 0, 1, 2 ..."""

OUT_PROJ = "torch.nn.modules.linear.NonDynamicallyQuantizableLinear"

ATTRIBUTES: dict[str, dict[str, Any]] = {
    # class: attributes of its instances, with the one value they may have. What is read
    # elsewhere, or follows from the shapes of the weights, is ANY.
    LINEAR[0]: {"in_features": ANY, "out_features": ANY},
    OUT_PROJ: {"in_features": ANY, "out_features": ANY},
    IDENTITY[0]: {},
    DROPOUT[0]: {"p": ANY, "inplace": ANY},
    LIST[0]: {},
    LIST[1]: {},
    LAYER_NORM[0]: {"normalized_shape": ANY, "eps": ANY, "elementwise_affine": True},
    LAYER_NORM[1]: {
        "normalized_shape": ANY,
        "eps": ANY,
        "elementwise_affine": True,
        "_fast_norm": ANY,
    },
    ATTENTION[0]: {
        **dict.fromkeys(("embed_dim", "kdim", "vdim", "num_heads", "head_dim"), ANY),
        "_qkv_same_embed_dim": True,
        "dropout": ANY,
        "batch_first": True,
        "bias_k": None,
        "bias_v": None,
        "add_zero_attn": False,
    },
    **{
        name: {
            **dict.fromkeys(("in_channels", "out_channels", "kernel_size"), ANY),
            "stride": ANY,
            "padding": OneOf((0,) * dims, "valid"),
            "dilation": (1,) * dims,
            "transposed": False,
            "output_padding": (0,) * dims,
            "groups": 1,
            "padding_mode": "zeros",
            "_reversed_padding_repeated_twice": ANY,
        }
        for name, dims in zip(CONV, (2, 3), strict=True)
    },
}

ACTIVATIONS = {
    # class: ours, or how to tell
    "torch.nn.modules.activation.GELU": "",
    "torch.nn.modules.activation.SiLU": "silu",
    "torch.nn.modules.activation.ReLU": "relu",
    "timm.layers.activations.GELU": "gelu",
    "timm.layers.activations.GELUTanh": "gelu_tanh",
    "timm.layers.activations.QuickGELU": "quick_gelu",
    "timm.layers.activations.Swish": "silu",
    "transformers.activations.GELUActivation": "gelu",
    "transformers.activations.GELUTanh": "gelu_tanh",
    "transformers.activations.NewGELUActivation": "gelu_tanh",
    "transformers.activations.FastGELUActivation": "gelu_tanh",
    "transformers.activations.QuickGELUActivation": "quick_gelu",
    "transformers.activations.SiLUActivation": "silu",
}
ACTIVATION_ATTRIBUTES = {"approximate": ANY, "inplace": ANY, "act": ANY}
