"""The ViT classes of transformers 5, as `state_dict()` names them in memory.

A model keeps its config, which is read as strictly as a `config.json`. What the modules
themselves say stands above it: nothing reads the config again once they are made.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from converters.libraries.known_modules import ANY, ATTENTION, COUNT, IDENTITY, LIST
from converters.libraries.positions import videomae
from converters.libraries.walk import Walk, class_name
from converters.sources.live_reader import Found
from vit_config import ViTConfig

_HOME = "transformers.models."
_FAMILIES = {
    # folder of the model: beginning of its class names
    "vit": "ViT",
    "deit": "DeiT",
    "vit_msn": "ViTMSN",
    "vit_mae": "ViTMAE",
    "ijepa": "IJepa",
    "vivit": "Vivit",
    "dinov2": "Dinov2",
    "dinov2_with_registers": "Dinov2WithRegisters",
    "clip": "CLIP",
    "siglip": "Siglip",
    "videomae": "VideoMAE",
}
_MODELS = {
    "vit": ("ViTModel", "ViTForImageClassification"),
    "deit": (
        "DeiTModel",
        "DeiTForImageClassification",
        "DeiTForImageClassificationWithTeacher",
    ),
    "vit_msn": ("ViTMSNModel", "ViTMSNForImageClassification"),
    "vit_mae": ("ViTMAEModel",),
    "ijepa": ("IJepaModel", "IJepaForImageClassification"),
    "vivit": ("VivitModel", "VivitForVideoClassification"),
    "dinov2": ("Dinov2Model", "Dinov2ForImageClassification"),
    "dinov2_with_registers": (
        "Dinov2WithRegistersModel",
        "Dinov2WithRegistersForImageClassification",
    ),
    "clip": (
        "CLIPVisionModel",
        "CLIPVisionModelWithProjection",
        "CLIPForImageClassification",
    ),
    "siglip": ("SiglipVisionModel", "SiglipForImageClassification"),
    "videomae": ("VideoMAEModel", "VideoMAEForVideoClassification"),
}

_PRETRAINED = dict.fromkeys(
    # of every PreTrainedModel: the config, and how to load, shard and save
    (
        *("config", "name_or_path", "kernel_config", "loss_type", "num_labels"),
        *("_tp_plan", "_ep_plan", "_pp_plan", "_fsdp_plan", "all_tied_weights_keys"),
        *("_keep_in_fp32_modules", "_keep_in_fp32_modules_strict"),
        *("_no_split_modules", "_skip_keys_device_placement"),
        *("_keys_to_ignore_on_load_unexpected", "_keys_to_ignore_on_load_missing"),
        *("_keys_to_ignore_on_save", "generation_config", "warnings_issued"),
        *("_checkpoint_conversion_mapping", "_loss_function"),
        "_weight_conversions",
    ),
    ANY,
)
_MODEL = {**_PRETRAINED, **dict.fromkeys(("pooler", "use_head", "layernorm"), ANY)}
_PARTS: dict[str, dict[str, Any]] = {
    # end of the class' name, after the family's: attributes
    "Embeddings": {
        **dict.fromkeys(("mask_token", "patch_size", "image_size", "config"), ANY),
        **dict.fromkeys(("embed_dim", "num_patches", "num_positions"), ANY),
        "position_embeddings": ANY,  # where there is one it is compared
    },
    "VisionEmbeddings": dict.fromkeys(
        (
            *("config", "embed_dim", "image_size", "patch_size"),
            *("num_patches", "num_positions"),
        ),
        ANY,
    )
    | {"position_ids": COUNT},
    "PatchEmbeddings": dict.fromkeys(
        ("num_patches", "image_size", "patch_size", "num_channels", "tubelet_size"),
        ANY,
    ),
    "TubeletEmbeddings": dict.fromkeys(
        ("num_patches", "image_size", "patch_size", "num_frames", "embed_dim"), ANY
    ),
    "Encoder": {**_PRETRAINED, "gradient_checkpointing": ANY},
    "Layer": dict.fromkeys(
        ("gradient_checkpointing", "chunk_size_feed_forward", "seq_len_dim"), ANY
    ),
    "EncoderLayer": {"gradient_checkpointing": ANY, "embed_dim": ANY},
    "Attention": {
        **dict.fromkeys(
            ("config", "num_attention_heads", "num_heads", "embed_dim"), ANY
        ),
        **dict.fromkeys(("head_dim", "scaling", "scale"), ANY),
        **dict.fromkeys(("attention_dropout", "dropout"), ANY),
        "is_causal": False,
    },
    "SelfAttention": {
        **dict.fromkeys(("config", "num_attention_heads", "attention_head_size"), ANY),
        **dict.fromkeys(("all_head_size", "dropout_prob", "scaling"), ANY),
        "is_causal": False,
    },
    "SelfOutput": {},
    "Intermediate": {},
    "Output": {},
    "MLP": {"config": ANY},
    "SwiGLUFFN": {},
    "LayerScale": {},
    "DropPath": {"drop_prob": ANY},
    "Pooler": {},
    "MultiheadAttentionPoolingHead": {},
}
_TANH = ("torch.nn.modules.activation.Tanh",)
_EMBEDDING = ("torch.nn.modules.sparse.Embedding",)
_NORMS = ("layernorm", "layer_norm", "layrnorm", "norm1", "norm2")


def read(walk: Walk, kind: str) -> Found:
    """What the modules of a model say, and its config."""
    folder = kind.removeprefix(_HOME).partition(".")[0]
    walk.take("", (kind,), _MODEL)
    facts = _Facts(walk, folder)
    for path in list(walk.modules)[1:]:
        facts.visit(path)
    config = ViTConfig.from_dialect("huggingface", _config(walk.root, kind))
    return Found(
        f"transformers' {kind.rpartition('.')[2]}",
        "huggingface",
        facts.fields(config),
        config,
    )


def _config(root: Any, kind: str) -> dict[str, Any]:
    """The model's config, that of a tower with the head's fields beside it."""
    given: dict[str, Any] = root.config.to_dict()
    vision = given.pop("vision_config", None)
    if vision is not None:
        beside = ("id2label", "label2id", "num_labels", "problem_type")
        given = {**vision, **{k: given[k] for k in beside if k in given}}
    labels = getattr(root.config, "num_labels", None)
    if "For" in kind and "id2label" not in given and labels is not None:
        given["num_labels"] = labels
    return {**given, "architectures": [kind.rpartition(".")[2]]}


class _Facts:
    """What the modules say, by path."""

    def __init__(self, walk: Walk, folder: str) -> None:
        self.walk = walk
        self.home = f"{_HOME}{folder}.modeling_{folder}.{_FAMILIES[folder]}"
        self.models = tuple(
            f"{_HOME}{folder}.modeling_{folder}.{name}" for name in _MODELS[folder]
        )
        self.eps: dict[str, float] = {}
        self.fc_eps: dict[str, float] = {}
        self.acts: dict[str, str] = {}
        self.heads: dict[str, int] = {}
        self.widths: dict[str, int] = {}
        self.drops: dict[str, dict[str, float]] = {"pos": {}, "proj": {}, "attn": {}}
        self.images: dict[str, tuple[int, ...]] = {}
        self.patch: tuple[int, ...] = ()
        self.tables: dict[str, Any] = {}

    def visit(self, path: str) -> None:
        """Takes one module, by what stands at its place in these models."""
        walk, leaf = self.walk, path.rpartition(".")[2]
        name = class_name(type(walk.modules[path]))
        if not walk.waits(path):
            return
        if name in self.models:
            walk.take(path, self.models, _MODEL)
        elif name.startswith(self.home) and name.removeprefix(self.home) in _PARTS:
            self._part(path, name)
        elif leaf in ("layers", "layer"):
            walk.take(path, LIST[:1], {})
        elif leaf.endswith("dropout"):
            where = "pos" if "embeddings" in path else "proj"
            self.drops[where] |= walk.dropout(path)
        elif leaf == "drop_path":
            walk.take(path, IDENTITY, {})
        elif leaf in ("activation_fn", "act_fn", "intermediate_act_fn"):
            self.acts |= walk.activation(path)
        elif path.endswith("pooler.activation"):
            walk.take(path, _TANH, {})
        elif leaf.endswith(_NORMS) or leaf in ("layernorm_before", "layernorm_after"):
            self.eps |= walk.norm(path, self._width())
        elif leaf == "fc_norm":
            self.fc_eps |= walk.norm(path, self._width())
        elif leaf in ("projection", "patch_embedding"):
            self.patch = walk.patches(path)
        elif leaf == "position_embedding":
            walk.take(path, _EMBEDDING, _TABLE)
        elif path.endswith("head.attention"):
            module = walk.take(path, ATTENTION)
            if module is not None:
                self.heads[path] = int(module.num_heads)
                if module.dropout:
                    walk.issue(f"{path}.dropout", f"{module.dropout}", "0.0")
        else:
            walk.linear(path)

    def _part(self, path: str, name: str) -> None:
        walk, end = self.walk, name.removeprefix(self.home)
        module = walk.take(path, (name,), _PARTS[end])
        if hasattr(module, "image_size"):
            self.images[path] = _sides(module.image_size)
        if end == "DropPath" and module.drop_prob:
            walk.issue(f"{path}.drop_prob", f"{module.drop_prob}", "0: see the schema")
        if "position_embeddings" in vars(module):  # computed, no parameter
            self.tables[f"{path}.position_embeddings"] = module.position_embeddings
        if end.endswith("Attention") and "is_causal" in vars(module):
            heads = getattr(module, "num_attention_heads", None)
            self.heads[path] = int(module.num_heads if heads is None else heads)
            width = int(_first(module, "head_dim", "attention_head_size"))
            self.widths[path] = width
            walk.scale(f"{path}.scale", _first(module, "scaling", "scale"), width)
            rate = _first(module, "attention_dropout", "dropout", "dropout_prob")
            self.drops["attn"][path] = float(rate)
            self._attend(path, module)

    def _attend(self, path: str, module: Any) -> None:
        """What computes attention is chosen by name, and anybody may register more."""
        name = getattr(module.config, "_attn_implementation", None) or "eager"
        home: Any = sys.modules[type(module).__module__]
        function = getattr(home, "eager_attention_forward", None)
        if name != "eager":
            function = home.ALL_ATTENTION_FUNCTIONS.get(name)
        origin = str(getattr(function, "__module__", None))
        if not origin.startswith("transformers."):
            text = f"attention {name!r}, of {origin}"
            self.walk.issue(f"{path}.config", text, "transformers' own")

    def _width(self) -> int:
        for path, module in self.walk.modules.items():
            if path.endswith(("projection", "patch_embedding")):
                return int(module.weight.shape[0])
        return 0

    def fields(self, config: ViTConfig) -> Mapping[str, Any]:
        """Fields of the config that the modules say."""
        walk = self.walk
        rates = {name: walk.agree(found, 0.0) for name, found in self.drops.items()}
        image = walk.agree(self.images, config.img_size[-2:])
        fields: dict[str, Any] = {
            "norm_eps": walk.agree(self.eps, config.norm_eps),
            "act_layer": walk.agree(self.acts, config.act_layer),
            "num_heads": walk.agree(self.heads, config.num_heads),
            "patch_size": self.patch or config.patch_size,
            "img_size": (*config.img_size[:-2], *(image * 2)[:2]),
            "pos_drop_rate": rates["pos"],
            "attn_drop_rate": rates["attn"],
        }
        if self.fc_eps:
            fields["fc_norm_eps"] = walk.agree(self.fc_eps)
        for path, table in self.tables.items():
            if not np.array_equal(table.detach().cpu().float(), videomae(config)):
                walk.issue(path, "other values", "the table that VideoMAE computes")
        if self.drops["proj"]:
            fields["proj_drop_rate"] = rates["proj"]
        width = walk.agree(self.widths, 0)
        if width * fields["num_heads"] != config.attn_dim:
            fields["head_dim"] = width
        return fields


_TABLE = {
    **dict.fromkeys(("num_embeddings", "embedding_dim", "norm_type"), ANY),
    **dict.fromkeys(("scale_grad_by_freq", "sparse"), ANY),
    "padding_idx": None,
    "max_norm": None,
}


def _first(module: Any, *names: str) -> Any:
    """The first attribute that a module has: the models name them differently."""
    return next(getattr(module, name) for name in names if hasattr(module, name))


def _sides(size: Any) -> tuple[int, ...]:
    return (int(size),) * 2 if isinstance(size, int) else tuple(int(n) for n in size)


ROOTS = {
    f"{_HOME}{folder}.modeling_{folder}.{name}": read
    for folder, names in _MODELS.items()
    for name in names
}
