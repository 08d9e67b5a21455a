"""Arrays that are written as they come."""

from __future__ import annotations

import threading
import time

import ml_dtypes
import numpy as np
import pytest

from converters.workers.archive import Archive, Arrays, as_laid, await_file


def test_numpy_reads_what_was_written(tmp_path):
    arrays = {
        "a:b.c": np.arange(6.0).reshape(2, 3),
        "float16": np.array([1.5, np.inf], np.float16),
        "bfloat16": np.array([1.5, -3e38], ml_dtypes.bfloat16),
        "whole": np.array([1, -2], np.int32),
        "number": np.float64(0.1),
        "strided": np.arange(24, dtype=np.float32).reshape(2, 3, 4).swapaxes(0, 2),
    }
    with Archive(tmp_path / "x.npz") as archive:
        for name, array in arrays.items():
            archive.add(name, np.asarray(array))
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        assert found.files == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], np.asarray(array, np.float64))
        assert found["float16"].dtype == found["bfloat16"].dtype == np.float32
        assert found["whole"].dtype == np.int32 and found["number"].shape == ()


def test_there_is_no_file_before_it_is_complete(tmp_path):
    with Archive(tmp_path / "x.npz") as archive:
        archive.add("a", np.zeros(3))
        assert not (tmp_path / "x.npz").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), Archive(tmp_path / "x.npz") as archive:
        archive.add("a", np.zeros(3))
        raise KeyError("a")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("axes", [(0, 1, 2), (0, 2, 1), (2, 0, 1), (1, 2, 0)])
def test_the_order_in_memory_comes_back(axes, tmp_path):
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(axes)
    with Archive(tmp_path / "x.npz") as archive:
        archive.add_as_laid("a", array)
    with np.load(tmp_path / "x.npz") as found:
        back = as_laid(found, "a")
    assert back.strides == array.strides and (back == array).all()


def test_waiting_for_a_file(tmp_path):
    path = tmp_path / "x"

    def later():
        time.sleep(0.2)
        path.touch()

    thread = threading.Thread(target=later)
    thread.start()
    assert await_file(path, 30) == path
    thread.join()
    with pytest.raises(TimeoutError, match=r"y was not there after 0.1 s"):
        await_file(tmp_path / "y", 0.1)


def test_arrays_are_read_once_and_the_last_ones_are_kept(tmp_path):
    values = {name: np.full(4, i, np.float32) for i, name in enumerate("abc")}
    with Archive(tmp_path / "x.npz") as archive:
        for name, array in values.items():
            archive.add(name, array)
    with Arrays(tmp_path / "x.npz", kept=2 * 16) as arrays:
        assert list(arrays) == list("abc") and len(arrays) == 3
        assert "b" in arrays and "d" not in arrays
        first = {name: arrays[name] for name in "ab"}
        assert arrays["a"] is first["a"]
        np.testing.assert_array_equal(arrays["c"], values["c"])
        assert arrays["a"] is first["a"], "asked for after b"
        assert arrays["b"] is not first["b"]
        with pytest.raises(ValueError, match="read-only"):
            arrays["b"][0] = 7
        with pytest.raises(KeyError):
            arrays["d"]
