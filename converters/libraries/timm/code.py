"""What a config.json of timm cannot say: MLP and layer scale that its code adds.

A folder on the hub is loaded with arguments beside it, `mlp_layer=SwiGLUPacked`,
`act_layer=torch.nn.SiLU`, `init_values=1e-5`; the first two are classes, which JSON
does not hold. Layer scale and gate are in the tensors. The gate's activation is not,
and is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.errors import ConversionError, Issue
from converters.libraries.recognise import Match
from converters.sources.request import Asked
from converters.wording import options, setting
from vit_config import ViTConfig
from vit_config.presets import preset_names

_TENSORS = (
    *("embed_dim", "depth", "mlp_dim", "mlp_layer", "patch_size", "class_token"),
    *("reg_tokens", "num_classes"),
)


def made_in_code(
    config: ViTConfig, match: Match, says: Mapping[str, Any], asked: Asked, file: Any
) -> tuple[ViTConfig, tuple[str, ...]]:
    """The config of a timm folder, with what its tensors show beyond it, and remarks.

    Args:
        config: As config.json has it.
        match: Dialect and variant of the tensors.
        says: What they say.
        asked: What the caller says.
        file: For messages.

    Raises:
        ConversionError: If there is a gate whose activation nobody states.
        ConfigError: If the activation is another than the schema's gate has.
    """
    remarks = []
    if config.init_values is None and says.get("init_values") is not None:
        config = config.replace(init_values=says["init_values"])
        remarks.append("config.json says no layer scale, the tensors have one")
    # timm's ratio is that of gate and value together where they are packed.
    parts = 1 if match.variant.name == "timm@swiglu" else 2
    gated = says.get("mlp_layer") == "swiglu" and config.mlp_layer != "swiglu"
    wide = config.mlp_dim == parts * says["mlp_dim"]
    if not gated or not wide or "mlp_layer" in asked.changes:
        return config, tuple(remarks)
    act = asked.changes.get("act_layer", config.act_layer)
    if act != "silu" and "act_layer" not in asked.changes:
        raise _no_activation(says, file)
    fields = {"mlp_layer": "swiglu", "mlp_dim": says["mlp_dim"], "act_layer": act}
    remarks.append("config.json cannot say a gated MLP, the tensors have one (SwiGLU)")
    return config.replace(**fields), tuple(remarks)


def _no_activation(says: Mapping[str, Any], file: Any) -> ConversionError:
    """All that is to be stated, in one line."""
    text = (
        "the tensors have a gated MLP (SwiGLU); its activation is a class in the code "
        "that makes the model, and in no file"
    )
    issue = Issue("config", "act_layer", text)
    hint = (
        f"{setting(act_layer='silu')} if that code has act_layer=torch.nn.SiLU; "
        "without an act_layer timm takes GELU, and such a gate cannot be converted."
    )
    fits = [options(preset=name) for name in _presets(says)]
    if fits:
        hint += f" Models with these tensors: {', '.join(fits)}."
    return ConversionError([issue], file=file, hint=hint)


def _presets(says: Mapping[str, Any]) -> list[str]:
    found = []
    for name in preset_names():
        preset = ViTConfig.preset(name)
        if all(getattr(preset, f) == says[f] for f in _TENSORS if f in says):
            found.append(name)
    return found
