"""Imports what is optional, with one clear line when it is not there."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


class MissingExtraError(ImportError):
    """An optional part of the installation is not there."""


def twin(name: str) -> ModuleType:
    """Imports `torch_vit` or `keras_vit`.

    Raises:
        MissingExtraError: If its framework is not installed, or if the module of that
            name is another project's.
    """
    extra = {"torch_vit": "torch", "keras_vit": "keras"}[name]
    module = optional(name, extra)
    vit = getattr(module, "ViT", None)
    if getattr(vit, "__module__", "") != f"{name}.vit":
        raise MissingExtraError(
            f"the module {name!r} that Python finds is another project's; "
            f"vit-duet needs its own: uninstall that one, or put it later on sys.path"
        )
    return module


def optional(name: str, extra: str) -> ModuleType:
    """Imports a module that an extra brings.

    Raises:
        MissingExtraError: If it, or what it needs, is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{error.name} is not installed: pip install 'vit-duet[{extra}]'"
        ) from None
