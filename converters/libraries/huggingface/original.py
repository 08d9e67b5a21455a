"""Vision Transformers of transformers (5.23)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converters.errors import ConversionError
from converters.files import FOLDER_CONFIG, FOLDER_WEIGHTS
from converters.files.json_file import read_json
from converters.libraries.huggingface.config_models import MODELS
from converters.parity.source_model import Raw, SourceModel, as_float, load_strictly
from converters.workers.device import UnavailableError
from vit_config import ConfigError, ViTConfig

_ENCODERS = {
    # of a model for pre-training, the class that is the encoder alone
    "ViTMAEForPreTraining": "ViTMAEModel",
    "VideoMAEForPreTraining": "VideoMAEModel",
    "ViTForMaskedImageModeling": "ViTModel",
    "DeiTForMaskedImageModeling": "DeiTModel",
}
_KNOWN = {name for model in MODELS.values() for name in model.outputs}
_HEADED = {
    name
    for model in MODELS.values()
    for name, output in model.outputs.items()
    if "classes" in output
}
_WHOLE = ("CLIPModel", "SiglipModel")
_FRAMES_FIRST = ("VideoMAE", "Vivit")
_HEADS = ("classifier", "visual_projection")


def load(raw: Raw) -> SourceModel:
    """The model of a folder, or of a file with a config made for it."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if int(transformers.__version__.partition(".")[0]) < 5:
        raise UnavailableError(
            f"transformers {transformers.__version__}; 5.0 or newer is needed"
        )
    folder = raw.path if raw.made.get("folder") else None
    fields = read_json(folder / FOLDER_CONFIG) if folder else _fields(raw)
    cls = _class(transformers, fields, raw)
    if raw.variant.endswith("+memory"):
        module = cls(cls.config_class(**fields))
        load_strictly(module, raw)
    else:
        module = _loaded(cls, folder or _written(fields, raw), raw)
    return outputs_of(module.eval(), raw.config)


def outputs_of(module: Any, config: ViTConfig) -> SourceModel:
    """The field of the result that is ours."""
    name = type(module).__name__
    wanted = _result(config)

    def call(x: Any) -> Any:
        import torch

        more = {}
        if name == "ViTMAEModel":  # it shuffles patches by this, masked or not
            order = torch.arange(config.num_patches, device=x.device)
            more["noise"] = order.expand(len(x), -1)
        if name.startswith(_FRAMES_FIRST):
            x = x.transpose(1, 2)
        if name in _WHOLE:
            given = module.get_image_features(pixel_values=x)
            return getattr(given, "pooler_output", given)  # 5.0 gave it alone
        result = module(pixel_values=x, **more)
        return next(result[key] for key in wanted if result.get(key) is not None)

    if name == "ViTMAEModel":
        module.config.mask_ratio = 0.0
    return SourceModel(module, config, call, _tokens(module), _head(module))


def _result(config: ViTConfig) -> tuple[str, ...]:
    if config.num_classes:
        return "logits", "image_embeds"
    return ("last_hidden_state" if config.global_pool == "none" else "pooler_output",)


def _tokens(module: Any) -> str:
    """The norm of all tokens; CLIP's is of the pooled vector alone."""
    ends = ["layernorm"]
    if type(module).__name__.startswith("Siglip"):
        ends = ["post_layernorm"]
    found = [n for n, _ in module.named_modules() if n.rpartition(".")[2] in ends]
    return found[0] if len(found) == 1 and found[0].count(".") < 2 else ""


def _head(module: Any) -> str:
    return next((name for name in _HEADS if hasattr(module, name)), "")


def _class(transformers: Any, fields: Mapping[str, Any], raw: Raw) -> Any:
    """The class that config.json names, or where it fits no such file the file's."""
    names = fields.get("architectures") or []
    name = names[0] if len(names) == 1 else ""
    if not names or (
        name in _KNOWN and (name in _HEADED) != bool(raw.config.num_classes)
    ):
        (name,) = names = _made_fields(raw)["architectures"]
    if name not in _KNOWN:
        raise UnavailableError(f"config.json names no model class that is run: {names}")
    return getattr(transformers, _ENCODERS.get(name, name))


def _fields(raw: Raw) -> dict[str, Any]:
    """The `config.json` for a file that has none beside it."""
    given = raw.made.get("fields")
    return dict(given) if given is not None else _made_fields(raw)


def _made_fields(raw: Raw) -> dict[str, Any]:
    """The `config.json` that would be written for a file."""
    from converters.conversion.folders import json_files

    variant = raw.reader.match.variant
    problems = list(variant.holds(raw.config))
    if problems:
        raise UnavailableError(problems[0])
    try:
        return json_files(raw.config, variant)[FOLDER_CONFIG]
    except (ConfigError, ConversionError) as error:
        line = str(error).strip().splitlines()[0]
        raise UnavailableError(
            f"no config.json lies beside the weights, and none can be made: {line}"
        ) from None


def _written(fields: Mapping[str, Any], raw: Raw) -> Path:
    """A folder with the file's own tensors, which transformers itself renames."""
    from safetensors.numpy import save_file

    folder = raw.folder / "transformers"
    folder.mkdir()
    (folder / FOLDER_CONFIG).write_text(json.dumps(dict(fields)), encoding="utf-8")
    tensors = {name: as_float(array) for name, array in raw.tensors.items()}
    save_file(tensors, folder / FOLDER_WEIGHTS, {"format": "pt"})
    return folder


def _loaded(cls: Any, folder: Path, raw: Raw) -> Any:
    import torch

    module, info = cls.from_pretrained(
        folder,
        dtype=torch.float32,
        local_files_only=True,
        output_loading_info=True,
    )
    missing = set(info["missing_keys"])
    problems = [
        *(f"{name} is missing" for name in sorted(missing - raw.unread)),
        *(
            f"{n} is left over"
            for n in sorted({*info["unexpected_keys"]} - raw.left_out)
        ),
        *(
            f"{name} has another shape"
            for name in sorted(map(str, info["mismatched_keys"]))
        ),
    ]
    if problems:
        raise UnavailableError(f"transformers does not load it whole: {problems[0]}")
    own = module.state_dict()
    with torch.no_grad():
        for name in missing:
            own[name].fill_(float("nan"))
    return module
