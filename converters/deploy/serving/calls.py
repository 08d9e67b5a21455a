"""Commands that somebody can paste: how to serve an artifact, and how to call it."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping

SERVE_BYTES = "serve_bytes"
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


def curl(url: str, signatures: Mapping[str, Collection[str]]) -> str:
    """One call from a shell: of a picture if it takes such files, else what it is.

    Args:
        url: The model's URL.
        signatures: Names of the inputs of every signature.
    """
    if set(signatures.get(SERVE_BYTES, ())) == {"image_bytes"}:
        return (
            """echo '{"signature_name": "serve_bytes", "instances": [{"b64": "'"""
            """$(base64 < photo.jpg | tr -d '\\n')'"}]}' | """
            f"curl -s -d @- {url}:predict"
        )
    return f"curl -s {url}/metadata"


def python(url: str, signatures: Mapping[str, Collection[str]]) -> str:
    """The same in Python, with its standard library; as lines.

    Args:
        url: The model's URL.
        signatures: Names of the inputs of every signature.
    """
    head = "import base64, json, urllib.request\n\n"
    if set(signatures.get(SERVE_BYTES, ())) == {"image_bytes"}:
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
