"""Pickles from strangers: nothing of them runs, and whatever they hold is described."""

from __future__ import annotations

import argparse
import collections
import contextlib
import copyreg
import dataclasses
import datetime
import enum
import functools
import os
import pathlib
import pickle
import random
import sys

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from converters.errors import ConversionError
from converters.files.checkpoint import from_values, kind_of
from converters.files.pickled_tensor import PickledTensor
from converters.files.tensor_makers import MAKERS
from converters.files.unpickling import Opaque, unpickled

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def read(data):
    return unpickled(data, path=pathlib.Path("x.pth"), makers=MAKERS)


class Calls:
    """Is pickled as a call of anything."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


EVIL = {
    "system": lambda mark: Calls(os.system, f"touch {mark}"),
    "eval": lambda mark: Calls(eval, f"open({str(mark)!r}, 'w')"),
    "exec": lambda mark: Calls(exec, f"open({str(mark)!r}, 'w')"),
    "open": lambda mark: Calls(open, str(mark), "w"),
    "method": lambda mark: Calls(pathlib.Path(mark).touch),
    "import": lambda mark: Calls(__import__, "antigravity"),
    "nested": lambda mark: Calls(functools.partial(os.mkdir, str(mark))),
    "numpy": lambda mark: Calls(np.save, str(mark), 1),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", EVIL)
def test_nothing_is_called_that_a_pickle_names(kind, protocol, tmp_path):
    mark = tmp_path / "mark"
    before = set(sys.modules)
    found = read(pickle.dumps({"a": EVIL[kind](mark)}, protocol))
    assert isinstance(found["a"], Opaque)
    assert not list(tmp_path.iterdir())
    assert "antigravity" not in set(sys.modules) - before


def test_nothing_is_imported_that_a_pickle_names(tmp_path, monkeypatch):
    (tmp_path / "evil_module.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(read(b"cevil_module\nf\n)R."), Opaque)
    assert "evil_module" not in sys.modules


HOSTILE = {
    "memo of 4 billion": b"\x80\x02Nr\xff\xff\xff\xff.",
    "extension code": b"\x80\x02\x82\x01.",
    "a class changed": (
        b"\x80\x02ccollections\nOrderedDict\n(N}X\x06\x00\x00\x00updateK\x01stb."
    ),
    "a storage changed": b"\x80\x02ctorch\nFloatStorage\n}X\x01\x00\x00\x00aK\x01sb.",
    "a persistent id": b"\x80\x02X\x01\x00\x00\x00aQ.",
    "text persistent id": b"Pabc\n.",
    "bytes that are only counted": (
        b"\x80\x02c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R."
    ),
    "a tensor of nothing": (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00)))tR."
    ),
    "a key nested too deeply to hash": (
        b"\x80\x02}K\x01" + b"\x85" * 1_000_000 + b"K\x01s."
    ),
    "the same by the memo": (
        b"\x80\x02}K\x01" + b"\x85q\x000h\x00" * 500_000 + b"K\x01s."
    ),
    "not ended": b"\x80\x02}",
    "an empty stack": b"\x80\x02s.",
    "an unknown instruction": b"\x80\x02\xff.",
    "a called number": b"\x80\x02K\x01)R.",
    "a made number": b"\x80\x02K\x01)\x81.",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_honest_pickle_is_refused(case):
    with pytest.raises(ConversionError):
        read(HOSTILE[case])


def test_a_table_larger_than_the_pickle_is_not_made():
    with pytest.raises(ConversionError, match="a memo numbered 4294967295"):
        read(HOSTILE["memo of 4 billion"])


def test_functions_that_the_process_registered_are_not_called(tmp_path):
    copyreg.add_extension("os", "mkdir", 250)
    try:
        assert pickle.loads(b"\x80\x02\x82\xfa.") is os.mkdir  # cached from now on
        name = str(tmp_path / "x").encode()
        size = len(name).to_bytes(4, "little")
        with pytest.raises(ConversionError, match="an extension code"):
            read(b"\x80\x02\x82\xfaX" + size + name + b"\x85R.")
        assert not list(tmp_path.iterdir())
    finally:
        copyreg.remove_extension("os", "mkdir", 250)


def test_the_classes_of_the_process_stay_as_they_are():
    before = dict(vars(collections.OrderedDict))
    with pytest.raises(ConversionError):
        read(HOSTILE["a class changed"])
    assert dict(vars(collections.OrderedDict)) == before


@functools.cache
def content_of_many_things():
    things = many_things()
    del things["random"], things["generator"]  # hundreds of numbers
    return pickle.dumps(things, 2)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_changed_byte_never_escapes_as_another_error(data):
    content = bytearray(content_of_many_things())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    try:
        read(bytes(content))
    except ConversionError as error:
        assert "\x1b" not in str(error)


NESTED = {
    "list": b"]" * 100_000 + b"a" * 99_999,
    "dict": b"}K\x01" * 100_000 + b"N" + b"s" * 100_000,
    "list by the memo": b"]q\x00" + b"]q\x01h\x00a]q\x00h\x01a" * 20_000,
}


@pytest.mark.parametrize("kind", NESTED)
def test_nesting_without_end_ends(kind):
    """Refused, or gone through down to some depth: neither a crash nor a hang."""
    try:
        value = read(b"\x80\x02" + NESTED[kind] + b".")
    except ConversionError:
        return
    with contextlib.suppress(ConversionError):
        from_values({"a": value, "b": [value]}, pathlib.Path("x.pth"))


def test_long_containers_are_not_nested():
    value = {"long": list(range(50_000)), "dict": {i: i for i in range(20_000)}}
    value["calls"] = [Run(i, "x") for i in range(6000)]
    assert read(pickle.dumps(value, 2))["dict"][19_999] == 19_999


class Shape(enum.Enum):
    ROUND = 1


@dataclasses.dataclass
class Run:
    steps: int
    name: str


class Frozen:
    __slots__ = ("a",)

    def __init__(self):
        self.a = 1


class Attributes(dict):
    pass


class Items(list):
    pass


def listed(*names):
    return names


def many_things():
    attributes = Attributes(lr=0.1)
    attributes.extra = 3
    return {
        "namespace": argparse.Namespace(lr=0.1, path=pathlib.PurePosixPath("a/b")),
        "path": pathlib.PurePosixPath("a"),
        "function": listed,
        "class": Run,
        "builtin": len,
        "enum": Shape.ROUND,
        "dataclass": Run(3, "x"),
        "slots": Frozen(),
        "dict": attributes,
        "list": Items([1, 2]),
        "deque": collections.deque([1], maxlen=3),
        "default": collections.defaultdict(list, a=[1]),
        "counter": collections.Counter("aab"),
        "ordered": collections.OrderedDict(a=1),
        "date": datetime.datetime(2026, 1, 2),
        "random": random.Random(0),
        "generator": np.random.default_rng(0),
        "partial": functools.partial(listed, 1),
        "set": {1, 2},
        "frozen": frozenset({1}),
        "bytes": b"\x00\xff",
        "empty bytes": b"",
        "array": bytearray(b"ab"),
        "complex": 1j,
        "huge": 1 << 5000,
        "scalar": np.float64(0.25),
        "index": np.int64(3),
        (1, "a"): None,
        2: "two",
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_whatever_people_save_is_described(protocol):
    things = many_things()
    if protocol < 2:
        del things["slots"]  # cannot be pickled so
    found = read(pickle.dumps(things, protocol))
    assert found[2] == "two" and (1, "a") in found
    kinds = {key: kind_of(value) for key, value in found.items()}
    assert kinds["namespace"] == "argparse.Namespace"
    assert kinds["function"] == f"{__name__}.listed"
    assert kinds["class"] == kinds["dataclass"] == f"{__name__}.Run"
    assert kinds["deque"] == "collections.deque"
    assert kinds["default"] == kinds["ordered"] == "dict of 1"
    assert found["default"] == {"a": [1]} and found["counter"] == {"a": 2, "b": 1}
    assert found["bytes"] == b"\x00\xff" and found["array"] == b"ab"
    assert found["empty bytes"] == b"" and found["complex"] == 1j
    assert found["scalar"] == 0.25 and found["index"] == 3
    assert found["huge"] == 1 << 5000
    assert found["dict"].entries == {"lr": 0.1}
    assert found["dict"].attributes == {"extra": 3}
    assert found["list"].items == [1, 2] and found["deque"].items == [1]
    assert found["namespace"].attributes["lr"] == 0.1
    assert found["dataclass"].attributes == {"steps": 3, "name": "x"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", ["f4", ">f4", "f2", "f8", "i8", ">i2", "u1", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_have_their_values(protocol, dtype, order):
    values = np.random.default_rng(0).normal(0, 50, (2, 3, 5))
    values = np.asarray(values.astype(dtype), order=order)
    (found,) = read(pickle.dumps([values], protocol))
    assert isinstance(found, PickledTensor) and not found.refused()
    assert found.shape == (2, 3, 5)
    got = found.read(pathlib.Path("x"))
    assert got.dtype == values.dtype.newbyteorder("<") and (got == values).all()


def test_bfloat16_arrays_have_their_values():
    import ml_dtypes

    values = np.arange(6, dtype=np.float32).reshape(2, 3).astype(ml_dtypes.bfloat16)
    (found,) = read(pickle.dumps([values]))
    assert found.dtype == "bfloat16"
    assert found.read(pathlib.Path("x")).tobytes() == values.tobytes()


@pytest.mark.parametrize("value", [["x", None], ["text"], [1j]])
def test_arrays_of_no_numbers_are_no_weights(value):
    (found,) = read(pickle.dumps([np.array(value)]))
    assert found.refused() and not found.is_weight


def test_names_in_messages_cannot_move_the_cursor():
    (found,) = read(b"\x80\x02]cevil\x1b[2J\nname\x1b[0m\n)Ra.")
    assert "\x1b" not in kind_of(found) and "evil" in kind_of(found)
