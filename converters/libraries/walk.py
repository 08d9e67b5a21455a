"""Walks a live model: every module is taken by somebody who knows it, or refused."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from converters.errors import ConversionError, Issue, printable
from converters.libraries.known_modules import (
    ACTIVATION_ATTRIBUTES,
    ACTIVATIONS,
    ANY,
    ATTRIBUTES,
    CONV,
    COUNT,
    DROPOUT,
    IDENTITY,
    LAYER_NORM,
    LINEAR,
    LIST,
    OUT_PROJ,
    OneOf,
)
from converters.twins.patches import disordered, foreign_methods, global_hooks

HOOKS = (
    *("_forward_hooks", "_forward_pre_hooks"),
    *("_state_dict_hooks", "_state_dict_pre_hooks"),
)
_HARMLESS = frozenset(
    {"_is_hf_initialized", "_compiled_call_impl", "_is_torch_compile"}
)


def class_name(kind: type) -> str:
    """Full name of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


class Walk:
    """A model that is being understood.

    Args:
        root: The model.

    Attributes:
        root: The model.
        modules: Every module by its path; the root's is empty.
        issues: What was not understood so far.
    """

    def __init__(self, root: Any) -> None:
        self.root = root
        self.modules: dict[str, Any] = dict(root.named_modules(remove_duplicate=False))
        self.issues: list[Issue] = global_hooks()
        self._left = dict.fromkeys(self.modules)
        self._plain = frozenset(_fresh_attributes(root))

    def has(self, path: str) -> bool:
        """Whether there is a module at a path."""
        return path in self.modules

    def waits(self, path: str) -> bool:
        """Whether nobody has taken the module at a path, nor refused what it is in."""
        return path in self._left

    def is_a(self, path: str, classes: Iterable[str]) -> bool:
        """Whether the module at a path is exactly of one of the classes."""
        found = self.modules.get(path)
        return found is not None and class_name(type(found)) in classes

    def take(
        self,
        path: str,
        classes: Iterable[str],
        attributes: Mapping[str, Any] | None = None,
    ) -> Any:
        """The module at a path, which has to be of a class that is known there.

        Args:
            path: Its path.
            classes: Full names of the classes it may be of, exactly.
            attributes: Its attributes, with the one value each may have, or `ANY`.

        Returns:
            The module, or None after an issue.
        """
        module = self.modules.get(path)
        classes = tuple(classes)
        if module is None:
            self.issue(path, "no such module", f"a {_short(classes)}")
            return None
        self._left.pop(path, None)
        name = class_name(type(module))
        if path and name not in classes:
            self.issue(path, printable(name), _short(classes))
            self._skip(path)
            return None
        if attributes is None:
            attributes = ATTRIBUTES.get(name, {})
        self._attributes(path, module, attributes)
        if order := disordered(module):
            self.issue(path, f"layers in the order {order}", "0, 1, 2 ...")
        return module

    def _attributes(self, path: str, module: Any, known: Mapping[str, Any]) -> None:
        for hooks in HOOKS:
            for hook in getattr(module, hooks, {}).values():
                text = f"a hook, {printable(getattr(hook, '__qualname__', hook), 60)}"
                self.issue(path, text, "none: it may change what the module computes")
        for name, value in vars(module).items():
            if name in self._plain or name in _HARMLESS:
                continue
            where = f"{path}.{name}" if path else name
            if name not in known:
                self.issue(
                    where, printable(repr(value), 60), "no attribute of that name"
                )
            elif known[name] is not ANY and not _equal(value, known[name]):
                self.issue(where, printable(repr(value), 60), repr(known[name]))
        for name in module._non_persistent_buffers_set:  # no state dict has them
            table, where = module._buffers[name], f"{path}.{name}" if path else name
            if table is None or known.get(name) is ANY:
                continue
            if known.get(name) is not COUNT:
                self.issue(where, "a table", "no table of that name")
            elif table.flatten().tolist() != list(range(table.numel())):
                self.issue(where, "another table", "0, 1, 2 ...")

    def _skip(self, path: str) -> None:
        """What is below something unknown is not looked at."""
        for other in [p for p in self._left if p.startswith(f"{path}.")]:
            del self._left[other]

    def issue(self, name: str, found: str, expected: str = "") -> None:
        """Notes something that is not understood."""
        self.issues.append(Issue("config", name, found, expected))

    # ---- what most libraries are made of --------------------------------------------

    def linear(self, path: str) -> None:
        """A linear layer; the weights say the rest."""
        self.take(path, (*LINEAR, OUT_PROJ) if path.endswith("out_proj") else LINEAR)

    def identity(self, path: str) -> None:
        """A place where nothing happens."""
        self.take(path, IDENTITY)

    def norm(self, path: str, width: int) -> dict[str, float]:
        """Epsilon of a LayerNorm over the last axis, by path; empty after an issue."""
        module = self.take(path, LAYER_NORM)
        if module is None:
            return {}
        if tuple(module.normalized_shape) != (width,):
            self.issue(
                path, f"over {tuple(module.normalized_shape)}", f"over ({width},)"
            )
        for leaf in ("weight", "bias"):
            if getattr(module, leaf) is None:
                self.issue(f"{path}.{leaf}", "None", "a LayerNorm has both")
        return {path: float(module.eps)}

    def optional_norm(self, path: str, width: int) -> dict[str, float]:
        """The same, where there may be an identity in its place: empty then."""
        if self.is_a(path, IDENTITY):
            self.identity(path)
            return {}
        return self.norm(path, width)

    def dropout(self, path: str) -> dict[str, float]:
        """Rate of a dropout, by path; an identity drops nothing."""
        module = self.take(path, (*DROPOUT, *IDENTITY))
        return {} if module is None else {path: float(getattr(module, "p", 0.0))}

    def activation(self, path: str) -> dict[str, str]:
        """Our name of an activation, by path."""
        module = self.take(path, ACTIVATIONS, ACTIVATION_ATTRIBUTES)
        if module is None:
            return {}
        name = class_name(type(module))
        found = ACTIVATIONS[name]
        if not found:
            approximate = getattr(module, "approximate", "none")
            found = {"none": "gelu", "tanh": "gelu_tanh"}.get(approximate, "")
            if not found:
                self.issue(f"{path}.approximate", repr(approximate), "'none' or 'tanh'")
                return {}
        return {path: found}

    def patches(self, path: str) -> tuple[int, ...]:
        """Sides of the patches that a convolution cuts."""
        module = self.take(path, CONV)
        if module is None:
            return ()
        if tuple(module.stride) != tuple(module.kernel_size):
            text = f"{tuple(module.stride)}"
            self.issue(
                f"{path}.stride", text, f"{tuple(module.kernel_size)}, the patch"
            )
        return tuple(module.kernel_size)

    def scale(self, path: str, value: float, head_dim: int) -> None:
        """Scores are divided by the root of a head's width."""
        expected = max(head_dim, 1) ** -0.5
        if not math.isclose(value, expected, rel_tol=1e-6):
            self.issue(path, f"{value!r}", f"{expected!r}, 1 / sqrt(head_dim)")

    def blocks(self, path: str) -> int:
        """Number of blocks in a list."""
        module = self.take(path, LIST)
        return 0 if module is None else len(module)

    # ---- what has to be one value ---------------------------------------------------

    def agree(self, values: Mapping[str, Any], default: Any = None) -> Any:
        """The value that all modules have; those that differ from most are issues.

        Args:
            values: Value by path.
            default: What is meant where there is no such module.
        """
        if not values:
            return default
        common = Counter(values.values()).most_common(1)[0][0]
        for path, value in values.items():
            if value != common:
                self.issue(path, f"{value!r}", f"{common!r}, as the others have")
        return common

    def growing(self, rates: Mapping[str, float], depth: int) -> float:
        """Rate of stochastic depth at the last block; it grows linearly from 0.

        Args:
            rates: Rates by path, `"blocks.{i}..."` in order, as many in every block.
            depth: Number of blocks.
        """
        values = list(rates.values())
        last = values[-1] if values else 0.0
        each = max(len(values) // max(depth, 1), 1)
        for number, (path, value) in enumerate(rates.items()):
            expected = last * (number // each) / max(depth - 1, 1)
            if not math.isclose(value, expected, rel_tol=1e-5, abs_tol=1e-9):
                self.issue(path, f"{value!r}", f"{expected:.6g}: it grows from block 0")
        return round(last, 7)

    def finish(self, library: str) -> None:
        """Refuses the model if anything in it was not understood.

        Raises:
            ConversionError: With everything.
        """
        # A class of anybody else's is refused by its name.
        own = {base.__module__.partition(".")[0] for base in type(self.root).__mro__}
        classes = set(map(type, self.modules.values()))
        known = {kind for kind in classes if kind.__module__.partition(".")[0] in own}
        self.issues += foreign_methods(known, own - {"torch"})
        for path in self._left:
            parent = path.rpartition(".")[0]
            if parent not in self._left or not parent:
                kind = class_name(type(self.modules[path]))
                self.issue(path, printable(kind), f"no such module in {library}")
        if self.issues:
            raise ConversionError(
                self.issues,
                file=type(self.root).__name__,
                dialect=f"live, {library}",
                hint="A live module is converted only if all of it is understood. "
                "Merge or remove what was added; or save a state dict, and a config.",
            )


def _fresh_attributes(module: Any) -> set[str]:
    """What every module has, whatever the release of torch."""
    for base in type(module).__mro__:
        if class_name(base) == "torch.nn.modules.module.Module":
            return set(vars(base()))
    raise TypeError(f"{type(module).__name__} is no torch module")


def _equal(value: Any, expected: Any) -> bool:
    if isinstance(expected, OneOf):
        return any(_equal(value, choice) for choice in expected)
    if isinstance(expected, tuple) and not isinstance(value, str):
        return isinstance(value, tuple | list) and tuple(value) == expected
    return type(value) is type(expected) and bool(value == expected)


def _short(classes: Iterable[str]) -> str:
    names = dict.fromkeys(name.rpartition(".")[2] for name in classes)
    listed = list(names)
    return " or ".join(listed if len(listed) < 6 else [*listed[:5], "..."])
