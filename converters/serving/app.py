"""The server: TensorFlow Serving's REST form, by Starlette."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from converters.serving.client import FACTS_KEY
from converters.serving.form import (
    FormError,
    answer_of,
    inputs_of,
    parsed,
    signature_of,
)
from converters.serving.model import CallError, Model, Tensor

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

TYPES = {
    **{f"int{n}": f"DT_INT{n}" for n in (8, 16, 32, 64)},
    **{f"uint{n}": f"DT_UINT{n}" for n in (8, 16, 32, 64)},
    "float16": "DT_HALF",
    "bfloat16": "DT_BFLOAT16",
    "float32": "DT_FLOAT",
    "float64": "DT_DOUBLE",
    "bool": "DT_BOOL",
    "string": "DT_STRING",
}
"""TensorFlow's names of types."""


DRAINED = 8
"""Requests up to so many times the limit are received, to be refused."""


class _TooLargeError(Exception):
    """A request over the limit."""


def make_app(model: Model, limit: int) -> Starlette:
    """The application that serves one model.

    Args:
        model: The model.
        limit: How many bytes a request may have.
    """
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.responses import Response
    from starlette.routing import Route

    def answer(found: Mapping[str, Any], status: int = 200) -> Response:
        text = json.dumps(found)  # NaN as it is, as TensorFlow Serving gives it
        return Response(text, status, media_type="application/json")

    def error(message: str, status: int) -> Response:
        return answer({"error": message}, status)

    def absent(request: Request) -> str:
        """Why there is no such model; empty if there is."""
        name = request.path_params["name"]
        version = request.path_params.get("version", model.version)
        if (name, version) == (model.name, model.version):
            return ""
        kind = f"Specific({name}, {version})"
        if "version" not in request.path_params:
            kind = f"Latest({name})"
        return f"Servable not found for request: {kind}"

    async def state(request: Request) -> Response:
        if text := absent(request):
            return error(text, 404)
        ok = {"error_code": "OK", "error_message": ""}
        one = {"version": model.version, "state": "AVAILABLE", "status": ok}
        return answer({"model_version_status": [one]})

    async def metadata(request: Request) -> Response:
        if text := absent(request):
            return error(text, 404)
        return answer(_metadata(model))

    async def predict(request: Request) -> Response:
        if text := absent(request):
            return error(text, 404)
        try:
            body = await _body(request, limit)
            return Response(
                await run_in_threadpool(_predicted, model, body),
                media_type="application/json",
            )
        except _TooLargeError:
            return error(f"the request has more than {limit} bytes", 413)
        except FormError as found:
            return error(str(found), 400)
        except CallError as found:
            return error(str(found), 400 if found.fault else 500)

    async def refused(request: Request, found: Exception) -> Response:
        code = found.status_code if isinstance(found, HTTPException) else 500
        return error(f"Malformed request: {request.method} {request.url.path}", code)

    routes = []
    for place in ("/v1/models/{name}", "/v1/models/{name}/versions/{version}"):
        # The verb first: a name would take it.
        routes.append(Route(f"{place}:predict", predict, methods=["POST"]))
        routes.append(Route(f"{place}/metadata", metadata, methods=["GET"]))
        routes.append(Route(place, state, methods=["GET"]))
    return Starlette(routes=routes, exception_handlers={HTTPException: refused})


async def _body(request: Request, limit: int) -> bytes:
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > limit:
        if int(stated) <= DRAINED * limit:
            # Plain clients hear nothing before they have sent all.
            async for _ in request.stream():
                pass
        raise _TooLargeError
    found = bytearray()
    async for part in request.stream():
        found += part
        if len(found) > limit:
            raise _TooLargeError
    return bytes(found)


def _predicted(model: Model, body: bytes) -> str:
    request = parsed(body)
    name = signature_of(request, model.signatures)
    inputs, rows = inputs_of(request, model.signatures[name])
    batch = next((len(one) for one in inputs.values() if one.ndim), None)
    return json.dumps(answer_of(model.call(name, inputs), rows, batch))


def _metadata(model: Model) -> dict[str, Any]:
    signatures = {
        name: {
            "inputs": {key: _info(key, one) for key, one in found.inputs.items()},
            "outputs": {key: _info(key, one) for key, one in found.outputs.items()},
            "method_name": "tensorflow/serving/predict",
            "defaults": {},
        }
        for name, found in model.signatures.items()
    }
    spec = {"name": model.name, "signature_name": "", "version": model.version}
    told: dict[str, Any] = {"signature_def": {"signature_def": signatures}}
    if model.facts:
        told[FACTS_KEY] = dict(model.facts)
    return {"model_spec": spec, "metadata": told}


def _info(name: str, tensor: Tensor) -> dict[str, Any]:
    shape = tensor.shape or ()
    return {
        "dtype": TYPES.get(tensor.dtype, "DT_INVALID"),
        "tensor_shape": {
            "dim": [{"size": str(n), "name": ""} for n in shape],
            "unknown_rank": tensor.shape is None,
        },
        "name": name,
    }
