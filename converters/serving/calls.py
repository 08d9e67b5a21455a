"""Commands that somebody can paste: how to serve an artifact, and how to call it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from converters.inputs.volume import NEAR_MM
from vit_config import ConfigError, DataConfig, ViTConfig
from vit_config.preprocess_volume import make_volume_plan

SERVE_BYTES = "serve_bytes"
Shape = tuple[Any, ...] | None
Signatures = Mapping[str, Mapping[str, Shape]]
"""Shapes of the inputs of every signature, by name, the batch first."""

_PICTURES = {"image_bytes"}
_VOLUMES = {"volume_bytes", "dtype", "shape"}
URL = "http://localhost:8501/v1/models/{name}"


def docker(folder: str, name: str) -> str:
    """TensorFlow Serving's own container, on a SavedModel's folder.

    Args:
        folder: The folder that holds the version, as the user calls it.
        name: What the model is to be called.
    """
    source = shlex.quote(folder)
    if not folder.startswith("/"):
        source = f'"$PWD"/{source}'
    return (
        f"docker run --rm -p 8501:8501 -v {source}:/models/{name}:ro "
        f"-e MODEL_NAME={name} tensorflow/serving"
    )


def command(artifact: str) -> str:
    """Our own small server.

    Args:
        artifact: The file or folder, as the user calls it.
    """
    return f"vit-duet serve {shlex.quote(artifact)}"


def curl(
    url: str,
    signatures: Signatures,
    artifact: str = "",
    config: ViTConfig | None = None,
) -> str:
    """One call from a shell: of a picture or a scan, or for what it is.

    Args:
        url: The model's URL.
        signatures: What it takes.
        artifact: The file or folder that is served, as the user calls it.
        config: What it says of its inputs; None if it says nothing.
    """
    takes = set(signatures.get(SERVE_BYTES, ()))
    if takes == _PICTURES:
        body = '{"b64": "\'' + _base64("photo.jpg") + "'\"}"
    elif takes == _VOLUMES and artifact and takes_scans(config):
        # What a shell can send by itself are voxels, which do not say how they lie.
        scan = _read_scan(artifact)
        lines = (
            f"import converters, json; scan = {scan}; print(json.dumps("
            '{"signature_name": "serve_bytes", "instances": [scan.instance()]}))'
        )
        return f"python3 -c {shlex.quote(lines)} | curl -s -d @- {url}:predict"
    elif takes == _VOLUMES:
        voxels = '{"b64": "\'' + _base64("prepared.raw") + "'\"}"
        body = f'{{"volume_bytes": {voxels}, "dtype": "float32", '
        body += f'"shape": {_volume(signatures)}}}'
    else:
        return f"curl -s {url}/metadata"
    return (
        f"""echo '{{"signature_name": "serve_bytes", "instances": [{body}]}}' | """
        f"curl -s -d @- {url}:predict"
    )


def takes_scans(config: ViTConfig | None) -> bool:
    """Whether a model prepares scans itself, once they lie as its config says."""
    if config is None or config.spatial_dims != 3:
        return False
    try:
        make_volume_plan(config)
    except ConfigError:
        return False
    return True


def _read_scan(artifact: str) -> str:
    return f'converters.read_scan("scan.nii.gz", {json.dumps(artifact)})'


def _base64(file: str) -> str:
    return f"$(base64 < {file} | tr -d '\\n')"


def _volume(signatures: Signatures) -> list[Any]:
    """The shape of one volume that surely fits: the model's own."""
    (shape,) = signatures["serving_default"].values()
    return list((shape or ())[1:])


def python(
    url: str,
    signatures: Signatures,
    artifact: str = "",
    config: ViTConfig | None = None,
) -> str:
    """The same in Python, with its standard library and for scans vit-duet; as lines.

    Args:
        url: The model's URL.
        signatures: What it takes.
        artifact: The file or folder that is served, from where the lines are run.
        config: What it says of its inputs; None if it says nothing.
    """
    head = "import json, urllib.request\n\n"
    takes = set(signatures.get(SERVE_BYTES, ()))
    serve_bytes = 'body = {"signature_name": "serve_bytes", "instances": '
    if takes == _VOLUMES and takes_scans(config):
        head += (
            "import converters\n\n"
            f"scan = {_read_scan(artifact)}\n"
            f"{serve_bytes}[scan.instance()]}}\n"
        )
    elif takes == _VOLUMES:
        head = (
            "import base64, json, urllib.request\n\n"
            f"# x: a prepared volume, float32 {tuple(_volume(signatures))}\n"
            "one = {\n"
            '    "volume_bytes": {"b64": base64.b64encode(x.tobytes()).decode()},\n'
            '    "dtype": "float32",\n'
            '    "shape": x.shape,\n'
            "}\n"
            f"{serve_bytes}[one]}}\n"
        )
    elif takes == _PICTURES:
        head = (
            "import base64, json, urllib.request\n\n"
            'photo = base64.b64encode(open("photo.jpg", "rb").read()).decode()\n'
            f'{serve_bytes}[{{"b64": photo}}]}}\n'
        )
    else:
        (name, *_) = signatures.get("serving_default", ("inputs",))
        head += (
            f'body = {{"instances": x.tolist()}}  # prepared {name}, a numpy array\n'
        )
    return head + _sent(url)


def keras(name: str, config: ViTConfig, whole: bool) -> str:
    """Lines of Python that call a Keras file.

    Args:
        name: The file's name.
        config: Of the model.
        whole: Whether its preprocessing is inside.
    """
    load = f"model = keras_vit.load_model({json.dumps(name)})\n"
    if whole and takes_scans(config):
        return (
            f"import converters, keras_vit\n\n{load}"
            'scan = converters.read_scan("scan.nii.gz", model)\n'
            "outputs = model(scan.values[None])\n"
        )
    note = "  # x: images as decoded, upright" if whole else ""
    return f"import keras_vit\n\n{load}outputs = model(x){note}\n"


def _sent(url: str) -> str:
    return (
        f'request = urllib.request.Request("{url}:predict", '
        "json.dumps(body).encode())\n"
        "print(json.load(urllib.request.urlopen(request)))\n"
    )


def nibabel(url: str, config: ViTConfig) -> str:
    """The same call for a NIfTI file without vit-duet; as lines.

    They turn the scan, which is exact. Another spacing they refuse: how to resample is
    a matter of many choices, and another choice is another answer.

    Args:
        url: The model's URL.
        config: Of a model for which `takes_scans` is true.
    """
    data = config.data or DataConfig()
    spacing = ""
    if data.spacing_mm is not None and data.spacing_mode != "keep":
        spacing = (
            "affine = scan.affine @ orientations.inv_ornt_aff(turn, scan.shape[:3])\n"
            "spacing = nibabel.affines.voxel_sizes(affine)\n"
            f"if abs(spacing - {list(data.spacing_mm)}).max() > {NEAR_MM:g}:\n"
            '    raise SystemExit(f"voxels of {spacing} mm; the model takes '
            f'{" x ".join(f"{mm:g}" for mm in data.spacing_mm)} mm")\n'
        )
    return (
        "import base64, json, urllib.request\n\n"
        "import nibabel, numpy\n"
        "from nibabel import orientations\n\n"
        'scan = nibabel.load("scan.nii.gz")\n'
        'if not (scan.header["sform_code"] or scan.header["qform_code"]):\n'
        '    raise SystemExit("the file does not say how the scan lies")\n'
        'if scan.header.get_xyzt_units()[0] in ("meter", "micron"):\n'
        '    raise SystemExit("the spacing of the file is not in mm")\n'
        "turn = orientations.ornt_transform(\n"
        "    orientations.io_orientation(scan.affine),\n"
        f'    orientations.axcodes2ornt("{data.orientation}"),\n'
        ")\n"
        f"{spacing}"
        'voxels = numpy.asarray(scan.dataobj, "<f4")\n'
        "voxels = orientations.apply_orientation(voxels, turn)\n"
        "voxels = voxels.reshape(*voxels.shape[:3], -1)\n"
        "one = {\n"
        '    "volume_bytes": {"b64": base64.b64encode(voxels.tobytes()).decode()},\n'
        '    "dtype": "float32",\n'
        '    "shape": voxels.shape,\n'
        "}\n"
        'body = {"signature_name": "serve_bytes", "instances": [one]}\n'
        f"{_sent(url)}"
    )
