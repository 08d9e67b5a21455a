"""A live model of timm, transformers, torchvision or MONAI with a source's own weights.

The tensors are those of the file, as the file names them: none has been through the map
to canonical names and back. They are loaded strictly. What a file lacks and, by a
written rule, no model reads is NaN here, so that reading it would show.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from converters.sources.dialect_reader import DialectReader
from converters.sources.door import open_raw, read_raw
from converters.sources.request import Asked
from converters.workers.device import UnavailableError
from vit_config import ConfigError, ViTConfig

if TYPE_CHECKING:
    import torch

Array = NDArray[Any]
Named = dict[str, Array]


@dataclass(frozen=True)
class SourceModel:
    """A library's own model, and where in it the results are.

    Attributes:
        module: The model, in evaluation mode.
        config: Its config.
        call: From inputs (B, C, *spatial) to what a call of our model returns.
        tokens: Path of the module that gives all tokens after the last norm, or an
            empty text if none does.
        head: Path of the module that is fed what the head reads, likewise.
    """

    module: torch.nn.Module
    config: ViTConfig
    call: Callable[[torch.Tensor], torch.Tensor]
    tokens: str = ""
    head: str = ""

    def answer(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """All results of one pass: `outputs` and, as far as there are, the others."""
        found: dict[str, torch.Tensor] = {}

        def kept(module: Any, args: Any, result: Any) -> None:
            found["tokens"] = result

        def fed(module: Any, args: Any) -> None:
            found["pooled"] = args[0]

        with ExitStack() as stack:
            if self.tokens and self.config.global_pool != "none":
                part = self.module.get_submodule(self.tokens)
                stack.callback(part.register_forward_hook(kept).remove)
            if self.head and self.config.num_classes and not self.config.distilled:
                part = self.module.get_submodule(self.head)
                stack.callback(part.register_forward_pre_hook(fed).remove)
            found["outputs"] = self.call(x)
        return found

    @property
    def has_head(self) -> bool:
        """Whether `after` can be asked."""
        return bool(self.tokens and self.config.num_classes)

    def after(self, tokens: torch.Tensor) -> torch.Tensor:
        """What the model makes of tokens (B, N, D): all that comes after the norm.

        One input is run through it, in which the tokens take the place of its own.
        """
        x = tokens.new_zeros(1, self.config.in_chans, *self.config.img_size)
        part = self.module.get_submodule(self.tokens)
        with ExitStack() as stack:
            hook = part.register_forward_hook(lambda module, args, result: tokens)
            stack.callback(hook.remove)
            return self.call(x)


@dataclass(frozen=True)
class Raw:
    """What a file says by itself.

    Attributes:
        path: The file or folder.
        reader: Its reader.
        config: The model's config.
        tensors: Every tensor behind the prefix that no rule leaves out.
        left_out: Names, behind the prefix, of those that a rule leaves out.
        unread: Names that a file may have or lack, as no model reads them.
        made: How the model is made, see `converters.parity.original`.
        folder: For what has to be written.
    """

    path: Path
    reader: DialectReader
    config: ViTConfig
    tensors: Named
    left_out: frozenset[str]
    unread: frozenset[str]
    made: Mapping[str, Any]
    folder: Path

    @property
    def variant(self) -> str:
        """Whose names it has."""
        return self.reader.match.variant.name


def load_model(fields: Mapping[str, Any], folder: Path) -> SourceModel:
    """The library's model of a file or folder.

    Args:
        fields: What `converters.parity.original.source_job` says.
        folder: For what has to be written.

    Raises:
        UnavailableError: If the library does not make it, or not of these tensors.
    """
    config = ViTConfig.from_dict(fields["config"])
    path = Path(fields["model"])
    library = _library(fields)
    asked = Asked.by(
        fields["dialect"],
        fields["prefix"],
        config,
        drop=fields.get("drop", ()),
        head=fields.get("head_layer"),
    )
    raw, asked = open_raw(path, asked)
    if raw is None:
        raise UnavailableError("A is no file of the original library")
    with read_raw(raw, asked) as reader:
        if not isinstance(reader, DialectReader):
            raise UnavailableError("A has the names of this package")
        if reader.head is not None and not reader.head.pooler:
            raise UnavailableError(
                f"{reader.head.layer} of A is no part of the library's own model"
            )
        source = _raw(path, reader, config, fields["made"], folder)
        with _refused(fields["package"], (str(path), str(folder), path.name)):
            model: SourceModel = library.load(source)
    return model


def live_model(module: Any, fields: Mapping[str, Any]) -> SourceModel:
    """A live model, as it is.

    Raises:
        UnavailableError: If the library's results are not known.
    """
    config = ViTConfig.from_dict(fields["config"])
    found: SourceModel = _library(fields).outputs_of(module.eval(), config)
    return found


def _library(fields: Mapping[str, Any]) -> Any:
    dialect = fields["dialect"].partition("@")[0]
    return import_module(f"converters.libraries.{dialect}.original")


def _raw(
    path: Path,
    reader: DialectReader,
    config: ViTConfig,
    made: Mapping[str, Any],
    folder: Path,
) -> Raw:
    prefix, start = reader.match.prefix, len(reader.match.prefix)
    computed = {name for name in reader.tensors if name not in _stored(reader)}
    tensors = {
        name[start:]: reader.read(name)
        for name in reader.tensors
        if name not in computed
    }
    unread = frozenset(reader.match.variant.drops(config))
    left_out = {n.removeprefix(prefix) for n in reader.dropped}
    return Raw(path, reader, config, tensors, frozenset(left_out), unread, made, folder)


def _stored(reader: DialectReader) -> set[str]:
    plan = reader.match.variant.plan(reader.config, reader.match.prefix)
    return set(plan.source_shapes) & set(reader.tensors)


@contextmanager
def _refused(package: str, private: tuple[str, ...]) -> Iterator[None]:
    """Whatever stops the library is a reason, in one line that tells no path."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own
        try:
            yield
        except UnavailableError:
            raise
        except (ImportError, MemoryError):
            raise
        except Exception as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            text = "; ".join(lines[:3]) or type(error).__name__
            for name in private:
                text = text.replace(name, "A")
            raise UnavailableError(
                f"{package} {version(package)} does not make this model: {text[:300]}"
            ) from error


def load_strictly(module: torch.nn.Module, raw: Raw) -> None:
    """Loads a file's tensors: nothing missing that is read, nothing left over.

    Raises:
        RuntimeError: If names or shapes differ.
    """
    import torch

    own = module.state_dict()
    state = {name: torch.from_numpy(as_float(a)) for name, a in raw.tensors.items()}
    for name in raw.unread & own.keys() - state.keys():
        state[name] = torch.full_like(own[name], float("nan"))
    module.float().load_state_dict(state, strict=True)


def as_float(array: Array) -> Array:
    """Float types as float32, which is exact for the smaller ones."""
    return np.array(array, np.float32, order="C")


def fitting(raw: Raw, dialect: str, arguments: Mapping[str, Any]) -> None:
    """Checks that a library's arguments mean the config that they were made from.

    Raises:
        UnavailableError: If the library has no arguments for it.
    """
    from converters.libraries.config_differences import differences

    lines = list(raw.reader.match.variant.holds(raw.config))
    if not lines:
        try:
            found = ViTConfig.from_dialect(dialect, arguments)
        except ConfigError as error:
            lines = list(error.problems)
        else:
            lines = differences(raw.config, found)
    if lines:
        raise UnavailableError(
            f"no arguments of the library say this model: {lines[0]}"
        )
