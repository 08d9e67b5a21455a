"""Serves an exported artifact over HTTP until it is stopped."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

from converters.arguments import check_path
from converters.errors import named, refusal
from converters.extras import optional
from converters.runtimes.known import NAMES
from converters.serving.client import LOCAL
from converters.serving.model import ServedArtifact
from vit_config import ViTConfig

HOST, PORT = "127.0.0.1", 8501
"""TensorFlow Serving's port for REST."""

LIMIT = 64 * 2**20
"""Bytes of a request: some twenty prepared images of 224 pixels, in decimals."""


@named("serving")
def serve(
    artifact: str | os.PathLike[str],
    *,
    host: str = HOST,
    port: int = PORT,
    name: str | None = None,
    limit: int = LIMIT,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serves what `export` wrote, in the REST form of TensorFlow Serving.

    `GET /v1/models/NAME`, `GET /v1/models/NAME/metadata` and `POST
    /v1/models/NAME:predict`; no encryption and no passwords. Returns when the process
    is told to stop (SIGINT, SIGTERM).

    Args:
        artifact: A folder of SavedModels or of OpenVINO's models, or one of them; an
            `.onnx`, `.tflite` or `.pt2`.
        host: Address to listen at; others than the loopback's can be reached from
            elsewhere.
        port: Its port; 0 takes one that is free.
        name: What the model is called; by default after its file or folder.
        limit: How many bytes a request may have.
        ready: Called with a few words for the user once the server is about to answer:
            the URL, and how to call it.

    Raises:
        ConversionError: If the artifact cannot be loaded, or the port not be had.
        MissingExtraError: If the server, or the artifact's runtime, is not installed.
    """
    check_path("artifact", artifact)
    uvicorn = optional("uvicorn", "serve")
    optional("starlette.applications", "serve")
    from converters.serving.app import make_app

    if not 0 <= port <= 65535:
        raise refusal(f"port {port}; one from 0 to 65535 is", kind="config")
    if limit < 1:
        raise refusal(f"a limit of {limit} bytes lets nothing through", kind="config")
    with _bound(host, port) as listening:
        model = ServedArtifact(Path(artifact), name)
        taken = int(listening.getsockname()[1])
        url = f"http://{_in_url(host)}:{taken}/v1/models/{model.name}"
        config = uvicorn.Config(
            make_app(model, limit),
            log_level="warning",
            lifespan="off",
            server_header=False,
        )
        listening.listen()  # a call that comes before the server runs waits
        if ready is not None:
            ready(_words(url, model, host, os.fspath(artifact)))
        uvicorn.Server(config).run(sockets=[listening])


def _bound(host: str, port: int) -> socket.socket:
    """Bound first, so that a port that is taken costs no loading."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        found = socket.socket(family)
    except OSError as error:
        raise refusal(f"{host}: {error.strerror}", kind="config") from None
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRINUSE:
            raise refusal(
                f"port {port} of {host} is taken by another process",
                hint="--port says another one; --port 0 takes any that is free.",
                kind="config",
            ) from None
        raise refusal(f"{host}:{port}: {error.strerror}", kind="config") from None
    return found


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _words(url: str, model: ServedArtifact, host: str, artifact: str) -> str:
    from converters.serving.calls import curl

    lines = [f"serving {model.name} ({NAMES[model.kind]}) at {url}"]
    if host not in LOCAL:
        lines.append("open to whoever reaches this address: no password, no encryption")
    takes = {
        name: {key: tensor.shape for key, tensor in one.inputs.items()}
        for name, one in model.signatures.items()
    }
    config = model.facts.get("config")
    stated = ViTConfig.from_dict(config) if config else None
    call = curl(url, takes, artifact, stated)
    return "\n".join([*lines, f"try      {call}", "stop     Ctrl-C"])
