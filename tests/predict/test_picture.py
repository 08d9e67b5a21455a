"""Files of pictures to pixels: what becomes of each kind, and what is refused."""

from __future__ import annotations

import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from converters import ConversionError, extras
from converters.inputs.picture import quiet, read_picture

Image = pytest.importorskip("PIL.Image")


def pixels(*shape: int, dtype=np.uint8) -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(5).integers(0, top, shape, dtype, endpoint=True)


def picture(path: Path, values: np.ndarray, **options) -> Path:
    Image.fromarray(values).save(path, **options)
    return path


def refused(path: Path, channels: int = 3) -> str:
    with pytest.raises(ConversionError) as caught:
        read_picture(path, channels)
    assert path.name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pixels_are_those_of_the_file(tmp_path, channels):
    values = pixels(5, 7, channels)
    path = picture(tmp_path / "a.png", values[..., 0] if channels == 1 else values)
    found = read_picture(path, channels)
    assert found.levels.dtype == np.uint8
    np.testing.assert_array_equal(found.levels, values)
    assert found.notes == ()


def test_a_stream_is_read_and_the_path_is_its_name(tmp_path):
    data = picture(tmp_path / "a.png", pixels(5, 7, 3)).read_bytes()
    found = read_picture(Path("gone.png"), 3, stream=io.BytesIO(data))
    np.testing.assert_array_equal(found.levels, pixels(5, 7, 3))
    with pytest.raises(ConversionError, match=r"gone\.png.*\n.*found text, HTML"):
        read_picture(Path("gone.png"), 3, stream=io.BytesIO(b"<!DOCTYPE html>"))


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled_and_never_cut(tmp_path, suffix, channels):
    stored = np.array([[0, 128, 129, 255, 256, 1000], [4095, 0x7FFF, 40000] * 2])
    stored[1, 5] = 65535
    path = picture(tmp_path / f"a.{suffix}", stored.astype(np.uint16))
    found = read_picture(path, channels)
    # 65535 is 255: the nearest level to v / 257.
    expected = [[0, 0, 1, 1, 1, 4], [16, 127, 156, 16, 127, 255]]
    for channel in range(channels):
        np.testing.assert_array_equal(found.levels[..., channel], expected)
    (note,) = found.notes
    assert note == "16-bit grey, of which 65535 is white"
    exact = read_picture(path, channels, exact=True).levels
    np.testing.assert_allclose(exact[..., 0], stored / 257, rtol=1e-6)


def test_sixteen_bits_that_may_be_twelve_are_said(tmp_path):
    path = picture(tmp_path / "a.png", pixels(5, 7, dtype=np.uint16) >> 4)
    (note,) = read_picture(path, 1).notes
    assert "brightest value is only 40" in note  # of 4095


def test_colour_becomes_grey_by_its_luminance(tmp_path):
    values = pixels(5, 7, 3)
    found = read_picture(picture(tmp_path / "a.png", values), 1)
    luminance = values @ np.array([0.299, 0.587, 0.114])  # ITU-R 601
    assert np.abs(found.levels[..., 0] - luminance).max() < 0.51
    assert found.notes == ("colour turned to grey",)


def test_alpha_is_not_made_up(tmp_path):
    path = picture(tmp_path / "a.png", pixels(5, 7, 3))
    assert "3 channels; the model takes 4" in refused(path, 4)


def test_clear_palettes_and_inks(tmp_path):
    index = np.array([[0, 1, 2], [2, 0, 1]], np.uint8)
    colours = pixels(3, 3)
    image = Image.frombytes("P", (3, 2), index.tobytes())
    image.putpalette(colours.tobytes())
    image.save(tmp_path / "a.png", transparency=bytes([0, 100, 255]))
    found = read_picture(tmp_path / "a.png", 3)
    np.testing.assert_array_equal(found.levels, colours[index])
    assert found.notes == ("its alpha channel left out",)
    inks = pixels(2, 3, 4)
    Image.frombytes("CMYK", (3, 2), inks.tobytes()).save(tmp_path / "a.tif")
    found = read_picture(tmp_path / "a.tif", 3)
    # A part of the ink is gone: (1 - c) (1 - k)
    part = 1 - inks.astype(np.float64) / 255
    expected = 255 * part[..., :3] * part[..., 3:]
    assert np.abs(found.levels - expected).max() < 1.01
    assert "CMYK" in found.notes[0]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "an empty file, 0 bytes"),
        (b"\n<html>", "found text, HTML or XML"),
        (b'{"a": 1}', "found text, JSON"),
        (b"%PDF-1.7", "found a PDF"),
        (b"\x1f\x8b\x08\0", "packed with gzip"),
        (b"\0\0\0\x18ftypheic\0\0", "found heic"),
        (b"\0" * 128 + b"DICM", "found DICOM"),
        (b"\1\2\3", "it begins with 01 02 03"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path, data, says):
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    assert says in refused(path)


def test_a_picture_cut_off_is_refused(tmp_path):
    path = picture(tmp_path / "a.jpg", pixels(60, 100, 3))
    path.write_bytes(path.read_bytes()[:2000])
    assert "truncated" in refused(path)
    assert "no such file" in refused(tmp_path / "b.jpg")


def test_threads_leave_the_warning_filters_alone(tmp_path):
    values = np.zeros((6, 10), np.uint8)
    image = Image.fromarray(values).convert("P")
    image.save(tmp_path / "a.png", transparency=bytes(range(200)))
    before = list(warnings.filters)
    with quiet(), ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: read_picture(tmp_path / "a.png", 3), range(40)))
    assert warnings.filters == before


def test_without_pillow_there_is_one_line(tmp_path, monkeypatch):
    path = picture(tmp_path / "a.png", pixels(5, 7, 3))

    def gone(wanted: str):
        raise ModuleNotFoundError(name=wanted.partition(".")[0])

    monkeypatch.setattr(extras, "import_module", gone)
    with pytest.raises(extras.MissingExtraError, match=r"PIL .*vit-duet\[predict\]"):
        read_picture(path, 3)
