"""Commands that somebody can paste: how to serve an artifact, and how to call it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

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


def curl(url: str, signatures: Signatures) -> str:
    """One call from a shell: of a picture or raw voxels, or for what it is.

    Args:
        url: The model's URL.
        signatures: What it takes.
    """
    takes = set(signatures.get(SERVE_BYTES, ()))
    if takes == _PICTURES:
        body = '{"b64": "\'' + _base64("photo.jpg") + "'\"}"
    elif takes == _VOLUMES:
        voxels = '{"b64": "\'' + _base64("volume.raw") + "'\"}"
        body = f'{{"volume_bytes": {voxels}, "dtype": "float32", '
        body += f'"shape": {_volume(signatures)}}}'
    else:
        return f"curl -s {url}/metadata"
    return (
        f"""echo '{{"signature_name": "serve_bytes", "instances": [{body}]}}' | """
        f"curl -s -d @- {url}:predict"
    )


def _base64(file: str) -> str:
    return f"$(base64 < {file} | tr -d '\\n')"


def _volume(signatures: Signatures) -> list[Any]:
    """The shape of one volume that surely fits: the model's own."""
    (shape,) = signatures["serving_default"].values()
    return list((shape or ())[1:])


def python(url: str, signatures: Signatures) -> str:
    """The same in Python, with its standard library and for scans nibabel; as lines.

    Args:
        url: The model's URL.
        signatures: What it takes.
    """
    head = "import base64, json, urllib.request\n\n"
    takes = set(signatures.get(SERVE_BYTES, ()))
    if takes == _VOLUMES:
        head += (
            "import nibabel, numpy\n\n"
            'scan = nibabel.load("scan.nii.gz")  # as serve_bytes takes it, see above\n'
            'voxels = numpy.asarray(scan.dataobj, "<f4").reshape(*scan.shape[:3], -1)\n'
            "coded = base64.b64encode(voxels.tobytes()).decode()\n"
            "one = {\n"
            '    "volume_bytes": {"b64": coded},\n'
            '    "dtype": "float32",\n'
            '    "shape": voxels.shape,\n'
            "}\n"
            'body = {"signature_name": "serve_bytes", "instances": [one]}\n'
        )
    elif takes == _PICTURES:
        head += (
            'photo = base64.b64encode(open("photo.jpg", "rb").read()).decode()\n'
            'body = {"signature_name": "serve_bytes", "instances": [{"b64": photo}]}\n'
        )
    else:
        head = "import json, urllib.request\n\n"
        (name, *_) = signatures.get("serving_default", ("inputs",))
        head += (
            f'body = {{"instances": x.tolist()}}  # prepared {name}, a numpy array\n'
        )
    return (
        f'{head}request = urllib.request.Request("{url}:predict", '
        "json.dumps(body).encode())\n"
        "print(json.load(urllib.request.urlopen(request)))\n"
    )
