"""A user's pictures, volumes and arrays, and what is refused."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import numpy as np
import pytest

from converters import ConversionError, extras
from converters.extras import MissingExtraError
from converters.inputs import picture_inputs as pictures
from converters.inputs.user_inputs import (
    batches,
    find_inputs,
    read_inputs,
    write_inputs,
)
from vit_config import ViTConfig
from vit_config.data import DataConfig, IntensityConfig

Image = pytest.importorskip("PIL.Image")
nibabel = pytest.importorskip("nibabel")

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def config(**changes) -> ViTConfig:
    fields = {"img_size": (6, 10), "patch_size": 2, "embed_dim": 8, "depth": 1}
    fields |= {"num_heads": 2, "mlp_dim": 8}
    if isinstance(changes.get("data"), dict):
        changes["data"] = DataConfig(**changes["data"])
    return ViTConfig(**{**fields, **changes})


def volume_config(**changes) -> ViTConfig:
    fields = {"spatial_dims": 3, "img_size": (2, 4, 6), "in_chans": 1}
    return config(**{**fields, **changes})


FLAT = config(data=PLAIN)
GREY = config(in_chans=1, data={"mean": (0.0,), "std": (1.0,)})


def pixels(*shape: int, dtype=np.uint8) -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(3).integers(0, top, shape, dtype, endpoint=True)


def picture(path: Path, values: np.ndarray, **options) -> Path:
    Image.fromarray(values).save(path, **options)
    return path


def read(path: Path, c: ViTConfig) -> np.ndarray:
    (one,) = read_inputs(path, c)
    assert one.values.dtype == np.float32
    assert one.values.shape == (c.in_chans, *c.img_size)
    return one.values


def notes(path: Path, c: ViTConfig) -> str:
    (one,) = read_inputs(path, c)
    return "; ".join(one.notes)


def same(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal up to the rounding of a division by 255 in float32."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def refused(path: Path, c: ViTConfig = FLAT) -> str:
    with pytest.raises(ConversionError) as caught:
        list(read_inputs(path, c))
    text = str(caught.value)
    assert path.name in text
    assert text.count("problem") == 1  # no refusal inside another
    return text


# ---- pictures ---------------------------------------------------------------------


def test_a_picture_of_the_right_size_keeps_its_pixels_channels_first(tmp_path):
    values = pixels(6, 10, 3)
    path = picture(tmp_path / "a.png", values)
    same(read(path, FLAT), values.transpose(2, 0, 1) / 255)
    assert notes(path, FLAT) == ""


def test_range_mean_and_std_are_applied_in_this_order(tmp_path):
    values = pixels(6, 10, 3)
    path = picture(tmp_path / "a.png", values)
    mean, std = (0.5, -0.25, 0.1), (0.5, 0.25, 2.0)
    c = config(data={"mean": mean, "std": std, "input_range": (-1.0, 1.0)})
    expected = (values / 255 * 2 - 1 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(read(path, c), expected.transpose(2, 0, 1), atol=1e-5)


@pytest.mark.parametrize("c", [config(data={}), config()], ids=["empty", "none"])
def test_a_config_without_mean_and_std_is_said(tmp_path, c):
    path = picture(tmp_path / "a.png", pixels(6, 10, 3))
    assert "neither mean nor std" in notes(path, c)


@pytest.mark.parametrize("name", [None, "nearest", "bilinear", "bicubic", "lanczos"])
def test_pictures_are_squashed_with_the_configs_filter(tmp_path, name):
    values = pixels(31, 17, 3)
    path = picture(tmp_path / "a.png", values)
    filters = {None: "BICUBIC"}
    resample = Image.Resampling[filters.get(name) or name.upper()]
    resized = np.asarray(Image.fromarray(values).resize((10, 6), resample))
    found = read(path, config(data={**PLAIN, "interpolation": name}))
    # Pillow rounds to levels after each pass, which moves a value by 1.2 at most.
    atol = 1e-6 if name == "nearest" else 1.2 / 255
    np.testing.assert_allclose(found, resized.transpose(2, 0, 1) / 255, atol=atol)


def test_a_crop_that_is_not_taken_is_said(tmp_path):
    path = picture(tmp_path / "a.png", pixels(6, 10, 3))
    assert "crop (center)" in notes(path, config(data={"crop_mode": "center"}))
    assert "crop" not in notes(path, config(data={"crop_mode": "squash"}))


def test_grey_pictures_fill_three_channels_and_one(tmp_path):
    values = pixels(6, 10)
    path = picture(tmp_path / "a.png", values)
    expected = values.astype(np.float32) / 255
    same(read(path, FLAT), np.stack([expected] * 3))
    same(read(path, GREY), expected[None])


def test_grey_pictures_stored_as_colour_are_grey(tmp_path):
    values = pixels(6, 10)
    path = picture(tmp_path / "a.png", np.stack([values] * 3, axis=-1))
    same(read(path, GREY)[0], values.astype(np.float32) / 255)


def test_sixteen_bits_keep_their_precision(tmp_path):
    values = pixels(6, 10, dtype=np.uint16)
    path = picture(tmp_path / "a.png", values)
    expected = values.astype(np.float32) / 65535
    np.testing.assert_allclose(read(path, GREY)[0], expected, atol=1e-7)
    np.testing.assert_allclose(read(path, FLAT)[2], expected, atol=1e-7)


def test_sixteen_bits_stay_in_range_when_resized(tmp_path):
    values = np.where(np.indices((31, 43)).sum(0) // 8 % 2, 0xFFFF, 0)
    path = picture(tmp_path / "a.png", values.astype(np.uint16))
    found = read(path, GREY)
    assert found.min() >= 0
    assert found.max() <= 1
    assert found.std() > 0.1


def test_a_palette_is_looked_up(tmp_path):
    values = np.array([[0, 1, 2, 3, 2]] * 3, np.uint8).repeat(2, 0).repeat(2, 1)
    colours = pixels(4, 3)
    image = Image.frombytes("P", (10, 6), values.tobytes())
    image.putpalette(colours.tobytes())
    image.save(tmp_path / "a.png")
    expected = colours[values].transpose(2, 0, 1).astype(np.float32) / 255
    same(read(tmp_path / "a.png", FLAT), expected)
    assert notes(tmp_path / "a.png", FLAT) == ""
    image.save(tmp_path / "b.png", transparency=2)
    same(read(tmp_path / "b.png", FLAT), expected)
    assert "alpha" in notes(tmp_path / "b.png", FLAT)


def test_black_and_white_pictures_are_grey(tmp_path):
    values = pixels(6, 10) > 127
    path = picture(tmp_path / "a.png", values)
    same(read(path, GREY)[0], values.astype(np.float32))


def test_alpha_is_left_out_and_said_unless_opaque(tmp_path):
    values = pixels(6, 10, 4)
    path = picture(tmp_path / "a.png", values)
    expected = values[..., :3].transpose(2, 0, 1).astype(np.float32) / 255
    same(read(path, FLAT), expected)
    assert "alpha" in notes(path, FLAT)
    values[..., 3] = 255
    assert notes(picture(tmp_path / "b.png", values), FLAT) == ""
    four = config(in_chans=4, data={"mean": (0.0,) * 4, "std": (1.0,) * 4})
    same(read(tmp_path / "b.png", four)[:3], expected)


def test_inks_become_colours_and_that_is_said(tmp_path):
    inks = np.zeros((6, 10, 4), np.uint8)
    inks[..., 0] = 255  # cyan
    Image.frombytes("CMYK", (10, 6), inks.tobytes()).save(tmp_path / "a.tif")
    found = read(tmp_path / "a.tif", FLAT)
    np.testing.assert_array_equal(found[:, 0, 0], [0, 1, 1])
    assert "CMYK" in notes(tmp_path / "a.tif", FLAT)


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (3, lambda x: x[::-1, ::-1]),
        (6, lambda x: np.rot90(x, -1)),
        (8, np.rot90),
        (2, lambda x: x[:, ::-1]),
    ],
)
def test_pictures_are_turned_as_the_camera_says(tmp_path, orientation, turn):
    values = pixels(10, 6, 3) if orientation in (6, 8) else pixels(6, 10, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = picture(tmp_path / "a.png", values, exif=exif)
    expected = turn(values).transpose(2, 0, 1).astype(np.float32) / 255
    same(read(path, FLAT), expected)
    assert "EXIF" in notes(path, FLAT)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "PNG"])
def test_kinds_of_files(tmp_path, format):
    path = tmp_path / f"a.{'jpg' if format == 'JPEG' else format.lower()}"
    values = np.full((6, 10, 3), (200, 100, 50), np.uint8)
    picture(path, values, format=format)
    found = read(path, FLAT)
    np.testing.assert_allclose(
        found[:, 3, 5], np.array([200, 100, 50]) / 255, atol=0.02
    )


def test_colour_fits_no_other_number_of_channels(tmp_path):
    path = picture(tmp_path / "a.png", pixels(6, 10, 3))
    assert "3 channels; the model takes 4" in refused(path, config(in_chans=4))
    assert "3 channels; the model takes 5" in refused(path, config(in_chans=5))


def test_a_config_that_states_its_preprocessing_gets_it(tmp_path):
    values = pixels(9, 22, 3)
    path = picture(tmp_path / "a.png", values)
    whole = {**PLAIN, "input_range": (0.0, 1.0), "interpolation": "nearest"}
    c = config(data={**whole, "crop_mode": "center", "crop_pct": 6 / 9})
    same(read(path, c), values[2:8, 6:16].transpose(2, 0, 1) / 255)
    assert notes(path, c) == ""


def test_floats_in_a_picture_are_refused(tmp_path):
    path = picture(tmp_path / "a.tif", pixels(6, 10).astype(np.float32))
    assert "mode F" in refused(path)


@pytest.mark.parametrize("kept", [0, 1, 30, 100, 0.5, 0.9])
def test_cut_off_pictures_are_refused(tmp_path, kept):
    for name in ("a.png", "a.jpg", "a.tif", "a.webp", "a.gif"):
        path = picture(tmp_path / name, pixels(60, 100, 3))
        read(path, FLAT)
        data = path.read_bytes()
        path.write_bytes(data[: int(kept * len(data)) if kept < 1 else kept])
        assert "problem" in refused(path)


def test_damaged_pictures_are_refused_or_read_but_never_anything_else(tmp_path):
    rng = np.random.default_rng(0)
    outcomes = set()
    for name in ("a.png", "a.jpg", "a.tif", "a.webp", "a.gif"):
        good = picture(tmp_path / name, pixels(20, 30, 3)).read_bytes()
        for _ in range(40):
            data = bytearray(good)
            for place in rng.integers(0, len(data), 6):
                data[place] = rng.integers(256)
            (tmp_path / name).write_bytes(data)
            try:
                read(tmp_path / name, FLAT)
                outcomes.add("read")
            except ConversionError:
                outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_other_content_under_a_pictures_name_is_refused(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("<html>")
    assert "PNG, JPEG" in refused(path)
    # What Pillow would start another program for.
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    assert "PNG, JPEG" in refused(path)


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims a size, and has no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + crc

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    pixels = zlib.compress(b"\0" * 1000)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("width", [11_000, 60_000])
def test_decompression_bombs_are_refused_unread(tmp_path, width):
    path = tmp_path / "a.png"
    path.write_bytes(png_of(width, 10_000))
    assert "too many" in refused(path)


def test_several_pictures_in_a_file_are_refused(tmp_path):
    frames = [Image.fromarray(pixels(6, 10)), Image.fromarray(255 - pixels(6, 10))]
    for name in ("a.gif", "a.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert "2 pictures" in refused(tmp_path / name)


# ---- volumes ----------------------------------------------------------------------

RAS = np.diag([1.0, 1.0, 1.0, 1.0])


def volume(path: Path, values: np.ndarray, affine: np.ndarray = RAS) -> Path:
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


def voxels(*shape: int) -> np.ndarray:
    return np.random.default_rng(4).standard_normal(shape, np.float32)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
def test_a_volume_that_fits_is_taken_as_it_is(tmp_path, name):
    values = voxels(2, 4, 6)
    path = volume(tmp_path / name.lower(), values).rename(tmp_path / name)
    np.testing.assert_array_equal(read(path, volume_config()), values[None])
    assert notes(path, volume_config()) == ""


def test_a_volumes_header_scales_it(tmp_path):
    values = pixels(2, 4, 6).astype(np.int16)
    image = nibabel.Nifti1Image(values, RAS)
    image.header.set_slope_inter(0.5, -3)
    nibabel.save(image, tmp_path / "a.nii")
    found = read(tmp_path / "a.nii", volume_config())
    np.testing.assert_array_equal(found[0], 0.5 * values - 3)


def test_channels_of_a_volume_come_first(tmp_path):
    values = voxels(2, 4, 6, 3)
    path = volume(tmp_path / "a.nii", values)
    found = read(path, volume_config(in_chans=3))
    np.testing.assert_array_equal(found, values.transpose(3, 0, 1, 2))


def test_one_channel_may_have_its_own_axis(tmp_path):
    values = voxels(2, 4, 6, 1)
    found = read(volume(tmp_path / "a.nii", values), volume_config())
    np.testing.assert_array_equal(found[0], values[..., 0])


def test_a_volume_is_turned_to_the_configs_orientation(tmp_path):
    values = voxels(4, 2, 6)  # its axes run A, L, S
    affine = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    path = volume(tmp_path / "a.nii", values, affine)
    c = volume_config(data={"orientation": "RAS"})
    np.testing.assert_array_equal(read(path, c)[0], values.transpose(1, 0, 2)[::-1])
    assert "ALS to RAS" in notes(path, c)
    assert "another order" in refused(path, volume_config())


def test_a_header_that_does_not_say_how_it_lies_is_said(tmp_path):
    image = nibabel.Nifti1Image(voxels(2, 4, 6), None)
    nibabel.save(image, tmp_path / "a.nii")
    c = volume_config(data={"orientation": "RAS"})
    assert "does not say how it lies" in notes(tmp_path / "a.nii", c)


def test_what_is_not_done_to_a_volume_is_said(tmp_path):
    path = volume(tmp_path / "a.nii", voxels(2, 4, 6), np.diag([2.0, 1.0, 1.0, 1.0]))
    intensity = IntensityConfig(kind="window", low=-100.0, high=300.0)
    c = volume_config(data={"spacing_mm": (1.0, 1.0, 1.5), "intensity": intensity})
    assert "2 x 1 x 1 mm" in notes(path, c)
    assert "1 x 1 x 1.5 mm" in notes(path, c)
    assert "intensity not applied" in notes(path, c)


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((2, 4, 7), "expected (2, 4, 6)"),
        ((6, 4, 2), "another order"),
    ],
)
def test_a_volume_of_another_size_is_refused(tmp_path, shape, says):
    text = refused(volume(tmp_path / "a.nii", voxels(*shape)), volume_config())
    assert says in text
    assert "not resampled" in text


def test_a_volume_of_other_axes_or_channels_is_refused(tmp_path):
    for shape, says in (((2, 4), "3 axes"), ((2, 4, 6, 2), "the model takes 1")):
        text = refused(volume(tmp_path / "a.nii", voxels(*shape)), volume_config())
        assert says in text


def test_a_volume_is_prepared_where_the_config_says_how(tmp_path):
    from converters.inputs.prepare_volume import prepare_volume
    from vit_config.preprocess_volume import make_volume_plan

    data = {"axes": ("X", "Y", "Z"), "orientation": "LAS", "spacing_mode": "keep"}
    data |= {"intensity": IntensityConfig(kind="zscore"), "fit": "pad_or_crop"}
    c = volume_config(data={**data, "fit_first": False, "pad_value": 0.0})
    values = voxels(5, 3, 7)
    path = volume(tmp_path / "a.nii", values)
    expected = prepare_volume(values[::-1, :, :, None], make_volume_plan(c))
    assert np.array_equal(read(path, c), expected)
    assert "RAS to LAS" in notes(path, c) and "not applied" not in notes(path, c)


def test_complex_voxels_are_refused(tmp_path):
    path = volume(tmp_path / "a.nii", voxels(2, 4, 6).astype(np.complex64))
    assert "complex64" in refused(path, volume_config())


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kept", [0, 100, 0.9])
def test_cut_off_volumes_are_refused(tmp_path, name, kept):
    path = volume(tmp_path / name, voxels(2, 4, 6))
    read(path, volume_config())
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if kept < 1 else kept])
    assert "unreadable" in refused(path, volume_config())


# ---- arrays -----------------------------------------------------------------------


def saved(path: Path, values: np.ndarray) -> Path:
    if path.suffix == ".npz":
        np.savez_compressed(path, x=values)
    else:
        np.save(path, values)
    return path


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "u1", "<i2"])
def test_arrays_are_taken_as_they_are(tmp_path, name, dtype):
    values = (100 * np.abs(voxels(3, 6, 10))).astype(dtype)
    expected = values.astype(np.float32)
    path = saved(tmp_path / name, values)
    np.testing.assert_array_equal(read(path, FLAT), expected)
    saved(path, np.stack([values, values + 1]))
    first, second = (one.values for one in read_inputs(path, FLAT))
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(second, (values + 1).astype(np.float32))


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((3, 6, 11), "expected (3, 6, 10) or (B, 3, 6, 10)"),
        ((6, 10, 3), "channels come first"),
        ((4, 6, 10, 3), "channels come first"),
        ((3, 10, 6), "another order"),
        ((6, 10), "expected (3, 6, 10)"),
        ((1, 1, 3, 6, 10), "expected (3, 6, 10)"),
        ((0, 3, 6, 10), "without any input"),
    ],
)
def test_arrays_of_another_shape_are_refused(tmp_path, shape, says):
    assert says in refused(saved(tmp_path / "a.npy", np.zeros(shape)))


@pytest.mark.parametrize("dtype", [np.complex64, bool, "S3", object])
def test_arrays_of_no_numbers_are_refused_and_never_unpickled(tmp_path, dtype):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((3, 6, 10), dtype), allow_pickle=True)
    assert "type" in refused(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_a_number_is_refused(tmp_path, bad):
    values = voxels(3, 6, 10)
    values[1, 2, 3] = bad
    count = "1 NaN and 0" if np.isnan(bad) else "0 NaN and 1"
    assert count in refused(saved(tmp_path / "a.npy", values))
    path = volume(tmp_path / "a.nii", np.full((2, 4, 6), bad, np.float32))
    assert "infinite" in refused(path, volume_config())


def test_numbers_too_large_for_float32_are_refused(tmp_path):
    assert "infinite" in refused(saved(tmp_path / "a.npy", np.full((3, 6, 10), 1e300)))


def test_fortran_order_is_refused_with_the_way_out(tmp_path):
    path = saved(tmp_path / "a.npy", np.asfortranarray(voxels(3, 6, 10)))
    assert "ascontiguousarray" in refused(path)


def test_an_archive_of_several_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=voxels(3, 6, 10), y=voxels(2))
    assert "2 arrays (x, y)" in refused(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize("kept", [0, 7, 60, 0.5, 0.98])
def test_cut_off_arrays_are_refused(tmp_path, name, kept):
    path = saved(tmp_path / name, voxels(4, 3, 6, 10))
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if kept < 1 else kept])
    refused(path)


def test_a_damaged_archive_is_refused(tmp_path):
    path = saved(tmp_path / "a.npz", voxels(4, 3, 6, 10))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    assert "broken" in refused(path)


# ---- files and folders ------------------------------------------------------------


def test_a_folder_is_read_in_order_and_says_what_it_skipped(tmp_path):
    for name in ("b.png", "a.PNG", "c.npy", "notes.txt", ".DS_Store", "z.dcm"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "more").mkdir()
    found = find_inputs([tmp_path])
    assert [file.name for file in found.files] == ["a.PNG", "b.png", "c.npy"]
    assert sorted(found.skipped) == [".DS_Store", "more", "notes.txt", "z.dcm"]
    assert "notes.txt" in found.note()
    assert find_inputs([tmp_path / "b.png"]).note() == ""


def test_every_path_that_is_no_input_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "x.txt").touch()
    (tmp_path / "x.txt").touch()
    names = ["gone.png", "empty", "foreign", "x.txt"]
    with pytest.raises(ConversionError) as caught:
        find_inputs([tmp_path / name for name in names])
    text = str(caught.value)
    for name, what in zip(
        names,
        ["no such file", "empty folder", "without inputs", "another kind"],
        strict=True,
    ):
        assert name in text
        assert what in text


def test_pictures_and_volumes_need_a_model_of_their_dimensions(tmp_path):
    flat = picture(tmp_path / "a.png", pixels(6, 10, 3))
    deep = volume(tmp_path / "a.nii", voxels(2, 4, 6))
    assert "a picture; the model takes inputs of 2 x 4 x 6" in refused(
        flat, volume_config()
    )
    assert "a volume; the model takes inputs of 6 x 10" in refused(deep, FLAT)


def test_inputs_are_known_by_the_hash_of_their_file(tmp_path):
    path = saved(tmp_path / "a.npy", voxels(2, 3, 6, 10))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert [one.case for one in read_inputs(path, FLAT)] == [digest, digest]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_batches_hold_all_inputs_in_order(tmp_path, size):
    values = voxels(7, 3, 6, 10)
    files = [
        saved(tmp_path / "a.npy", values[:4]),
        saved(tmp_path / "b.npz", values[4]),
    ]
    files.append(saved(tmp_path / "c.npy", values[5:]))
    made = list(batches(files, FLAT, size))
    np.testing.assert_array_equal(np.concatenate([x for x, _ in made]), values)
    assert {len(x) for x, _ in made[:-1]} <= {size}
    assert [len(x) for x, _ in made] == [len(inputs) for _, inputs in made]


def test_written_inputs_are_those_that_were_read(tmp_path):
    values = voxels(3, 3, 6, 10)
    array = saved(tmp_path / "a.npy", values)
    pixel = picture(tmp_path / "b.png", pixels(6, 10, 4))
    c = config()
    written = write_inputs(tmp_path / "all.npy", [array, pixel], c)
    found = np.load(tmp_path / "all.npy")
    np.testing.assert_array_equal(found[:3], values)
    np.testing.assert_array_equal(found[3], read(pixel, c))
    assert len(written.cases) == len(found) == 4
    assert any("alpha" in note and "(1 of 4)" in note for note in written.notes)
    with pytest.raises(ConversionError, match="4 inputs; at most 3"):
        write_inputs(tmp_path / "all.npy", [array, pixel], c, most=3)


@pytest.mark.parametrize(
    ("module", "name"), [("PIL.Image", "a.png"), ("nibabel", "a.nii")]
)
def test_a_missing_library_is_one_line(tmp_path, monkeypatch, module, name):
    (tmp_path / name).touch()

    def gone(wanted: str):
        raise ModuleNotFoundError(name=wanted.partition(".")[0])

    monkeypatch.setattr(extras, "import_module", gone)
    c = FLAT if name == "a.png" else volume_config()
    with pytest.raises(MissingExtraError, match=r"vit-duet\[verify\]"):
        list(read_inputs(tmp_path / name, c))


def test_pillow_knows_the_formats_that_are_asked_for():
    Image.init()
    assert set(pictures.FORMATS) <= set(Image.OPEN)


def test_a_phones_picture_with_a_second_one_inside_is_its_first(tmp_path):
    first, second = (Image.new("RGB", (10, 6), colour) for colour in ("red", "blue"))
    path = tmp_path / "a.jpg"
    first.save(path, "MPO", save_all=True, append_images=[second])
    with Image.open(path) as opened:
        assert opened.n_frames == 2
    np.testing.assert_allclose(read(path, FLAT)[:, 2, 2], [1, 0, 0], atol=0.02)
