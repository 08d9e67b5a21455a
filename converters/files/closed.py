"""Weights that are not opened, because they are quantised: named, with the way out.

What a quantised tensor stands for is defined by the library that packed it. That
library turns it back into floats; afterwards the model is read like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.errors import ConversionError, printable, refusal
from converters.mapping.pipe import TensorInfo

_ORIGINAL = "Convert the checkpoint that it was made from."
_DEQUANTISE = (
    "Turn it back into floats first, with the library that made it: in transformers "
    "model.dequantize().save_pretrained(folder); then convert that folder."
)
_CAST = (
    "If no scales belong to them, cast them: torch.save({name: tensor.float() for "
    "name, tensor in state.items()}, path)."
)


@dataclass(frozen=True)
class Closed:
    """A way to store weights that is not read.

    Attributes:
        name: What it is called.
        ends: What names of its tensors end in.
        way_out: What to do.
    """

    name: str
    ends: tuple[str, ...]
    way_out: str = _DEQUANTISE


KINDS = (
    Closed("bitsandbytes, 8 bits", (".SCB", ".weight_format")),
    Closed(
        "bitsandbytes, 4 bits",
        (
            *(".quant_map", ".absmax", ".nested_absmax"),
            *(".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4"),
        ),
    ),
    Closed("GPTQ or AWQ", (".qweight", ".qzeros", ".g_idx"), _ORIGINAL),
    Closed("fp8, with scales", (".weight_scale_inv", ".input_scale")),
    Closed("compressed-tensors", (".weight_packed",)),
    Closed("fp8 or int8, with scales", (".weight_scale",)),
    Closed("HQQ", (".W_q",)),
    Closed("quanto", (".weight._data", ".weight._scale")),
)
_FLOAT8 = "float8"


def check_open(path: Path) -> None:
    """Refuses a file in a format of quantised weights, whatever its name.

    Raises:
        ConversionError: If it is one of GGUF.
    """
    if not path.is_file():
        return
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError:
        return  # said by the reader
    if head == b"GGUF":
        raise refusal(
            "a GGUF file: names of llama.cpp, and mostly quantised weights",
            file=path,
            hint=_ORIGINAL,
        )


def check_floats(tensors: Mapping[str, TensorInfo], path: Path) -> None:
    """Refuses a file with quantised tensors.

    Raises:
        ConversionError: With how they were quantised, and the way out.
    """
    for kind in KINDS:
        found = [name for name in tensors if name.endswith(kind.ends)]
        if found:
            raise _refused(f"quantised ({kind.name})", found, kind.way_out, path)
    small = [name for name, info in tensors.items() if info.dtype.startswith(_FLOAT8)]
    if small:
        kinds = sorted({tensors[name].dtype for name in small})
        text = f"of 8 bits ({', '.join(kinds)})"
        raise _refused(text, small, f"{_DEQUANTISE} {_CAST}", path)


def _refused(what: str, names: list[str], way_out: str, path: Path) -> ConversionError:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    text = f"weights that are {what}: {printable(names[0])}{more}"
    return refusal(text, file=path, hint=way_out)


def check_config(fields: Mapping[str, Any], path: Path) -> None:
    """Refuses a folder whose config says that its weights are quantised.

    Args:
        fields: Its `config.json`.
        path: The folder.

    Raises:
        ConversionError: With the method that the config states.
    """
    said = fields.get("quantization_config")
    if said:
        method = said.get("quant_method") if isinstance(said, dict) else said
        text = f"quantization_config says that its weights are quantised ({method!r})"
        raise refusal(printable(text, 200), file=path, hint=_DEQUANTISE, kind="config")
