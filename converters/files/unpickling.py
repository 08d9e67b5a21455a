"""Reads pickles without running anything that they name.

Python's `pickle.Unpickler` does the reading, restricted the way its documentation
says: `find_class` imports nothing. Every global of the file becomes a class of this
module that keeps what it is handed: an `Opaque`, or for the handful of names that
tensors are made of one that gives a description (`pickled_tensor.py`). So the only code
a pickle can call is the code here, whatever it names.

`torch.load(weights_only=True)` is the other way, and was ours. It knows neither
pickles of protocol 3 and later nor subclasses of dict and list, of which training
checkpoints have many; it reads everything at once, and compares no checksums.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

from converters.errors import ConversionError, printable, refusal
from converters.files.pickle_scan import scan

Make = Callable[..., Any]
"""Makes of the arguments of a call what stands for its result."""


class Opaque:
    """What stands for an object of a class that is not imported.

    It takes whatever a pickle does to an object: a call with any arguments, a state,
    keys and values, items. A class or function that is only named is a subclass of
    this class.

    Attributes:
        path: Module and name of the class.
        args: What it was called with.
        state: What its `__setstate__` would have got.
        entries: Its keys and values, if it is a kind of dict.
        items: Its items, if it is a kind of list or set.
    """

    __slots__ = ("args", "entries", "items", "state")
    path = ""
    args: tuple[Any, ...]
    state: Any
    entries: dict[Any, Any]
    items: list[Any]

    def __new__(cls, *args: Any, **options: Any) -> Any:
        """Whatever it is called with; that a pickle need not call `__init__`."""
        self = super().__new__(cls)
        self.args, self.state = args, None
        self.entries, self.items = {}, []
        return self

    def __init__(self, *args: Any, **options: Any) -> None:
        pass

    def __call__(self, *args: Any, **options: Any) -> Any:
        """What stands for a call: a pickle may have made what it calls."""
        return type(self)(*args, **options)

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.entries[key] = value

    def append(self, item: Any) -> None:
        """Takes an item of a kind of list."""
        self.items.append(item)

    def extend(self, items: Any) -> None:
        """Takes items of a kind of list."""
        self.items.extend(items)

    def add(self, item: Any) -> None:
        """Takes an item of a kind of set."""
        self.items.append(item)

    @property
    def attributes(self) -> Mapping[Any, Any]:
        """Its attributes, as far as the state is a dict of them."""
        states = self.state if isinstance(self.state, tuple) else (self.state,)
        found: dict[Any, Any] = {}
        for state in states[:2]:
            if isinstance(state, dict):
                found |= state
        return found


class Plain(dict[Any, Any]):
    """What stands for an OrderedDict, a defaultdict or a Counter: keys and values."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        """Attributes of the dict, such as the `_metadata` of a state dict."""


def is_global(value: Any) -> bool:
    """Whether a value is a class or function that the pickle only names."""
    return isinstance(value, type) and issubclass(value, Opaque)


def path_of(value: Any) -> str:
    """Module and name of a global, or of the class of an opaque object."""
    return str(value.path) if is_global(value) or isinstance(value, Opaque) else ""


def _mapping(*args: Any, **options: Any) -> Plain:
    return Plain(args[0] if args and not is_global(args[0]) else {})


def _default(factory: Any = None, *args: Any) -> Plain:
    return Plain(*args)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes as {printable(encoding, 40)}")
    return text.encode("latin1")


def _bytes(*args: Any) -> bytes:
    if args and isinstance(args[0], str):
        return args[0].encode("latin1")  # as bytearray(text, "latin-1") does
    if args and isinstance(args[0], int):
        raise pickle.UnpicklingError("bytes that are only counted")
    return bytes(*args[:1])


def _items(items: Any = ()) -> tuple[Any, ...]:
    return tuple(items)


def _reconstructor(kind: Any, base: Any, state: Any) -> Any:
    """`copyreg._reconstructor`: an object as protocols 0 and 1 have it."""
    made = kind()
    if isinstance(made, Opaque) and isinstance(state, dict):
        made.entries.update(state)
    elif isinstance(made, Opaque) and isinstance(state, list):
        made.items.extend(state)
    return made


def _new(kind: Any, *args: Any) -> Any:
    """`copyreg.__newobj__`, where it is called as a function."""
    return kind(*args)


PLAIN: Mapping[str, Make] = {
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": _default,
    "collections.Counter": _mapping,
    "builtins.dict": _mapping,
    "builtins.list": lambda items=(): list(items),
    "builtins.set": _items,
    "builtins.frozenset": _items,
    "builtins.tuple": _items,
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "builtins.complex": complex,
    "_codecs.encode": _encode,
    "copyreg._reconstructor": _reconstructor,
    "copyreg.__newobj__": _new,
}
"""Globals that stand for nothing but values."""

_OLD = {"__builtin__": "builtins", "copy_reg": "copyreg", "UserDict": "collections"}


class _Unpickler(pickle.Unpickler):
    """Python's unpickler, for which no global exists but those made here."""

    def __init__(
        self, data: bytes, makers: Mapping[str, Make], stored: Callable[[Any], Any]
    ) -> None:
        super().__init__(BytesIO(data), encoding="latin1")
        self._makers, self._stored = makers, stored
        self._known: dict[str, Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        path = f"{_OLD.get(module, module)}.{name}"
        if path not in self._known:
            fields: dict[str, Any] = {"path": path, "__slots__": ()}
            make = self._makers.get(path)
            if make is not None:
                fields["__new__"] = _calling(make)
            self._known[path] = type("Opaque", (Opaque,), fields)
        return self._known[path]

    def persistent_load(self, key: Any) -> Any:
        return self._stored(key)


def _calling(make: Make) -> Make:
    return lambda cls, *args, **options: make(*args, **options)


def _no_storages(key: Any) -> NoReturn:
    raise pickle.UnpicklingError("a reference to something outside of it")


def unpickled(
    data: bytes,
    *,
    path: Path,
    what: str = "the pickle",
    makers: Mapping[str, Make] = PLAIN,
    stored: Callable[[Any], Any] = _no_storages,
) -> Any:
    """The value of a pickle, with descriptions for all that is more than values.

    Args:
        data: The pickle.
        path: The file that it is in, for messages.
        what: What it is, for messages.
        makers: What makes the values of known globals; any other is an `Opaque`.
        stored: Gives what a persistent id stands for.

    Raises:
        ConversionError: If it is broken, or too large.
    """
    try:
        scan(data)
        return _Unpickler(data, makers, stored).load()
    except ConversionError:
        raise
    except MemoryError:
        raise refusal(f"{what} needs more memory than there is", file=path) from None
    except Exception as error:  # a broken pickle raises whatever it likes
        text = f"{what} is broken: {printable(error, 160)}"
        raise refusal(text, file=path) from None
