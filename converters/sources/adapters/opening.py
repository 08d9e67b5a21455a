"""Opens a PEFT adapter: alone in a folder, or with its base in one file."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from converters.errors import ConversionError, Issue, printable, refusal
from converters.sources.adapters.lora_config import (
    MERGE_IT,
    NAME,
    LoraConfig,
    read_config,
)
from converters.sources.adapters.lora_state import LoraState, read_state
from converters.sources.adapters.merged import MergedFile, Tensors
from converters.sources.adapters.names import fitted
from converters.wording import options

WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_HEADS = ("ForImageClassification",)
_HEAD_WEIGHTS = ("classifier.weight", "head.weight")
_LABELS = ("id2label", "label2id", "label_names", "label_descriptions")
_NO_POOLER = "pooler, which {} does not have"


def weights_of(folder: Path) -> Path:
    """The file of weights of an adapter's folder."""
    return next(folder / name for name in WEIGHTS if (folder / name).is_file())


def is_adapter(path: Path) -> bool:
    """Whether a path is the folder of an adapter, or its file of weights."""
    if path.is_dir():
        there = any((path / name).is_file() for name in WEIGHTS)
        return there and (path / NAME).is_file()
    return path.name in WEIGHTS and (path.parent / NAME).is_file()


def config_beside(path: Path) -> LoraConfig:
    """How the adapter in a file was trained.

    Raises:
        ConversionError: If it does not say so, or says another kind than LoRA.
    """
    config = path.parent / NAME
    if config.is_file():
        return read_config(config)
    raise refusal(
        f"LoRA of PEFT that is not merged, and no {NAME} beside it: the file does not "
        "say lora_alpha",
        file=path,
        hint=f"Put the {NAME} there that peft's save_pretrained writes. Or merge it: "
        "model = model.merge_and_unload(); torch.save(model.state_dict(), path).",
    )


def without_base(folder: Path, config: LoraConfig) -> ConversionError:
    """Refuses an adapter alone, with the option that names its base."""
    base = config.base
    if not base:
        said, given = f"{NAME} does not name it", "BASE"
    else:
        said, given = f'{NAME} calls it "{printable(base)}"', base
        if not Path(base).exists() and _HUB_ID.fullmatch(base):
            given = f"hf://{base}" + (f"@{config.revision}" if config.revision else "")
    return refusal(
        f"a PEFT adapter without its base, the model it was trained on; {said}",
        file=folder,
        hint=f"Give the base, a file, a folder or hf://org/name: {options(base=given)}",
        kind="config",
    )


def merged_alone(raw: Tensors) -> MergedFile:
    """A file that has the base and its adapter in one.

    Raises:
        ConversionError: If they cannot be merged.
    """
    state = read_state(raw.tensors, raw.path)
    if not state.base:
        raise refusal(
            "an adapter of PEFT alone",
            file=raw.path,
            hint=f"Give its folder, with {NAME} in it, and its base.",
        )
    config = config_beside(raw.path)
    return MergedFile(raw, raw, state, config, state.base, state.dropped)


def read_adapter(folder: Path, raw: Tensors) -> tuple[LoraConfig, LoraState]:
    """An adapter that is without its base.

    Raises:
        ConversionError: If it cannot be merged.
    """
    state = read_state(raw.tensors, raw.path)
    if state.base:
        raise refusal("it holds the base, too: give the file itself", file=raw.path)
    return read_config(folder / NAME), state


def merged_into(
    base: Tensors, adapter: Tensors, config: LoraConfig, state: LoraState
) -> MergedFile:
    """An adapter merged into its base.

    Raises:
        ConversionError: If the base has not the layers that the adapter updates.
    """
    wanted = [f"{module}.weight" for module in state.updates]
    names = fitted(base.tensors, wanted)
    if names is None:
        raise _other_base(base, adapter, wanted)
    dropped: dict[str, str] = {}
    if config.model.endswith(_HEADS):
        reason = _NO_POOLER.format(config.model)
        dropped = {
            place: reason
            for name, place in names.items()
            if ".pooler." in f".{name}" and name not in wanted
        }
        names = {n: place for n, place in names.items() if place not in dropped}
    return MergedFile(base, adapter, state, config, names, dropped)


def _other_base(
    base: Tensors, adapter: Tensors, wanted: Collection[str]
) -> ConversionError:
    """Says which of the layers are not in the base."""
    issues = [
        Issue("missing", name, f"not in the base {base.path.name}")
        for name in wanted
        if name not in base.tensors
    ]
    if any(n.endswith(".in_proj_weight") for n in base.tensors) and any(
        f"{name.removesuffix('weight')}in_proj_weight" in base.tensors
        for name in wanted
    ):
        hint = (
            "LoRA on nn.MultiheadAttention, whose output projection peft 0.21 updates "
            f"twice, is not merged here. {MERGE_IT}"
        )
    else:
        hint = f"Give the model that it was trained on. {MERGE_IT}"
    return ConversionError(issues, file=adapter.path, hint=hint)


def trained_head(
    state: LoraState, adapter: Tensors
) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """How the config of a base's folder reads for the model with the adapter's head.

    Returns:
        Makes of the base's `config.json` that of the trained model: with the classes
        of the head that was trained, and without labels of another number.
    """
    rows = [
        adapter.tensors[place].shape[0]
        for name, place in state.whole.items()
        if name.endswith(_HEAD_WEIGHTS) and adapter.tensors[place].shape
    ]

    def edit(fields: Mapping[str, Any]) -> Mapping[str, Any]:
        found = dict(fields)
        if len(rows) != 1:
            return found
        for name in _LABELS:
            labels = found.get(name)
            if isinstance(labels, dict | list) and len(labels) != rows[0]:
                del found[name]
        if "architecture" in found:
            found["num_classes"] = rows[0]
        elif "id2label" not in found:
            found["num_labels"] = rows[0]
        return found

    return edit
