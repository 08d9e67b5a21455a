"""Live models of other libraries: what no file says is read from their modules.

A model of timm, transformers, torchvision or MONAI is walked module by module. Each has
to be of a class that is known in its place, without hooks, and every attribute of it is
either read, or has the one value that the schema assumes, or cannot change the outputs.
Whatever else is found is refused by its name. None of the libraries is imported here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from converters.errors import ConversionError, Issue, printable, refusal
from converters.libraries.walk import HOOKS, Walk, class_name
from converters.wording import option

if TYPE_CHECKING:
    from converters.files.base import Reader
    from converters.sources.request import Asked

_LIBRARIES = {
    # beginning of the class' module: module here that reads it
    "timm.": "timm",
    "torchvision.": "torchvision",
    "monai.": "monai",
    "transformers.": "huggingface",
}
DIALECTS = frozenset(_LIBRARIES.values())
"""Dialects of whose libraries a live model is read."""

_WRAPPERS = {
    "torch._dynamo.eval_frame.OptimizedModule": "_orig_mod",
    "torch.nn.parallel.data_parallel.DataParallel": "module",
    "torch.nn.parallel.distributed.DistributedDataParallel": "module",
}
_HINT = (
    "Known are the plain ViTs of timm, transformers, torchvision and MONAI. Of any "
    "other model, save the state dict and convert the file with its config."
)


def is_module(source: object) -> bool:
    """Whether something is a `torch.nn.Module`; torch is not imported."""
    return any(
        class_name(base) == "torch.nn.modules.module.Module"
        for base in type(source).__mro__
    )


def unwrapped(module: Any) -> Any:
    """The model inside of `torch.compile`, `DataParallel` and the like.

    Raises:
        ConversionError: If a wrapper has hooks, which would be lost with it.
    """
    while class_name(type(module)) in _WRAPPERS:
        if any(vars(module).get(hooks) for hooks in HOOKS):
            raise refusal(
                "a hook: it may change what is computed",
                file=type(module).__name__,
                hint="Remove it: handle.remove().",
            )
        module = getattr(module, _WRAPPERS[class_name(type(module))])
    return module


def open_module(module: Any, asked: Asked) -> Reader:
    """The tensors and the config of a live model.

    Args:
        module: The model, on any device.
        asked: What the caller says beside it: fields that the modules do not say.

    Raises:
        ConversionError: If the model is none that is known, or is not wholly
            understood, with every reason.
    """
    from converters.sources.live_reader import reader

    module = unwrapped(module)
    given = (*asked.of_names, *(["base"] if asked.base is not None else []))
    if given:
        names = ", ".join(map(option, given))
        raise refusal(f"{names}: for files, not for a live module", kind="config")
    walk = Walk(module)
    for base in type(module).__mro__:
        for start, name in _LIBRARIES.items():
            if class_name(base).startswith(start):
                home = import_module(f"converters.libraries.{name}.live")
                read = home.ROOTS.get(class_name(base))
                if read is not None:
                    _plain_subclass(type(module), base)
                    return reader(walk, read(walk, class_name(base)), asked)
    raise _unknown(module, walk)


def _plain_subclass(kind: type, base: type) -> None:
    """A subclass may add a constructor; anything more could change the outputs."""
    harmless = {"__init__", "__module__", "__doc__", "__qualname__", "__annotations__"}
    harmless |= {"__firstlineno__", "__static_attributes__", "__parameters__"}
    harmless |= {"__classcell__", "__orig_bases__", "__abstractmethods__", "_abc_impl"}
    above = kind.__mro__[: kind.__mro__.index(base)]
    issues = [
        Issue(
            "config", name, f"defined by {cls.__qualname__}", f"{base.__qualname__}'s"
        )
        for cls in above
        for name, value in vars(cls).items()
        if name not in harmless and value is not getattr(base, name, None)
    ]
    if issues:
        raise ConversionError(
            issues,
            file=kind.__name__,
            hint=f"A subclass of {base.__qualname__} that defines more than __init__ "
            "may compute something else. Give the plain model, or its state dict.",
        )


def _unknown(module: Any, walk: Walk) -> ConversionError:
    known = set()
    for name in set(_LIBRARIES.values()):
        known |= set(import_module(f"converters.libraries.{name}.live").ROOTS)
    inner = [
        path
        for path, part in walk.modules.items()
        if path and class_name(type(part)) in known
    ]
    hint = f'Its "{inner[0]}" is one: pass that. {_HINT}' if inner else _HINT
    return refusal(
        f"{printable(class_name(type(module)))} is no model that is known here",
        file=type(module).__name__,
        hint=hint,
    )
