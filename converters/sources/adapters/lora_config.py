"""The `adapter_config.json` of PEFT: every field counts, is idle, or is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.errors import ConversionError, Issue, printable
from converters.files.json_file import read_json

NAME = "adapter_config.json"

MERGE_IT = (
    "Merge it with the peft that trained it: model = model.merge_and_unload(); "
    "torch.save(model.state_dict(), path)."
)

_PATCHED = "it changes the base model's own weights before the training"
_OFF = {
    # field: what it does where it is set
    "alora_invocation_tokens": "the adapter acts on some tokens only",
    "arrow_config": "several adapters are mixed for every token",
    "kasa_config": "another update than LoRA's",
    "layer_replication": "the model has more blocks than its base",
    "megatron_config": "the layers are Megatron's",
    "monteclora_config": "another update than LoRA's",
    "target_parameters": "parameters that are no layer's weight are trained",
    "trainable_token_indices": "rows of a table of tokens are trained",
    "use_bdlora": "another update than LoRA's",
    "use_qalora": "another update than LoRA's",
}
_IDLE = frozenset(
    # which layers are trained, how they were started, and where the base came from:
    # the tensors show the former, and the merged weights do not depend on the rest
    {
        *(
            "auto_mapping",
            "base_model_name_or_path",
            "corda_config",
            "ensure_weight_tying",
        ),
        *("eva_config", "exclude_modules", "inference_mode", "layers_pattern"),
        *("layers_to_transform", "loftq_config", "lora_dropout", "lora_ga_config"),
        *("megatron_core", "peft_version", "qalora_group_size", "revision"),
        *("runtime_config", "target_modules", "task_type", "velora_config"),
        "fan_in_fan_out",  # of GPT-2's Conv1D; peft takes it for False at a Linear
    }
)
_STARTS = ("gaussian", "eva", "orthogonal")


@dataclass(frozen=True)
class LoraConfig:
    """What merging needs to know.

    Attributes:
        path: The file.
        rank: Rank of the updates, where `ranks` has no other.
        alpha: Their scale, likewise.
        ranks: Other ranks by patterns of module names.
        alphas: Other scales, likewise.
        root: Whether the scale is divided by the root of the rank (rsLoRA).
        dora: Whether every row's length is a weight of its own (DoRA).
        bias: Which of the base's biases were trained: `"none"`, `"all"`, `"lora_only"`.
        saved: Modules that were trained as a whole.
        targets: Ends of the names of the layers with an update; none if a pattern, or
            nothing, says which.
        base: What the config calls the base.
        revision: Of the base.
        model: Class of the base in transformers, or an empty text.
    """

    path: Path
    rank: int
    alpha: float
    ranks: Mapping[str, int] = field(default_factory=dict)
    alphas: Mapping[str, float] = field(default_factory=dict)
    root: bool = False
    dora: bool = False
    bias: str = "none"
    saved: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    base: str = ""
    revision: str = ""
    model: str = ""

    def rank_of(self, module: str) -> int:
        """Rank of a module's update."""
        return int(_matching(self.ranks, module, self.rank))

    def alpha_of(self, module: str) -> float:
        """Scale of a module's update."""
        return float(_matching(self.alphas, module, self.alpha))

    def is_target(self, module: str) -> bool:
        """Whether a module may have an update."""
        return not self.targets or f".{module}".endswith(
            tuple(f".{end}" for end in self.targets)
        )

    def scaling(self, module: str) -> float:
        """What a module's update is multiplied by."""
        rank = self.rank_of(module)
        return self.alpha_of(module) / (math.sqrt(rank) if self.root else rank)


def _matching(patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    """The value of the first pattern that fits, as peft's `get_pattern_key` does."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def read_config(path: Path) -> LoraConfig:
    """Reads an `adapter_config.json`.

    Raises:
        ConversionError: With every field that says another adapter than LoRA, or
            that is not known.
        ConfigError: If it is no JSON object.
    """
    fields = read_json(path)
    issues = list(_issues(fields))
    if issues:
        raise ConversionError(issues, file=path, hint=MERGE_IT)
    return LoraConfig(
        path=path,
        rank=fields["r"],
        alpha=fields["lora_alpha"],
        ranks=fields.get("rank_pattern") or {},
        alphas=fields.get("alpha_pattern") or {},
        root=bool(fields.get("use_rslora")),
        dora=bool(fields.get("use_dora")),
        bias=fields.get("bias") or "none",
        saved=tuple(fields.get("modules_to_save") or ()),
        targets=_ends(fields.get("target_modules")),
        base=_text(fields.get("base_model_name_or_path")),
        revision=_text(fields.get("revision")),
        model=_class(fields.get("auto_mapping")),
    )


def _ends(targets: Any) -> tuple[str, ...]:
    return tuple(targets) if _texts(targets) else ()


def _class(mapping: Any) -> str:
    """The class of the base in transformers, if it is one of these."""
    if not isinstance(mapping, dict):
        return ""
    library = _text(mapping.get("parent_library"))
    ours = library.startswith("transformers.")
    return _text(mapping.get("base_model_class")) if ours else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _issues(fields: Mapping[str, Any]) -> Iterator[Issue]:
    """What stands against merging, one issue a field."""
    kind = fields.get("peft_type")
    if kind != "LORA":
        yield Issue("config", "peft_type", printable(repr(kind)), "'LORA'")
        return
    for name, parse in _PARSED.items():
        value = fields.get(name)
        if value is None and name not in ("r", "lora_alpha"):
            continue
        if not parse(value):
            yield Issue("config", name, printable(repr(value)), _EXPECTED[name])
    start = fields.get("init_lora_weights", True)
    if not isinstance(start, bool) and start not in _STARTS:
        text = f"{printable(repr(start))}: {_PATCHED}"
        known = ", ".join(map(repr, (True, False, *_STARTS)))
        yield Issue("config", "init_lora_weights", text, known)
    for name, value in fields.items():
        if not value or name in _IDLE or name in _PARSED:
            continue
        if name in _OFF:
            yield Issue("config", name, f"{printable(repr(value), 60)}: {_OFF[name]}")
        elif name not in ("peft_type", "init_lora_weights"):
            yield Issue("config", name, f"{printable(repr(value), 60)}: not known")


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _patterns(value: Any, parse: Any) -> bool:
    if not isinstance(value, dict):
        return False
    for pattern, item in value.items():
        try:
            re.compile(pattern)
        except re.error:
            return False
        if not parse(item):
            return False
    return True


_PARSED: dict[str, Any] = {
    "r": _count,
    "lora_alpha": _number,
    "rank_pattern": lambda value: _patterns(value, _count),
    "alpha_pattern": lambda value: _patterns(value, _number),
    "use_rslora": _flag,
    "use_dora": _flag,
    "lora_bias": _flag,
    "bias": lambda value: value in ("none", "all", "lora_only"),
    "modules_to_save": _texts,
}
_EXPECTED = {
    "r": "an integer of at least 1",
    "lora_alpha": "a number",
    "rank_pattern": "patterns of names with an integer each",
    "alpha_pattern": "patterns of names with a number each",
    "use_rslora": "true or false",
    "use_dora": "true or false",
    "lora_bias": "true or false",
    "bias": "'none', 'all' or 'lora_only'",
    "modules_to_save": "a list of names",
}
