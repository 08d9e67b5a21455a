"""Pictures as inputs of a 2D model, by Pillow.

Turned as their EXIF data say, squashed to the model's size, scaled, and normalised as
the config says. It is the same picture for both models, whatever they were trained on:
a crop that the config states is not taken.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.errors import ConversionError, printable, refusal
from converters.extras import optional
from vit_config import ViTConfig

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"),
    *(".tif", ".tiff", ".ppm", ".pgm"),
)
# Pillow knows more; some of those (EPS) start other programs.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
MOST_PIXELS = 100_000_000
"""Of a picture as it is stored; more is taken for a decompression bomb."""
_TOO_LARGE = f"more than {MOST_PIXELS:,} pixels, too many for a picture"

FILTERS = {
    "nearest": "NEAREST",
    "bilinear": "BILINEAR",
    "bicubic": "BICUBIC",
    "lanczos": "LANCZOS",
}
GREY16 = ("I;16", "I;16L", "I;16B", "I;16N")
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def read_picture(
    path: Path, config: ViTConfig
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """One picture as the model takes it.

    Args:
        path: The file.
        config: Of the model. Of its `data`, `interpolation` (bicubic without),
            `input_range` (0 to 1 without), `mean` and `std` count.

    Returns:
        (C, H, W), and what was done that the user may not expect.

    Raises:
        ConversionError: If it cannot be read, or does not fit the model's channels.
        MissingExtraError: If Pillow is not installed.
    """
    image_module = optional("PIL.Image", "verify")
    turn = optional("PIL.ImageOps", "verify").exif_transpose
    notes: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow's guesses about odd files
            with image_module.open(path, formats=FORMATS) as opened:
                _check_size(opened, path)
                opened.load()
                picture = turn(opened)
                if opened.getexif().get(0x0112, 1) != 1:
                    notes.append("turned as its EXIF data say")
    except (ConversionError, MemoryError):
        raise
    except image_module.DecompressionBombError:
        raise refusal(_TOO_LARGE, file=path) from None
    except image_module.UnidentifiedImageError:
        raise refusal(
            f"no picture of a kind that is read: {', '.join(FORMATS)}", file=path
        ) from None
    except Exception as error:  # whatever a decoder makes of hostile bytes
        raise refusal(f"unreadable: {printable(error, 200)}", file=path) from None
    values = _values(picture, path, config, image_module, notes)
    return _normalised(values, config, notes), tuple(notes)


def _check_size(opened: Any, path: Path) -> None:
    width, height = opened.size
    if width * height > MOST_PIXELS:
        raise refusal(_TOO_LARGE, file=path)
    frames = getattr(opened, "n_frames", 1)
    if frames > 1 and opened.format != "MPO":  # a photo with its own thumbnails
        raise refusal(f"{frames} pictures in one file; expected one", file=path)


def _values(
    picture: Any, path: Path, config: ViTConfig, image_module: Any, notes: list[str]
) -> NDArray[np.float32]:
    """(C, H, W) from 0 to 1, of the model's size."""
    data = config.data
    name = (data and data.interpolation) or "bicubic"
    resample = getattr(image_module.Resampling, FILTERS[name])
    height, width = config.img_size
    if data and data.crop_mode in ("center", "border"):
        notes.append(f"squashed; the config's crop ({data.crop_mode}) is not taken")
    if picture.mode in GREY16 and config.in_chans in (1, 3):
        grey = np.asarray(picture).astype(np.float32) / 65535
        resized = image_module.fromarray(grey).resize((width, height), resample)
        # Bicubic overshoots at edges; 8 bits are cut off there, so these are, too.
        one = np.clip(np.asarray(resized, np.float32), 0, 1)
        return np.repeat(one[None], config.in_chans, axis=0)
    fitted = _channels(picture, path, config, notes)
    plain = np.asarray(fitted.resize((width, height), resample), np.float32)
    plain = plain.reshape(height, width, -1) / np.float32(255)
    return np.moveaxis(plain, -1, 0)


def _channels(picture: Any, path: Path, config: ViTConfig, notes: list[str]) -> Any:
    """The picture with 8 bits and as many channels as the model takes."""
    wanted = config.in_chans
    if picture.mode in ("P", "PA", "1", "RGBX", "La", "RGBa"):
        plain = {"1": "L", "RGBX": "RGB", "La": "LA", "RGBa": "RGBA"}
        clear = picture.mode == "PA" or "transparency" in picture.info
        picture = picture.convert(
            plain.get(picture.mode) or ("RGBA" if clear else "RGB")
        )
    if picture.mode in ("CMYK", "YCbCr"):
        notes.append(f"{picture.mode} as RGB, without its colour profile")
        picture = picture.convert("RGB")
    if picture.mode not in MODES.values():
        raise refusal(
            f"pixels of mode {picture.mode}; expected 8 bits a channel or 16-bit grey",
            file=path,
        )
    if picture.mode in ("LA", "RGBA") and wanted != len(picture.getbands()):
        if picture.getchannel("A").getextrema() != (255, 255):
            notes.append("its alpha channel left out")
        picture = picture.convert(picture.mode[:-1])
    found = len(picture.getbands())
    if found == 1 and wanted == 3:
        return picture.convert("RGB")
    if found == 3 and wanted == 1:
        red, green, blue = (np.asarray(band) for band in picture.split())
        if np.array_equal(red, green) and np.array_equal(green, blue):
            return picture.getchannel(0)
    if found != wanted:
        raise refusal(
            f"a picture of {found} channels; the model takes {wanted}", file=path
        )
    return picture


def _normalised(
    values: NDArray[np.float32], config: ViTConfig, notes: list[str]
) -> NDArray[np.float32]:
    data = config.data
    low, high = (data and data.input_range) or (0.0, 1.0)
    values = values * np.float32(high - low) + np.float32(low)
    mean, std = (data.mean, data.std) if data else (None, None)
    if mean is None and std is None:
        notes.append(
            f"the config states neither mean nor std: pixels go in from {low:g} to "
            f"{high:g}, which may not be what the model was trained on"
        )
    if mean is not None:
        values = values - np.array(mean, np.float32)[:, None, None]
    if std is not None:
        values = values / np.array(std, np.float32)[:, None, None]
    return np.ascontiguousarray(values, np.float32)
