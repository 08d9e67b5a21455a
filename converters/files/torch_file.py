"""`.pth`, `.pt`, `.bin` and `.ckpt`: torch pickles, read with `weights_only=True` only.

There is no fallback. Releases of torch before 2.10 execute code even so
(CVE-2025-32434, CVE-2026-24747) and are refused.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from converters.engine import Array, TensorInfo, np_dtype
from converters.errors import ConversionError, printable, refusal
from converters.extras import MissingExtraError, optional
from converters.files.base import what_is
from converters.files.safetensors_file import MAX_RANK, MAX_TENSORS, name_problem

if TYPE_CHECKING:
    import torch

LEAST = (2, 10)
TRAINING = frozenset(
    # entries of a checkpoint that are about the training, not about the model
    {
        "args",
        "callbacks",
        "config",
        "dino_loss",
        "epoch",
        "fp16_scaler",
        "global_step",
        "hparams_name",
        "hyper_parameters",
        "iteration",
        "loops",
        "lr_scheduler",
        "lr_schedulers",
        "native_amp",
        "opt",
        "optim",
        "optimizer",
        "optimizer_state_dict",
        "optimizer_states",
        "pytorch-lightning_version",
        "scaler",
        "scheduler",
    }
)
_MAX_DEPTH = 4
_SAVE = "Save the weights alone: torch.save(model.state_dict(), path)."


class TorchFile:
    """The tensors of a torch checkpoint; those of nested dicts under dotted names.

    Args:
        path: The file.

    Raises:
        ConversionError: If torch will not read it without running code from it, or if
            it holds what no plain ViT has.
        MissingExtraError: If torch is not installed, or too old to be safe.
    """

    format = "torch"

    def __init__(self, path: Path) -> None:
        self.path = path
        _check_container(path)
        self._tensors = dict(_flat(_load(path), path))
        if not self._tensors:
            raise refusal("there are no tensors in it", file=path)
        if len(self._tensors) > MAX_TENSORS:
            raise refusal(f"{len(self._tensors)} tensors; too many", file=path)
        self.tensors: Mapping[str, TensorInfo] = {
            name: TensorInfo(str(t.dtype).removeprefix("torch."), tuple(t.shape))
            for name, t in self._tensors.items()
        }

    def read(self, name: str) -> Array:
        """The values of one tensor."""
        return as_array(self._tensors[name])

    def close(self) -> None:
        """Lets the tensors go."""
        self._tensors = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def as_array(tensor: torch.Tensor) -> Array:
    """The values of a plain tensor."""
    import torch

    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(np_dtype("bfloat16"))
    array: Array = tensor.numpy()
    return array


def load_tensor(data: BinaryIO, path: Path) -> Array:
    """The one tensor that a stream holds, as `torch.save` wrote it.

    Args:
        data: The stream.
        path: Where it comes from, for messages.

    Raises:
        ConversionError: If it is no plain tensor.
    """
    tensor = _load(path, data)
    problem = _tensor_problem(tensor) if _is_tensor(tensor) else "no tensor"
    if problem:
        raise refusal(problem, file=path)
    return as_array(tensor)


def _check_container(path: Path) -> None:
    """Refuses, before torch sees it, an archive that is more than it seems."""
    if not path.exists():
        raise refusal("no such file", file=path)
    if not path.is_file():
        raise refusal("not a regular file", file=path)
    with path.open("rb") as file:
        head = file.read(512)
    kind = what_is(head)
    if not head:
        raise refusal("the file is empty", file=path)
    if kind not in ("a zip archive", "a Python pickle"):
        found = (
            f"{kind}, no matter what its name says" if kind else "not torch's format"
        )
        raise refusal(found, file=path)
    if kind == "a Python pickle":
        return  # of torch before 1.6; nothing in it is compressed
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        text = f"cut short or broken: {printable(error, 120)}"
        raise refusal(text, file=path) from None
    names = [info.filename for info in infos]
    if len(set(names)) != len(names):
        raise refusal("an entry of the archive stands twice", file=path)
    for info in infos:
        where = f'entry "{printable(info.filename)}"'
        if info.compress_type != zipfile.ZIP_STORED:
            raise refusal(f"{where} is compressed, which torch never does", file=path)
        if info.flag_bits & 1:
            raise refusal(f"{where} is encrypted", file=path)
        if info.filename.startswith("/") or ".." in info.filename.split("/"):
            raise refusal(f"{where} is a path", file=path)
    if any(name.endswith("/constants.pkl") for name in names):
        raise refusal(
            "a TorchScript archive, not a checkpoint",
            file=path,
            hint="Load it with torch.jit.load yourself. " + _SAVE,
        )


def _load(path: Path, data: BinaryIO | None = None) -> Any:
    import pickle

    torch = optional("torch", "torch")
    version = tuple(int(p) for p in torch.__version__.split("+")[0].split(".")[:2])
    if version < LEAST:
        raise MissingExtraError(
            f"torch {torch.__version__} cannot read {path.suffix} files safely: "
            "pip install 'vit-duet[torch]' brings 2.10 or later"
        )
    try:
        return torch.load(data or path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Torch's own text is long, coloured, and says how to read it all the same.
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f" ({printable(named[1], 80)})" if named else ""
        raise refusal(
            f"it holds more than tensors{what}, and is not read",
            file=path,
            hint=_SAVE,
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError) as error:
        first = printable(str(error).partition("\n")[0], 160)
        raise refusal(f"torch cannot read it: {first}", file=path) from None


def _flat(value: Any, path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors under dotted names; whatever is about the training is left out."""
    if not isinstance(value, Mapping):
        raise refusal(
            f"a {printable(type(value).__name__)}, not a dict", file=path, hint=_SAVE
        )
    seen: set[str] = set()
    stack: list[tuple[str, Any, int]] = [("", value, 0)]
    while stack:
        prefix, level, depth = stack.pop()
        if depth > _MAX_DEPTH:
            raise refusal(f'"{printable(prefix)}" is nested too deeply', file=path)
        mixed = any(_is_tensor(item) for item in level.values())
        for key, item in level.items():
            if depth == 0 and key in TRAINING:
                continue
            if not isinstance(key, str):
                raise refusal(f"a key is {printable(repr(key))}, no text", file=path)
            name = prefix + key
            if _is_tensor(item):
                problem = name_problem(name) or _tensor_problem(item)
                problem = problem or ("its name stands twice" if name in seen else "")
                if problem:
                    raise _refused(name, problem, path)
                seen.add(name)
                yield name, item
            elif isinstance(item, Mapping):
                stack.append((f"{name}.", item, depth + 1))
            elif mixed or depth:
                text = f"a {printable(type(item).__name__)}, not a tensor"
                raise _refused(name, text, path)


def _refused(name: str, problem: str, path: Path) -> ConversionError:
    return refusal(f'"{printable(name)}": {problem}', file=path)


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _tensor_problem(tensor: torch.Tensor) -> str:
    """Why a tensor is not just its values, or an empty text."""
    import torch

    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        return f"a {printable(type(tensor).__name__)}, not a plain tensor"
    if tensor.is_nested:
        return "a nested tensor"
    if tensor.layout != torch.strided:
        return "a sparse tensor"
    if tensor.is_quantized:
        return "a quantised tensor; dequantise it first"
    if tensor.is_complex():
        return "a complex tensor"
    if tensor.device.type != "cpu":
        return f"a tensor on {tensor.device.type}, without values"
    if tensor.dim() > MAX_RANK:
        return f"{tensor.dim()} axes; at most {MAX_RANK} are read"
    sides = zip(tensor.shape, tensor.stride(), strict=True)
    if any(length > 1 and step == 0 for length, step in sides):
        return "an expanded tensor: its values are not all in the file"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return "larger than its storage"
    return ""
