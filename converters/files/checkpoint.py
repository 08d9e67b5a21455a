"""What of a checkpoint is the model's, and what is left aside.

A model's tensors stand in dicts, flat or nested. Beside them people save whatever they
had at hand: options, metrics, functions, the state of optimizers. Tensors are taken by
these rules, all else is left aside and listed:

- A dict with `param_groups` is an optimizer's; its moments look like weights.
- A dict in which no tensor may be a weight (numbers, counters, states of random
  generators) is the training's, and so is such a tensor beside dicts that have weights.
- What is called after a part of the training (`_TRAINING`, `_TRAINING_WORDS`) is that.
- Lists are looked into only where no dict has weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.errors import ConversionError, printable, refusal
from converters.files.class_names import ClassNames, class_names
from converters.files.pickled_tensor import PickledTensor
from converters.files.safetensors_file import MAX_TENSORS, name_problem
from converters.files.saved_objects import Objects
from converters.files.unpickling import Opaque, is_global, path_of

MAX_DEPTH = 8

_TRAINING = frozenset(
    {"args", "cfg", "config", "datamodule", "hparams", "hyper_parameters"}
    | {"loops", "metrics", "native_amp", "opt", "trainer"}
)
_TRAINING_WORDS = ("optim", "callback", "scheduler", "scaler", "loss", "criterion")
_MAX_MODULES = 100_000
_QUIET = (bool, type(None))  # flags of modules, of which there are hundreds


@dataclass
class Checkpoint:
    """The contents of a file, sorted out.

    Attributes:
        tensors: The model's tensors under dotted names.
        aside: What each other thing is, by its dotted name.
        labels: Lists of class names that stand in it.
    """

    tensors: Mapping[str, PickledTensor]
    aside: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[ClassNames, ...] = ()


def from_values(value: Any, path: Path) -> Checkpoint:
    """Sorts out what a pickle holds.

    Args:
        value: Its value, objects being `Opaque`.
        path: The file, for messages.

    Raises:
        ConversionError: If the weights are in an object, or if a tensor that is to be
            taken is more than its values.
    """
    level = _entries(value)
    walk = _Walk(path, lists=not isinstance(value, (Mapping, Opaque)))
    if level is not None:
        walk.level("", level, 0)
        if not walk.tensors:  # then weights may be in lists
            again = _Walk(path, lists=True)
            again.level("", level, 0)
            walk = again if again.tensors else walk
    taken = sum(tensor.size for tensor in walk.tensors.values())
    Objects(value, path).refuse_weights(taken)
    if level is None:
        raise refusal(
            f"{kind_of(value)}, not a dict of tensors",
            file=path,
            hint="Save the weights alone: torch.save(model.state_dict(), path).",
        )
    tensors = checked_tensors(walk.tensors, path)
    return Checkpoint(tensors, walk.aside, class_names(value))


def from_module(value: Any, path: Path) -> Checkpoint:
    """The parameters and buffers of a TorchScript module, under their dotted names.

    Raises:
        ConversionError: If there are none.
    """
    tensors: dict[str, PickledTensor] = {}
    aside: dict[str, str] = {}
    stack: list[tuple[str, Any, int]] = [("", value, 0)]
    count = 0
    while stack:
        prefix, module, depth = stack.pop()
        count += 1
        if depth > 4 * MAX_DEPTH or count > _MAX_MODULES:
            raise refusal(f'"{printable(prefix)}" is nested without end', file=path)
        inner = []
        for key, item in module.attributes.items() if _is_object(module) else ():
            name = prefix + _text(key)
            if isinstance(item, PickledTensor):
                tensors[name] = item
            elif _is_object(item) and item.state is not None:
                inner.append((f"{name}.", item, depth + 1))
            elif not isinstance(item, _QUIET):
                aside[name] = kind_of(item)
        stack += reversed(inner)
    if not tensors:
        raise refusal(
            "a TorchScript archive without named tensors: frozen modules "
            "(torch.jit.freeze) have none",
            file=path,
            hint="Save it before it is frozen, or the state dict of the model it was "
            "made of.",
        )
    return Checkpoint(checked_tensors(tensors, path), aside)


def checked_tensors(
    tensors: Mapping[str, PickledTensor], path: Path
) -> Mapping[str, PickledTensor]:
    """The tensors, unless one has no proper name or is more than its values.

    Raises:
        ConversionError: For the first such tensor.
    """
    for name, tensor in tensors.items():
        problem = name_problem(name) or tensor.refused()
        if problem:
            raise _refused(name, problem, path)
    return tensors


def kind_of(value: Any) -> str:
    """What a value is, in a few words: `"dict of 3"`, `"argparse.Namespace"`."""
    if isinstance(value, PickledTensor):
        return f"tensor, {value.dtype or 'without values'}"
    if is_global(value) or isinstance(value, Opaque):
        return printable(path_of(value) or "object", 80)
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        name = "dict" if isinstance(value, dict) else type(value).__name__
        return f"{name} of {len(value)}"
    return "None" if value is None else type(value).__name__


class _Walk:
    """Goes through the levels of a checkpoint.

    Args:
        path: The file, for messages.
        lists: Whether lists are looked into, under the numbers of their items.
    """

    def __init__(self, path: Path, lists: bool) -> None:
        self._path, self._lists = path, lists
        self._known: dict[tuple[int, int], bool] = {}
        self.tensors: dict[str, PickledTensor] = {}
        self.aside: dict[str, str] = {}

    def level(self, prefix: str, entries: Mapping[Any, Any], depth: int) -> None:
        """Takes the tensors of a dict, and of those in it."""
        inner = {
            key: _entries(item) or {}
            for key, item in entries.items()
            if self._is_model(key, item, depth)
        }
        for key, item in entries.items():
            name = prefix + _text(key)
            if key in inner:
                self.level(f"{name}.", inner[key], depth + 1)
            elif isinstance(item, PickledTensor) and (item.is_weight or not inner):
                if name in self.tensors:
                    raise _refused(name, "its name stands twice", self._path)
                if len(self.tensors) > MAX_TENSORS:
                    raise refusal("too many tensors", file=self._path)
                self.tensors[name] = item
            else:
                self.aside[name] = kind_of(item)

    def _is_model(self, key: Any, item: Any, depth: int) -> bool:
        """Whether a value is a dict in which any tensor may be a weight."""
        if not isinstance(item, (Mapping, Opaque)) and not self._lists:
            return False
        place = id(item), depth
        if place not in self._known:
            entries = _entries(item)
            self._known[place] = (
                entries is not None
                and depth < MAX_DEPTH
                and any(
                    inner.is_weight or bool(inner.problem)
                    if isinstance(inner, PickledTensor)
                    else self._is_model(name, inner, depth + 1)
                    for name, inner in entries.items()
                )
            )
        return self._known[place] and not _is_training(key, item)


def _entries(value: Any) -> Mapping[Any, Any] | None:
    """Keys and values of a dict, a kind of dict, or a list; None for all else."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, Opaque):
        return value.entries or None
    if isinstance(value, (list, tuple)):
        return dict(enumerate(value))
    return None


def is_training(key: str) -> bool:
    """Whether an entry is called after a part of the training."""
    text = key.lower()
    return text in _TRAINING or any(word in text for word in _TRAINING_WORDS)


def _is_training(key: Any, item: Any) -> bool:
    held = item.entries if isinstance(item, Opaque) else item
    groups = held.get("param_groups") if isinstance(held, Mapping) else None
    return is_training(_text(key)) or isinstance(groups, (list, tuple))


def _is_object(value: Any) -> bool:
    return isinstance(value, Opaque)


def _text(key: Any) -> str:
    """A key as a part of a name."""
    if isinstance(key, str):
        return key
    if isinstance(key, bytes):
        return key.decode("latin1")
    if isinstance(key, (int, float)) and not isinstance(key, bool):
        return repr(key) if abs(key) < 1 << 64 else "a number"
    return kind_of(key)


def _refused(name: str, problem: str, path: Path) -> ConversionError:
    return refusal(f'"{printable(name)}": {problem}', file=path)
