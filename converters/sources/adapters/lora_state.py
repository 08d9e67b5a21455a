"""The tensors of a LoRA adapter, by what they are to the model it was trained on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from converters.errors import ConversionError, Issue, printable, refusal
from converters.sources.adapters.lora_config import MERGE_IT

PREFIX = "base_model.model."
"""What peft puts before the names of the model that it wraps."""

_WRAPPED, _SAVED, _ORIGINAL = "base_layer", "modules_to_save", "original_module"
_DOWN, _UP, _MAGNITUDE = "lora_A", "lora_B", "lora_magnitude_vector"
_PARTS = (_DOWN, _UP, _MAGNITUDE)
_OTHERS = {
    # part of a name: what has it
    "lora_embedding_A": "LoRA on an embedding",
    "lora_embedding_B": "LoRA on an embedding",
    "lora_E": "AdaLoRA",
    "lora_S": "KaSA",
    "ranknum": "AdaLoRA",
    "token_adapter": "trained tokens",
    "trainable_tokens_delta": "trained tokens",
    "hada_w1_a": "LoHa",
    "lokr_w1": "LoKr",
    "lokr_w1_a": "LoKr",
    "ia3_l": "IA3",
    "oft_R": "OFT",
    "boft_R": "BOFT",
    "vera_lambda_b": "VeRA",
}


@dataclass(frozen=True)
class Update:
    """The update of one layer, by the names that its tensors have in the file.

    Attributes:
        down: `lora_A`, from the layer's input to the rank.
        up: `lora_B`, from there to its output.
        bias: That of `lora_B`, or an empty text.
        magnitude: Of DoRA, or an empty text.
    """

    down: str = ""
    up: str = ""
    bias: str = ""
    magnitude: str = ""


@dataclass(frozen=True)
class LoraState:
    """What a file of an adapter holds; modules have the names of the wrapped model.

    Attributes:
        updates: By module.
        whole: Names of tensors in the file that replace one of the base, by its name.
        base: Names of the base's own tensors in the file, by their names in the base;
            empty if the file is the adapter alone.
        dropped: Tensors of the file that count no more, each with the reason.
    """

    updates: Mapping[str, Update]
    whole: Mapping[str, str]
    base: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)


def is_peft(names: Collection[str]) -> bool:
    """Whether a file has tensors of a PEFT adapter."""
    return any(not _MARKS.isdisjoint(name.split(".")) for name in names)


_MARKS = frozenset({*_PARTS, *_OTHERS, _WRAPPED}) - {"ranknum"}


def read_state(names: Collection[str], path: Path) -> LoraState:
    """Sorts the names of a file.

    Args:
        names: All of them.
        path: The file, for messages.

    Raises:
        ConversionError: If they are those of another adapter than LoRA, or of several.
    """
    issues = list(_strange(names))
    if issues:
        raise ConversionError(issues, file=path, hint=MERGE_IT)
    adapters: set[str] = set()
    updates: dict[str, Update] = {}
    whole: dict[str, str] = {}
    plain: dict[str, str] = {}
    dropped: dict[str, str] = {}
    wrapped = [name for name in names if f".{_WRAPPED}.weight" in name]
    for name in sorted(names):
        parts = name.split(".")
        part = next((p for p in parts if p in (*_PARTS, _SAVED)), None)
        if _ORIGINAL in parts:
            dropped[name] = f"the base's own, which {_SAVED} replaces"
        elif part is None:
            plain[_unwrapped(name)] = name
        else:
            place = parts.index(part)
            module = _unwrapped(".".join(parts[:place]))
            *adapter, leaf = parts[place + 1 :] or ["weight"]
            adapters.update(adapter)
            if part == _SAVED:
                whole[f"{module}.{leaf}"] = name
            else:
                update = updates.get(module, Update())
                updates[module] = _with(update, part, leaf, name, path)
    if len(adapters) > 1:
        listed = ", ".join(printable(name) for name in sorted(adapters))
        raise refusal(
            f"it holds several adapters ({listed}), and not which one is in use",
            file=path,
            hint=MERGE_IT,
        )
    _check(updates, path)
    if wrapped:
        whole_names = {name for name in plain if name not in whole}
        base = {name: plain[name] for name in whole_names}
        return LoraState(updates, whole, base, dropped)
    # Under bias="all" peft saves a bias of `modules_to_save` twice, with equal values.
    return LoraState(
        {_short(module): update for module, update in updates.items()},
        {_short(name): place for name, place in {**whole, **plain}.items()},
        {},
        dropped,
    )


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != _WRAPPED)


def _short(name: str) -> str:
    return name.removeprefix(PREFIX)


def _with(update: Update, part: str, leaf: str, name: str, path: Path) -> Update:
    fields = {
        (_DOWN, "weight"): "down",
        (_UP, "weight"): "up",
        (_UP, "bias"): "bias",
        (_MAGNITUDE, "weight"): "magnitude",
    }
    if (part, leaf) not in fields:
        text = f'"{printable(name)}" is no tensor of LoRA'
        raise refusal(text, file=path, hint=MERGE_IT)
    return replace(update, **{fields[part, leaf]: name})


def _strange(names: Collection[str]) -> Iterator[Issue]:
    """Names that say another adapter than LoRA."""
    for name in names:
        kind = next((_OTHERS[part] for part in name.split(".") if part in _OTHERS), "")
        if kind:
            yield Issue("unexpected", name, f"of {kind}, which is not merged here")
        if name.endswith(f".{_WRAPPED}.in_proj_weight"):
            yield Issue(
                "unexpected",
                name,
                "LoRA on nn.MultiheadAttention, whose output projection peft 0.21 "
                "updates twice",
            )


def _check(updates: Mapping[str, Update], path: Path) -> None:
    """Refuses halves of an update."""
    issues = [
        Issue("missing", f"{module}.{part}")
        for module, update in updates.items()
        for part, name in ((_DOWN, update.down), (_UP, update.up))
        if not name
    ]
    if issues:
        raise ConversionError(issues, file=path, hint=MERGE_IT)
