"""The state dict of a live model, and a reader of it like that of any file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.errors import ConversionError, Issue, printable, refusal
from converters.libraries.given import BLOCK, PLAIN_BLOCK, Given
from converters.libraries.recognise import recognise
from converters.libraries.variant import Shapes, Variant
from converters.mapping.pipe import Array, TensorInfo, np_dtype
from converters.sources.dialect_reader import DialectReader
from vit_config import ViTConfig

if TYPE_CHECKING:
    from converters.libraries.walk import Walk
    from converters.sources.request import Asked


@dataclass(frozen=True)
class Found:
    """What a model's modules say.

    Attributes:
        library: The library and class, in words.
        dialect: Dialect of the names in its state dict.
        fields: Fields of the config that the modules say.
        config: A whole config, where the library keeps one with the model; `fields`
            stand above it.
    """

    library: str
    dialect: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    config: ViTConfig | None = None


class ModuleState:
    """The tensors of a live model, read one at a time and copied.

    Args:
        module: The model.
    """

    format = "module"

    def __init__(self, module: Any) -> None:
        self.path = Path(type(module).__name__)
        self._state: dict[str, Any] = dict(module.state_dict())
        for name, value in self._state.items():
            problem = _problem(value)
            if problem:
                raise refusal(f'"{printable(name)}": {problem}', file=self.path)
        self.tensors: Mapping[str, TensorInfo] = {
            name: TensorInfo(str(t.dtype).removeprefix("torch."), tuple(t.shape))
            for name, t in self._state.items()
        }

    def read(self, name: str) -> Array:
        """The values of one tensor; a copy, as the model may go on training."""
        import torch

        tensor = self._state[name].detach().to("cpu", copy=True).contiguous()
        if tensor.dtype == torch.bfloat16:
            tensor = tensor.view(torch.int16)
            array: Array = tensor.numpy().view(np_dtype("bfloat16"))
            return array
        array = tensor.numpy()
        return array

    def close(self) -> None:
        """Lets the tensors go."""
        self._state = {}


def _problem(value: Any) -> str:
    import torch

    if type(value) not in (torch.Tensor, torch.nn.Parameter):
        return f"a {printable(type(value).__name__)}, not a plain tensor"
    if value.layout != torch.strided or value.is_quantized or value.is_complex():
        return "not a dense tensor of real numbers"
    return "a tensor without values" if value.is_meta else ""


def reader(walk: Walk, found: Found, asked: Asked) -> DialectReader:
    """The reader of a model that was walked.

    Raises:
        ConversionError: If something was not understood, or the caller says otherwise
            than the modules.
    """
    walk.finish(found.library)
    state = ModuleState(walk.root)
    match = recognise(state.tensors, found.dialect, "", state.path)
    match = replace(match, variant=_silenced(match.variant, found.fields))
    _same(found, asked, state.path)
    if found.config is not None:
        own = found.config.replace(**found.fields)
        given = Given(own, None, asked.changes, origin="")
    else:
        # The classes are known: their blocks are plain, their positions in a table.
        fields = {"rope": None, BLOCK: PLAIN_BLOCK, **found.fields}
        changes = {**asked.changes, **fields}
        given = Given(asked_config(asked), asked.preset, changes, own=fields)
    return DialectReader.opened(state, match, given)


def _silenced(variant: Variant, fields: Mapping[str, Any]) -> Variant:
    """What a library's models share usually does not count where the modules say it."""
    said = variant.says

    def says(shapes: Shapes) -> Mapping[str, Any]:
        return {k: v for k, v in said(shapes).items() if k not in fields}

    return replace(variant, says=says)


def asked_config(asked: Asked) -> ViTConfig | None:
    """The caller's config, which has to be one of this schema."""
    if asked.config is None or isinstance(asked.config, ViTConfig):
        return asked.config
    from converters.conversion.convert import load_config

    return load_config(asked.config)


def _same(found: Found, asked: Asked, path: Path) -> None:
    """Whatever the modules say cannot be said otherwise."""
    said = dict(found.fields)
    if found.config is not None:
        said = {**found.config.architecture(), **said}
        if asked.config is not None or asked.preset is not None:
            raise refusal(
                "the model brings its own config; give none", file=path, kind="config"
            )
    whole = Given(asked_config(asked), asked.preset, asked.changes).whole()
    given = dict(asked.changes) if whole is None else whole.architecture()
    issues = [
        Issue("config", name, repr(said[name]), f"{given[name]!r} as given")
        for name in given
        if name in said and not _like(said[name], given[name])
    ]
    if issues:
        raise ConversionError(
            issues, file=path, hint="The modules say the former; leave the latter out."
        )


def _like(said: Any, given: Any) -> bool:
    if isinstance(said, tuple | list):
        if isinstance(given, int):
            return all(value == given for value in said)
        return isinstance(given, tuple | list) and tuple(said) == tuple(given)
    if isinstance(said, float) and isinstance(given, float | int):
        return said == float(given)
    return bool(said == given)
