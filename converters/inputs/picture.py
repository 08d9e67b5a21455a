"""Pictures in files to pixels, by Pillow.

What is done, and said in `Picture.notes` where a user may not expect it:

| what the file holds | what becomes of it |
| --- | --- |
| an EXIF orientation | turned so |
| one channel, for a model of three | three equal ones |
| colour, for a model of one channel | grey, as `convert("L")`: 0.299, 0.587, 0.114 |
| a palette, 1 bit, YCbCr | looked up, or converted, by Pillow |
| CMYK | RGB as Pillow has it, without the colour profile |
| alpha, for a model without | left out, as `convert("RGB")` does: nothing is blended |
| 16-bit grey | 65535 is white: divided by 257 (Pillow's `convert` cuts at 255) |
| 16-bit colour | the upper 8 bits, as Pillow reads it |
| a second picture of a phone's (MPO) | the first one counts |

Refused: floats and 32-bit integers, whose white nobody states; other colour spaces;
several pictures in one file; colour without alpha for a model of four channels; more
pixels than `MOST_PIXELS`.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from converters.errors import ConversionError, printable, refusal
from converters.extras import optional

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"),
    *(".tif", ".tiff", ".ppm", ".pgm"),
)
# Pillow knows more; some of those (EPS) start other programs.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
MOST_PIXELS = 100_000_000
"""Of a picture as it is stored; more is taken for a decompression bomb."""
_TOO_LARGE = f"more than {MOST_PIXELS:,} pixels, too many for a picture"

GREY16 = ("I;16", "I;16L", "I;16B", "I;16N")
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
STEP16 = 257  # 65535 / 255
DIM16 = 4095
"""A 16-bit picture without more than that may have been meant as one of 12 bits."""

_STARTS = {
    b"<svg": "an SVG drawing",
    b"<": "text, HTML or XML",
    b"{": "text, JSON",
    b"%PDF": "a PDF",
    b"%!PS": "PostScript",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "data packed with gzip",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as the file holds it, upright, with the model's channels.

    Attributes:
        levels: (H, W, C), from 0 to 255: uint8, or float32 where `exact` was asked for
            and the file has 16 bits.
        notes: What was done that the user may not expect.
    """

    levels: NDArray[Any]
    notes: tuple[str, ...] = ()


def read_picture(
    path: Path,
    channels: int,
    *,
    stream: IO[bytes] | None = None,
    exact: bool = False,
    extra: str = "predict",
) -> Picture:
    """Reads one picture.

    May be called from several threads. Where one of them is not the main thread, hold
    `quiet` in that: warning filters are the process's.

    Args:
        path: The file.
        channels: Of the model: 1, 3 or 4.
        stream: What to read instead; `path` is then only its name.
        exact: Keep what 16 bits say beyond 8, as fractions of a level.
        extra: What brings Pillow, for the message where it is missing.

    Raises:
        ConversionError: If it cannot be read, or does not fit the model's channels.
        MissingExtraError: If Pillow is not installed.
    """
    image_module = optional("PIL.Image", extra)
    turn = optional("PIL.ImageOps", extra).exif_transpose
    notes: list[str] = []
    try:
        with quiet(), image_module.open(stream or path, formats=FORMATS) as opened:
            _check_size(opened, path)
            opened.load()
            picture = turn(opened)
            if opened.getexif().get(0x0112, 1) != 1:
                notes.append("turned as its EXIF data say")
            levels = _levels(picture, path, channels, notes)
    except (ConversionError, MemoryError):
        raise
    except image_module.DecompressionBombError:
        raise refusal(_TOO_LARGE, file=path) from None
    except image_module.UnidentifiedImageError:
        raise refusal(_not_a_picture(path, stream), file=path) from None
    except FileNotFoundError:
        raise refusal("no such file", file=path) from None
    except Exception as error:  # whatever a decoder makes of hostile bytes
        raise refusal(f"unreadable: {printable(error, 200)}", file=path) from None
    if not exact and levels.dtype != np.uint8:
        levels = np.rint(levels).astype(np.uint8)
    return Picture(levels, tuple(notes))


@contextmanager
def quiet() -> Iterator[None]:
    """Without Pillow's warnings of odd files; in other threads it does nothing.

    `warnings.catch_warnings` is not safe in threads: two that overlap may leave the
    wrong filters behind.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _not_a_picture(path: Path, stream: IO[bytes] | None) -> str:
    if stream is None:
        with path.open("rb") as opened:
            head = opened.read(512)
    else:
        stream.seek(0)
        head = stream.read(512)
    wanted = f"no picture of a kind that is read: {', '.join(FORMATS)}"
    if not head:
        return "an empty file, 0 bytes"
    if head[4:8] == b"ftyp":  # ISO base media: HEIC, AVIF, films
        return f"{wanted}; found {printable(head[8:12].decode('latin-1'))}"
    if head[128:132] == b"DICM":
        return f"{wanted}; found DICOM"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for start, name in _STARTS.items():
        if text.startswith(start.lower()) or head.startswith(start):
            return f"{wanted}; found {name}"
    return f"{wanted}; it begins with {head[:8].hex(' ')}"


def _check_size(opened: Any, path: Path) -> None:
    width, height = opened.size
    if width * height > MOST_PIXELS:
        raise refusal(_TOO_LARGE, file=path)
    frames = getattr(opened, "n_frames", 1)
    if frames > 1 and opened.format != "MPO":  # a photo with its own thumbnails
        raise refusal(f"{frames} pictures in one file; expected one", file=path)


def _levels(picture: Any, path: Path, channels: int, notes: list[str]) -> NDArray[Any]:
    """(H, W, C), from 0 to 255."""
    if picture.mode in GREY16:
        if channels not in (1, 3):
            raise refusal(_other_channels(1, channels), file=path)
        stored = np.asarray(picture)
        brightest = int(stored.max())
        text = "16-bit grey, of which 65535 is white"
        if brightest <= DIM16:
            text += f"; its brightest value is only {brightest}"
        notes.append(text)
        grey = stored.astype(np.float32) / np.float32(STEP16)
        return np.repeat(grey[:, :, None], channels, axis=2)
    values = np.asarray(_fitted(picture, path, channels, notes))
    return values.reshape(*values.shape[:2], -1)


def _fitted(picture: Any, path: Path, wanted: int, notes: list[str]) -> Any:
    """The picture with 8 bits and as many channels as the model takes."""
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
        if not _is_grey(picture):
            notes.append("colour turned to grey")
        return picture.convert("L")
    if found != wanted:
        raise refusal(_other_channels(found, wanted), file=path)
    return picture


def _other_channels(found: int, wanted: int) -> str:
    return f"a picture of {found} channels; the model takes {wanted}"


def _is_grey(picture: Any) -> bool:
    red, green, blue = (np.asarray(band) for band in picture.split())
    return np.array_equal(red, green) and np.array_equal(green, blue)
