"""A model behind a URL, asked in the REST form of TensorFlow Serving.

`GET URL`, `GET URL/metadata` and `POST URL:predict` with rows, as
https://www.tensorflow.org/tfx/serving/api_rest describes them (read for TensorFlow
Serving 2.19). Numbers travel as decimals, which give float32 back exactly.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

import numpy as np

from converters.errors import printable, refusal
from converters.runtimes.base import Array, channels_last

SCHEMES = ("http://", "https://")
LIMIT_S = 600
NUMBERS = 2**20
"""How many one request holds at most, unless one input has more: about 20 MB."""

FACTS_KEY = "vit_duet"
"""Where `vit-duet serve` says in its metadata what the artifact says of itself."""

LOCAL = ("localhost", "127.0.0.1", "::1")


def is_url(source: Any) -> bool:
    """Whether something is the URL of a model."""
    return isinstance(source, str) and source.startswith(SCHEMES)


class RestModel:
    """A served model.

    Args:
        url: `http://host:port/v1/models/NAME`, perhaps with `/versions/N`.

    Attributes:
        facts: What `vit-duet serve` says of the artifact; empty of other servers.
        versions: Empty: a server does not say what runs it.
        signatures: The metadata's, by name: `inputs` and `outputs`.

    Raises:
        ConversionError: If nothing answers there, or no model of that name.
    """

    versions: dict[str, str] = {}  # noqa: RUF012  (a constant)

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/").removesuffix(":predict").removesuffix("/metadata")
        parts = urlsplit(self.url)
        if "/v1/models/" not in parts.path:
            raise refusal(
                f"{printable(url)} is no model's URL",
                hint="It has the form http://host:port/v1/models/NAME.",
            )
        # A proxy is for elsewhere.
        direct = [ProxyHandler({})] if parts.hostname in LOCAL else []
        self._opener: OpenerDirector = build_opener(*direct)
        _check_state(self.url, self._asked(""))
        told = self._asked("/metadata")
        try:
            metadata = told["metadata"]
            self.signatures: dict[str, Any] = metadata["signature_def"]["signature_def"]
        except (KeyError, TypeError):
            raise refusal(f"{self.url}/metadata names no signatures") from None
        self.facts: dict[str, Any] = metadata.get(FACTS_KEY, {})

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Axes of the float input, -1 where free; empty where not said."""
        takes = self.signatures.get("serving_default", {}).get("inputs", {})
        if len(takes) != 1:
            return ()
        (one,) = takes.values()
        axes = one.get("tensor_shape", {}).get("dim", [])
        return tuple(int(axis["size"]) for axis in axes)

    def outputs(self, x: Array) -> dict[str, Array]:
        """Every named output for prepared inputs (B, C, *spatial).

        Raises:
            ConversionError: If the server refuses them.
        """
        given = x if self.input_shape[1:] == x.shape[1:] else channels_last(x)
        rows = max(1, NUMBERS // max(1, given[0].size))
        parts = (given[i : i + rows] for i in range(0, len(given), rows))
        return _joined(
            self._predicted("serving_default", part.tolist()) for part in parts
        )

    def call(self, signature: str, **inputs: Sequence[Any]) -> dict[str, Array]:
        """Every named output of a signature.

        Args:
            signature: Its name.
            **inputs: Rows by name: bytes, strings or arrays.

        Raises:
            ConversionError: If the server refuses them.
        """
        columns = [[_as_json(one) for one in rows] for rows in inputs.values()]
        rows = [
            dict(zip(inputs, row, strict=True)) for row in zip(*columns, strict=True)
        ]
        if len(inputs) == 1:
            (rows,) = columns  # one alone goes unnamed
        return self._predicted(signature, rows)

    def _predicted(self, signature: str, rows: list[Any]) -> dict[str, Array]:
        body = {"signature_name": signature, "instances": rows}
        answer = self._asked(":predict", json.dumps(body).encode())
        found = answer.get("predictions")
        if not isinstance(found, list) or len(found) != len(rows):
            raise refusal(f"{self.url}: no predictions for {len(rows)} rows")
        if isinstance(found[0], dict):
            return {name: _array([row[name] for row in found]) for name in found[0]}
        (name,) = self.signatures[signature]["outputs"]  # one alone goes unnamed
        return {name: _array(found)}

    def _asked(self, path: str, body: bytes | None = None) -> dict[str, Any]:
        request = Request(f"{self.url}{path}", body)
        request.add_header("Content-Type", "application/json")
        try:
            with self._opener.open(request, timeout=LIMIT_S) as answer:
                text = answer.read()
        except HTTPError as error:
            said = _error(error.read())
            raise refusal(f"{self.url}: HTTP {error.code}: {said}") from None
        except URLError as error:
            reason = getattr(error.reason, "strerror", None) or error.reason
            raise refusal(f"{self.url} cannot be reached: {reason}") from None
        except (OSError, HTTPException) as error:
            raise refusal(f"{self.url} does not answer: {error}") from None
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise refusal(f"{self.url}{path} answers with something else than JSON")
        return found


def _check_state(url: str, told: dict[str, Any]) -> None:
    states = [one.get("state") for one in told.get("model_version_status", [])]
    if "AVAILABLE" not in states:
        said = ", ".join(map(str, states)) or "no version"
        raise refusal(f"{url}: the model is not available: {said}")


def _error(text: bytes) -> str:
    try:
        return printable(json.loads(text)["error"], 300)
    except (ValueError, KeyError, TypeError):
        return printable(text.decode("utf-8", "replace"), 300)


def _as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def _array(values: list[Any]) -> Array:
    found = np.array(values)
    return found.astype(np.float32) if found.dtype.kind == "f" else found


def _joined(parts: Iterator[dict[str, Array]]) -> dict[str, Array]:
    whole = list(parts)
    return {name: np.concatenate([one[name] for one in whole]) for name in whole[0]}
