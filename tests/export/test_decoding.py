"""What `serve_bytes` makes of a picture's bytes, against what `predict` reads."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from converters import ConversionError
from converters.deploy.media.picture import read_picture
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
    if name == "rgba":
        assert np.array_equal(found["rgba:4"], LEVELS)
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
