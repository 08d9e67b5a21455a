"""How a transformers model is made, filled and saved, in transformers 5 or 4.

The maps are those of `state_dict_maps`, in the names that 5 has in memory.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from make_goldens import CLASSES, DINOV2_BASE, HF_BASE, Part
from state_dict_base import Made, Map, Model, config_of, fill_model, in_memory
from state_dict_maps import clip_map, dinov2_map, siglip_map, videomae_map, vit_map


def make_hf(model: Model) -> Made:
    import transformers
    from safetensors.numpy import load_file

    transformers.logging.set_verbosity_error()
    cls = getattr(transformers, model.builder)
    old = transformers.__version__.startswith("4.")
    arguments = dict(model.arguments)
    if old and "qv_bias" in arguments:
        arguments["qkv_bias"] = arguments.pop("qv_bias")
    library = cls(cls.config_class(**arguments))
    with tempfile.TemporaryDirectory() as folder:
        library.save_pretrained(folder)
        written = json.loads((Path(folder) / "config.json").read_text())
    if "vision_config" in written:
        labels = {"id2label": {str(i): str(i) for i in range(CLASSES)}}
        kept = {"architectures": written["architectures"], **labels}
        written = {**written["vision_config"], **kept}
    for name in ("transformers_version", "dtype", "torch_dtype"):
        written.pop(name, None)
    if written["model_type"] == "videomae" and "qkv_bias" in written:
        written["qv_bias"] = written.pop("qkv_bias")  # as transformers 5 reads it
    config = config_of("huggingface", written, model.changes)
    weight_map = model.weight_map(config)
    if old:
        weight_map = named_by_4(weight_map, model.builder)
    unread = fill_model(library, weight_map, config)
    with tempfile.TemporaryDirectory() as folder:
        library.save_pretrained(folder)
        saved = load_file(Path(folder) / "model.safetensors")
    generations = {"saved": saved}
    if not old:
        generations["memory"] = in_memory(library)
    described = {"dialect": "huggingface", "given": written, "set": model.changes}
    return generations, described, unread


_NAMES_4 = (
    ("layers.", "encoder.layer."),
    (".attention.q_proj.", ".attention.attention.query."),
    (".attention.k_proj.", ".attention.attention.key."),
    (".attention.v_proj.", ".attention.attention.value."),
    (".attention.o_proj.", ".attention.output.dense."),
    (".mlp.fc1.", ".intermediate.dense."),
    (".mlp.fc2.", ".output.dense."),
)


def named_by_4(weight_map: Map, builder: str) -> Map:
    """The same map with the names that transformers 4 has in memory."""
    renamed: Map = {}
    for now, part in weight_map.items():
        name = now
        if "CLIP" in builder or "Siglip" in builder:
            if not name.startswith(("vision_model.", "visual_projection", "class")):
                name = f"vision_model.{name}"
        elif "VideoMAE" in builder:
            for letter, word in (("q", "query"), ("v", "value")):
                name = name.replace(f".{word}.bias", f".{letter}_bias")
        elif "Dinov2" in builder:
            if ".up_proj." in name:
                continue
            if ".gate_proj." in name:
                name = name.replace("gate_proj", "weights_in")
                renamed[name] = Part(part.name)  # gate and up in one
                continue
            name = name.replace("down_proj", "weights_out")
            for theirs, old in _NAMES_4[1:5]:
                name = name.replace(theirs, old)
        else:
            for theirs, old in _NAMES_4:
                name = name.replace(theirs, old)
        renamed[name] = part
    return renamed


def hf(
    builder: str,
    arguments: dict[str, Any],
    weight_map: Callable[..., Map],
    name: str = "",
    changes: dict[str, Any] | None = None,
    **rest: Any,
) -> Model:
    return Model(
        name or builder,
        builder,
        arguments,
        lambda config: weight_map(config, **rest),
        make_hf,
        changes or {},
    )


_LABELS = {"num_labels": CLASSES}
_VIT = {**HF_BASE, **_LABELS}
_SQUARE = {**_VIT, "image_size": 32, "patch_size": 8}
_DECODER = {
    "decoder_hidden_size": 12,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 8,
}
_CLIP = {**HF_BASE, "image_size": 24, "patch_size": 8}
_SIGLIP = {**HF_BASE, "image_size": 32, "patch_size": 8}
_VIDEO = {**_VIT, "image_size": 32, "num_frames": 8, "tubelet_size": 4}
_VIVIT = {
    **{k: v for k, v in _VIT.items() if k != "patch_size"},
    "image_size": 32,
    "num_frames": 8,
    "tubelet_size": [4, 8, 16],
}
_TEXT = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "vocab_size": 9,
}
_REGISTERS = {**DINOV2_BASE, "num_register_tokens": 2}

HF_MODELS = [
    hf("ViTModel", {**_VIT, "num_channels": 1, "qkv_bias": False}, vit_map),
    hf(
        "ViTModel",
        {**_VIT, "pooler_output_size": 20},
        vit_map,
        "ViTModel-pooled",
        {"global_pool": "token", "representation_size": 20},
    ),
    hf("ViTForImageClassification", _VIT, vit_map, prefix="vit."),
    hf(
        "ViTForMaskedImageModeling",
        {**_VIT, "patch_size": 16, "image_size": 32, "encoder_stride": 16},
        vit_map,
        prefix="vit.",
    ),
    hf("DeiTModel", _VIT, vit_map),
    hf("DeiTForImageClassification", _VIT, vit_map, prefix="deit."),
    hf(
        "DeiTForImageClassificationWithTeacher",
        _VIT,
        vit_map,
        prefix="deit.",
        head="cls_classifier",
    ),
    hf("ViTMAEModel", _SQUARE, vit_map),
    hf("ViTMAEForPreTraining", {**_SQUARE, **_DECODER}, vit_map, prefix="vit."),
    hf("ViTMSNModel", _VIT, vit_map),
    hf("ViTMSNForImageClassification", _VIT, vit_map, prefix="vit."),
    hf("IJepaModel", _VIT, vit_map),
    hf("IJepaForImageClassification", _VIT, vit_map, prefix="ijepa."),
    hf("VivitModel", _VIVIT, vit_map),
    hf("VivitForVideoClassification", _VIVIT, vit_map, prefix="vivit."),
    hf("Dinov2Model", {**DINOV2_BASE, "mlp_ratio": 2, "qkv_bias": False}, dinov2_map),
    hf(
        "Dinov2ForImageClassification",
        {**DINOV2_BASE, "mlp_ratio": 2},
        dinov2_map,
        prefix="dinov2.",
    ),
    hf(
        "Dinov2ForImageClassification",
        {**DINOV2_BASE, "use_swiglu_ffn": True},
        dinov2_map,
        "Dinov2ForImageClassification-swiglu",
        prefix="dinov2.",
    ),
    hf("Dinov2WithRegistersModel", _REGISTERS, dinov2_map),
    hf(
        "Dinov2WithRegistersForImageClassification",
        {**_REGISTERS, "use_swiglu_ffn": True},
        dinov2_map,
        prefix="dinov2_with_registers.",
    ),
    hf("CLIPVisionModel", _CLIP, clip_map),
    hf(
        "CLIPVisionModelWithProjection",
        {**_CLIP, "projection_dim": 5},
        clip_map,
        prefix="vision_model.",
        head="visual_projection",
    ),
    hf(
        "CLIPForImageClassification",
        {"vision_config": _CLIP, "text_config": _TEXT, **_LABELS},
        clip_map,
        prefix="vision_model.",
        head="classifier",
    ),
    hf("SiglipVisionModel", _SIGLIP, siglip_map),
    hf(
        "SiglipVisionModel",
        {**_SIGLIP, "vision_use_head": False},
        siglip_map,
        "SiglipVisionModel-tokens",
    ),
    hf(
        "SiglipForImageClassification",
        {"vision_config": _SIGLIP, "text_config": _TEXT, **_LABELS},
        siglip_map,
        prefix="vision_model.",
    ),
    hf("VideoMAEModel", _VIDEO, videomae_map, prefix=""),
    hf(
        "VideoMAEModel",
        {**_VIDEO, "use_mean_pooling": False, "qv_bias": False},
        videomae_map,
        "VideoMAEModel-norm",
        prefix="",
    ),
    hf("VideoMAEForVideoClassification", _VIDEO, videomae_map),
    hf(
        "VideoMAEForPreTraining",
        {**_VIDEO, **_DECODER, "patch_size": 16},
        videomae_map,
    ),
]
