"""A served model that computes with the torch twin, and plain clients."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np

from converters.artifacts.contents import Contents
from converters.serving.app import make_app
from converters.serving.model import CallError, Signature, stated as specs
from tests.export.common import twin_outputs
from vit_config import ViTConfig

Outputs = dict[str, np.ndarray]


class TwinModel:
    """What a SavedModel of a config takes and gives, by the torch twin.

    Args:
        config: The model's, with the weights that `tests.fill` gives it.
        spoilt: Changes outputs, as a mistake would.
        prepare: Makes (C, *spatial) of pixels; by default `torch_vit.Preprocess`.
        stated: Whether the metadata say what the artifact says of itself.
    """

    name, version = "twin", "3"

    def __init__(
        self,
        config: ViTConfig,
        spoilt: Callable[[Outputs], None] = lambda found: None,
        prepare: Callable[[np.ndarray], np.ndarray] | None = None,
        stated: bool = True,
        fingerprint: str = "f" * 64,
    ) -> None:
        held = Contents(config, "saved_model", True, fingerprint, "float32")
        self.facts = json.loads(held.facts_json()) if stated else {}
        self.signatures = {
            one["name"]: Signature(specs(one["inputs"]), specs(one["outputs"]))
            for one in json.loads(held.facts_json())["signatures"]
        }
        self._config, self._spoilt = config, spoilt
        self._prepare = prepare or self._prepared
        self.batches: list[int] = []

    def call(self, signature: str, inputs: Outputs) -> Outputs:
        given = next(iter(inputs.values()))
        self.batches.append(len(given))
        if signature == "serve_bytes" and len(inputs) == 3:
            rows = zip(*inputs.values(), strict=True)
            x = np.stack([self._prepare(self._voxels(*row)) for row in rows])
        elif signature == "serve_bytes":
            x = np.stack([self._prepare(self._pixels(one)) for one in given])
        else:
            x = np.moveaxis(given, -1, 1)
        found = twin_outputs(self._config, np.ascontiguousarray(x), False)
        if "probabilities" in self.signatures[signature].outputs:
            odds = np.exp(found["logits"].astype(np.float64))
            odds = odds / odds.sum(-1, keepdims=True)
            found["probabilities"] = odds.astype(np.float32)
        if "label" in self.signatures[signature].outputs:
            labels = np.array([one.encode() for one in self._config.labels], object)
            found["label"] = labels[found["logits"].argmax(-1)]
        self._spoilt(found)
        return found

    def _pixels(self, encoded: bytes) -> np.ndarray:
        from PIL import Image

        try:
            return np.array(Image.open(io.BytesIO(encoded)))
        except OSError:
            raise CallError("Unknown image file format", fault=True) from None

    def _voxels(self, raw: bytes, dtype: bytes, shape: np.ndarray) -> np.ndarray:
        return np.frombuffer(raw, dtype.decode()).reshape(shape).astype(np.float32)

    def _prepared(self, pixels: np.ndarray) -> np.ndarray:
        import torch

        import torch_vit

        given = torch.from_numpy(np.moveaxis(pixels, -1, 0).copy())
        return torch_vit.Preprocess(self._config)(given[None]).numpy()[0]


@contextmanager
def serving(model: Any, limit: int = 2**24) -> Iterator[str]:
    """The URL of a model that is served by this process."""
    import uvicorn

    app = make_app(model, limit)
    config = uvicorn.Config(app, port=0, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/v1/models/{model.name}"
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def get(url: str) -> Any:
    with urlopen(url, timeout=60) as answer:
        assert answer.headers["Content-Type"] == "application/json"
        return json.load(answer)


def post(url: str, body: Any) -> Any:
    """The answer of `URL:predict`."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with urlopen(Request(f"{url}:predict", data), timeout=60) as answer:
        return json.load(answer)


def refused(url: str, body: Any = None) -> tuple[int, str]:
    """HTTP code and text of what a server refuses."""
    try:
        found = get(url) if body is None else post(url, body)
    except HTTPError as error:
        said = json.load(error)
        assert set(said) == {"error"}
        return error.code, said["error"]
    raise AssertionError(found)
