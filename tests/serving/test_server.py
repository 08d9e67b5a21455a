"""The REST form, over loopback, with a plain client."""

from __future__ import annotations

import base64
import socket

import numpy as np
import pytest

from converters.serving.model import _first_line
from tests.export.common import LABELS, encoded, needs, pictured, twin_outputs
from tests.fill import image

needs("torch", "uvicorn", "starlette", "PIL")

from tests.serving.common import TwinModel, get, post, refused, serving  # noqa: E402

MODEL = pictured(labels=LABELS)
NAMES = ["logits", "embedding", "tokens", "probabilities", "label"]
X = image((3, MODEL.in_chans, *MODEL.img_size))
ROWS = np.moveaxis(X, 1, -1).tolist()


@pytest.fixture(scope="module")
def url():
    with serving(TwinModel(MODEL), 2**21) as found:
        yield found


@pytest.fixture(scope="module")
def expected():
    return twin_outputs(MODEL, X, False)


def test_state_and_metadata_are_those_of_tensorflow_serving(url):
    ok = {"error_code": "OK", "error_message": ""}
    state = {"version": "3", "state": "AVAILABLE", "status": ok}
    for place in (url, f"{url}/versions/3"):
        assert get(place) == {"model_version_status": [state]}
    told = get(f"{url}/metadata")
    assert told["model_spec"] == {"name": "twin", "signature_name": "", "version": "3"}
    signatures = told["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {"serving_default", "serve_bytes"}
    default = signatures["serving_default"]
    assert default["method_name"] == "tensorflow/serving/predict"
    takes = default["inputs"]["images"]
    assert takes["dtype"] == "DT_FLOAT"
    sizes = [axis["size"] for axis in takes["tensor_shape"]["dim"]]
    assert sizes == ["-1", "48", "32", "3"]
    assert signatures["serve_bytes"]["inputs"]["image_bytes"]["dtype"] == "DT_STRING"
    assert set(default["outputs"]) == set(NAMES)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("place", ["", "/versions/3"])
def test_rows_give_rows(url, expected, named, place):
    rows = [{"images": row} for row in ROWS] if named else ROWS
    found = post(f"{url}{place}", {"instances": rows})
    assert set(found) == {"predictions"}
    assert [set(row) for row in found["predictions"]] == [set(NAMES)] * 3
    for name in ("logits", "embedding", "tokens"):
        values = np.array([row[name] for row in found["predictions"]], np.float32)
        assert values.tobytes() == expected[name].tobytes(), name
    best = [LABELS[i] for i in expected["logits"].argmax(-1)]
    assert [row["label"] for row in found["predictions"]] == best


@pytest.mark.parametrize("named", [False, True])
def test_columns_give_columns(url, expected, named):
    inputs = {"images": ROWS} if named else ROWS
    found = post(url, {"inputs": inputs, "signature_name": "serving_default"})
    assert set(found["outputs"]) == set(NAMES)
    values = np.array(found["outputs"]["tokens"], np.float32)
    assert values.tobytes() == expected["tokens"].tobytes()


def test_pictures_of_several_sizes_go_through_as_bytes(url):
    rng = np.random.default_rng(5)
    sizes = ((60, 41), (30, 90))
    files = [encoded(rng.integers(0, 256, (*s, 3), np.uint8), "PNG") for s in sizes]
    rows = [{"b64": base64.b64encode(one).decode()} for one in files]
    asked = {"signature_name": "serve_bytes"}
    by_row = post(url, {**asked, "instances": rows})["predictions"]
    by_column = post(url, {**asked, "inputs": {"image_bytes": rows}})["outputs"]
    named = [{"image_bytes": row} for row in rows]
    assert post(url, {**asked, "instances": named})["predictions"] == by_row
    assert by_column["logits"] == [row["logits"] for row in by_row]
    alone = post(url, {**asked, "instances": rows[:1]})["predictions"]
    assert alone[0]["logits"] == pytest.approx(by_row[0]["logits"], abs=1e-5)
    assert by_row[0]["logits"] != pytest.approx(by_row[1]["logits"], abs=1e-3)


ONE = {"instances": ROWS[:1]}
REFUSED = {
    "no JSON": (b"{", 400, "JSON Parse error"),
    "a list": (b"[]", 400, "JSON object"),
    "nothing": ({}, 400, "Missing 'inputs' or 'instances' key"),
    "both": ({"inputs": ROWS[:1], **ONE}, 400, "only one of"),
    "no rows": ({"instances": []}, 400, "not empty"),
    "other signature": ({**ONE, "signature_name": "x"}, 400, '"x" not found'),
    "other name": ({"instances": [{"image": ROWS[0]}]}, 400, "takes images"),
    "some named": (
        {"instances": [{"images": ROWS[0]}, ROWS[1]]},
        400,
        "'instances' 1 is no object",
    ),
    "ragged": ({"instances": [ROWS[0], ROWS[1][:-1]]}, 400, "rows of one shape"),
    "other shape": (
        {"instances": [np.moveaxis(X, 1, -1)[0, :, :-1].tolist()]},
        400,
        "(1, 48, 31, 3), expected (-1, 48, 32, 3)",
    ),
    "digits in quotes": ({"instances": ["1.5"]}, 400, "no array of float32"),
    "null": ({"instances": [None]}, 400, "no array of float32"),
    "too large a number": ({"instances": [1e39]}, 400, "no array of float32"),
    "no base64": (
        {"signature_name": "serve_bytes", "instances": [{"b64": "?"}]},
        400,
        "b64 cannot be decoded",
    ),
    "number for bytes": (
        {"signature_name": "serve_bytes", "instances": [1]},
        400,
        "strings or",
    ),
    "no picture": (
        {"signature_name": "serve_bytes", "instances": [{"b64": "aGFsbG8="}]},
        400,
        "Unknown image file format",
    ),
    "too large": (b" " * (2**21 + 1), 413, "more than 2097152 bytes"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_wrong_request_gets_an_error_and_the_next_one_an_answer(url, what):
    body, code, words = REFUSED[what]
    found, text = refused(url, body)
    assert (found, words in text) == (code, True), text
    assert "Traceback" not in text
    assert len(post(url, ONE)["predictions"]) == 1


def test_a_request_without_a_length_is_counted(url):
    """In chunks, as curl sends what comes from a pipe."""
    host, port = url.split("/")[2].split(":")
    path = "/" + url.split("/", 3)[3]
    with socket.create_connection((host, int(port)), 20) as plain:
        head = f"POST {path}:predict HTTP/1.1\r\nHost: x\r\n"
        plain.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"10000\r\n" + b" " * 2**16 + b"\r\n"
        try:
            for _ in range(40):
                plain.sendall(chunk)
        except OSError:
            pass  # it has heard enough
        assert plain.recv(64).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "place, words",
    [
        ("/v1/models/other", "Servable not found for request: Latest(other)"),
        ("/v1/models/twin/versions/4", "Specific(twin, 4)"),
        ("/v1/models/other/metadata", "Latest(other)"),
        ("/v1/nothing", "Malformed request: GET /v1/nothing"),
        ("/v1/models/twin:classify", "Latest(twin:classify)"),
    ],
)
def test_what_is_not_there_is_404(url, place, words):
    base = url.partition("/v1/")[0]
    code, text = refused(f"{base}{place}")
    assert (code, words in text) == (404, True), text


def test_a_mistake_of_the_model_is_no_fault_of_the_caller():
    from converters.serving.model import CallError

    class Broken(TwinModel):
        def call(self, signature, inputs):
            raise CallError("out of memory", fault=False)

    with serving(Broken(MODEL)) as url:
        assert refused(url, ONE) == (500, "out of memory")


ASSERTION = """Graph execution error:

Detected at node map/while/Assert defined at (most recent call last):
<stack traces unavailable>
assertion failed: [shape:] [3 3 3 2] [is not taken; (any, any, any, 1) is]
\t [[{{node map/while/Assert}}]] [Op:__inference_signature_wrapper_serve_1912]"""
DECODER = """{{function_node __inference_serve_3}} Unknown image file format.
\t [[{{node map/while/DecodePng}}]]"""


@pytest.mark.parametrize(
    "said, words",
    [
        (ASSERTION, "shape: 3 3 3 2 is not taken; (any, any, any, 1) is"),
        (DECODER, "Unknown image file format."),
        ("", "ValueError"),
    ],
)
def test_what_tensorflow_says_is_told_without_its_graph(said, words):
    assert _first_line(ValueError(said)) == words
