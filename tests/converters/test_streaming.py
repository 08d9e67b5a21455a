"""Threads that read and hash: order, bounds, errors, and memory that is used again."""

from __future__ import annotations

import platform
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest

from converters.mapping import stream as streaming
from converters.mapping.pipe import MemorySource, sha256
from converters.mapping.stream import Hasher, ahead

RANDOM = np.random.default_rng(11)


class Recorder:
    """A source that makes an array at each reading, and notes what happens."""

    def __init__(self, count=12, bad=None):
        arrays = {f"t{i}": RANDOM.standard_normal((40, 30)) for i in range(count)}
        self._source, self._bad = MemorySource(arrays), bad
        self.arrays, self.tensors = arrays, self._source.tensors
        self.read_names: list[str] = []
        self.threads: set[int] = set()
        self._served: list[weakref.ref[np.ndarray]] = []
        self.started = {name: threading.Event() for name in arrays}

    def read(self, name):
        self.read_names.append(name)
        self.threads.add(threading.get_ident())
        self.started[name].set()
        if name == self._bad:
            raise OSError(f"no {name}")
        array = self._source.read(name).copy()
        self._served.append(weakref.ref(array))
        return array

    @property
    def alive(self):
        """How many of the arrays that were read somebody holds."""
        return sum(served() is not None for served in self._served)


def test_tensors_come_in_the_order_asked_for_from_one_thread():
    source = Recorder()
    names = list(reversed(source.arrays))
    with ahead(source, names) as arrays:
        found = [(name, array.copy()) for name, array in arrays]
    assert [name for name, _ in found] == names == source.read_names
    assert all(np.array_equal(array, source.arrays[name]) for name, array in found)
    assert len(source.threads) == 1
    assert threading.get_ident() not in source.threads


def test_the_next_tensor_is_read_while_one_is_used_and_no_more():
    source = Recorder()
    names = list(source.arrays)
    with ahead(source, names) as arrays:
        for number, (_, _array) in enumerate(arrays):
            if number + 1 < len(names):
                assert source.started[names[number + 1]].wait(10)
            assert len(source.read_names) <= number + 2


def test_nothing_and_one_tensor():
    source = Recorder(1)
    with ahead(source, []) as arrays:
        assert list(arrays) == []
    with ahead(source, ["t0"]) as arrays:
        assert [name for name, _ in arrays] == ["t0"]


def test_an_error_comes_where_its_tensor_would_have_come():
    source = Recorder(bad="t3")
    seen = []
    with (
        pytest.raises(OSError, match="no t3"),
        ahead(source, source.arrays) as arrays,
    ):
        for name, _ in arrays:
            seen.append(name)
    assert seen == ["t0", "t1", "t2"]


def test_whoever_leaves_early_leaves_nobody_reading():
    source = Recorder()
    with pytest.raises(RuntimeError), ahead(source, source.arrays) as arrays:
        next(arrays)
        raise RuntimeError
    count = len(source.read_names)
    assert count <= 2
    names = {thread.ident for thread in threading.enumerate()}
    assert not names & source.threads


def test_hasher_keeps_order_and_agrees_with_plain_hashing():
    arrays = {str(i): RANDOM.standard_normal((50, 40)) for i in range(30)}
    with Hasher() as hasher:
        for name, array in arrays.items():
            hasher.add(name, array)
        found = hasher.digests()
    assert list(found) == list(arrays)
    assert all(found[name][2] == sha256(array) for name, array in arrays.items())


def test_few_arrays_are_held_at_a_time(monkeypatch):
    def slow(array):
        time.sleep(0.005)
        return sha256(array)

    monkeypatch.setattr(streaming, "sha256", slow)
    source = Recorder(40)
    most = 0
    with ahead(source, source.arrays) as arrays, Hasher() as hasher:
        for name, array in arrays:
            hasher.add(name, array)
            most = max(most, source.alive)
        assert hasher.digests().keys() == source.arrays.keys()
    assert 2 <= most <= 5, "two are hashed, one is used, one is ready, one just goes"


FAULTS = """
import resource, sys
import numpy as np
from converters.mapping.stream import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

def use(count):
    for _ in range(count):
        pair = [np.ones(600_000, np.float32) for _ in range(2)]
        del pair

use(2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use(50)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's malloc")
def test_freed_memory_is_used_again():
    faults = {
        kind: int(
            subprocess.run(
                [sys.executable, "-c", FAULTS, kind],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        for kind in ("plain", "kept")
    }
    assert faults["kept"] < 1000 < faults["plain"], faults
