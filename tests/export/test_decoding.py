"""What `serve_bytes` makes of a picture's bytes, against what `predict` reads."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from converters import ConversionError
from converters.inputs.picture import read_picture
from tests.export.common import needs

needs("tensorflow", "PIL")

from PIL import Image  # noqa: E402

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)
LEVELS = RNG.integers(0, 256, (20, 31, 4), np.uint8)
SMOOTH = (np.mgrid[:20, :31].sum(0)[..., None] * [5, 3, 4] % 256).astype(np.uint8)
DEEP = RNG.integers(0, 2**16, (20, 31), np.uint16)
RGB = Image.fromarray(LEVELS[..., :3].copy())


def file(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


FILES = {
    "rgb": file(RGB),
    "rgba": file(Image.fromarray(LEVELS)),
    "grey": file(Image.fromarray(LEVELS[..., 0].copy())),
    "grey and alpha": file(Image.fromarray(LEVELS[..., :2].copy(), "LA")),
    "one bit": file(RGB.convert("1")),
    "palette": file(RGB.quantize(16)),
    "clear palette": file(RGB.quantize(16), transparency=3),
    "16-bit grey": file(Image.fromarray(DEEP)),
    "12 of 16 bits": file(Image.fromarray(DEEP // 16)),
    "jpeg": file(Image.fromarray(SMOOTH), "JPEG", quality=90),
    "noisy jpeg": file(RGB, "JPEG", quality=70, subsampling=2),
    "progressive jpeg": file(Image.fromarray(SMOOTH), "JPEG", progressive=True),
    "grey jpeg": file(RGB.convert("L"), "JPEG"),
    "cmyk jpeg": file(RGB.convert("CMYK"), "JPEG"),
}


def exif(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    """An EXIF block, as a camera writes it: other tags around, numbers of a kind."""
    from PIL import TiffImagePlugin

    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix={"<": b"II", ">": b"MM"}[order])
    tags[0x010F], tags[0x011A] = "maker of cameras", 72.0
    tags.tagtype[0x0112] = kind
    tags[0x0112] = orientation
    header = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}L", 8)
    return b"Exif\0\0" + header + tags.tobytes(8)


def chunks(data: bytes) -> bytes:
    """A JPEG with other segments, one with filling bytes, before its EXIF."""
    return data[:2] + b"\xff\xe2\0\x06ICC_" + b"\xff\xff\xfe\0\x04no" + data[2:]


FILES |= {
    f"turned {i}{order}": file(RGB, "JPEG", exif=exif(i, order))
    for i in range(1, 9)
    for order in "<>"
}
FILES |= {
    "turned png": file(RGB, exif=exif(6)),
    "turned deep png": file(Image.fromarray(DEEP), exif=exif(5, ">")),
    "turned rgba": file(Image.fromarray(LEVELS), exif=exif(8)),
    "turned grey jpeg": file(RGB.convert("L"), "JPEG", exif=exif(7)),
    "turned by a long": file(RGB, "JPEG", exif=exif(6, ">", 4)),
    "turned after segments": chunks(file(RGB, "JPEG", exif=exif(6))),
    "turned to 9": file(RGB, "JPEG", exif=exif(9)),
    "turned to 0": file(RGB, "JPEG", exif=exif(0)),
    "cut exif": file(RGB, "JPEG", exif=exif(6)[:12]),
}
BROKEN = {
    "gif": (file(RGB.quantize(16), "GIF"), "neither JPEG nor PNG"),
    "bmp": (file(RGB, "BMP"), "neither JPEG nor PNG"),
    "text": (b"no picture at all, and long enough for a head", "neither JPEG nor"),
    "empty": (b"", "neither JPEG nor PNG"),
    "cut jpeg": (FILES["jpeg"][:-300], "Invalid JPEG data"),
    "cut png": (FILES["rgb"][:-300], "Invalid PNG"),
    "head of a png": (FILES["rgb"][:20], "neither JPEG nor PNG"),
}
CLEAR = "the model takes PNG files of red, green, blue and alpha"


@pytest.fixture(scope="module")
def decoded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decoded")
    for name, data in FILES.items() | {(n, d) for n, (d, _) in BROKEN.items()}:
        (folder / f"{name}.picture").write_bytes(data)
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.export.decoder", str(folder)]
    subprocess.run(command, env=env, cwd=ROOT, check=True, timeout=300)
    refused = json.loads((folder / "refused.json").read_text())
    with np.load(folder / "found.npz") as found:
        return dict(found), refused


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", FILES)
def test_a_model_behind_a_server_sees_the_pixels_that_predict_sees(
    decoded, name, channels
):
    found, _ = decoded
    levels = read_picture(Path(name), channels, stream=io.BytesIO(FILES[name])).levels
    mine = found[f"{name}:{channels}"]
    assert mine.dtype == np.uint8 and mine.shape == levels.shape
    assert np.array_equal(mine, levels)
    assert np.ptp(levels) > 10


@pytest.mark.parametrize("name", FILES)
def test_alpha_is_never_made_up(decoded, name):
    found, refused = decoded
    if name in ("rgba", "turned rgba"):
        upright = LEVELS if name == "rgba" else np.rot90(LEVELS)
        assert np.array_equal(found[f"{name}:4"], upright)
        return
    assert CLEAR in refused[f"{name}:4"]
    if name != "clear palette":  # predict looks its alpha up
        with pytest.raises(ConversionError, match="the model takes 4"):
            read_picture(Path(name), 4, stream=io.BytesIO(FILES[name]))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_such_picture_is_refused_in_words(decoded, name, channels):
    _, refused = decoded
    words = BROKEN[name][1]
    if channels == 4:
        words = CLEAR
    assert words in refused[f"{name}:{channels}"]
