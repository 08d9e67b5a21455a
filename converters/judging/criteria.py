"""The acceptance limits of a verification, built in or from a file."""

from __future__ import annotations

import hashlib
import json
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from converters.errors import ConversionError, Issue, printable, refusal
from converters.judging.rms import MAX_LIMIT, RMS_LIMIT

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class Criteria(BaseModel):
    """What is accepted. Ratios are errors over the noise of the reference.

    Attributes:
        weights: `"bits"`: every weight has the same bits; `"rounded"`: B's are A's,
            rounded to B's type.
        rms_ratio: RMS error of outputs, at most.
        max_ratio: Largest error of tokens, at most.
        layer_ratio: RMS error of one step fed with the reference's input, at most.
        gradient_ratio: RMS error of all gradients together, at most.
        training_ratio: RMS error of all parameters after training, at most.
        same_bits_on_torch: Whether Keras on torch, on the CPU and in float32, must give
            the very bits of the torch twin.
        max_kl: Largest KL divergence of the softmax, in nats; None: reported only.
        min_top1: Least share of inputs with the same largest logit; None likewise.
        min_top5: Least share with the same five largest; None likewise.
        max_changed: How many decisions on a list of cases may change.
        max_changed_bound: Largest upper bound of their share; None: reported only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    weights: Literal["bits", "rounded"] = "bits"
    rms_ratio: Positive = RMS_LIMIT
    max_ratio: Positive = MAX_LIMIT
    layer_ratio: Positive = 8.0
    gradient_ratio: Positive = RMS_LIMIT
    training_ratio: Positive = RMS_LIMIT
    same_bits_on_torch: bool = True
    max_kl: Positive | None = None
    min_top1: Share | None = None
    min_top5: Share | None = None
    max_changed: Annotated[int, Field(ge=0)] = 0
    max_changed_bound: Share | None = None


EXPECTED = {
    "weights": '"bits" or "rounded"',
    **dict.fromkeys(
        ("rms_ratio", "max_ratio", "layer_ratio", "gradient_ratio", "training_ratio"),
        "a number over 0",
    ),
    "same_bits_on_torch": "true or false",
    "max_kl": "a number over 0, or null",
    "min_top1": "a share from 0 to 1, or null",
    "min_top5": "a share from 0 to 1, or null",
    "max_changed": "a whole number, 0 or more",
    "max_changed_bound": "a share from 0 to 1, or null",
}
"""What each limit may be, in words."""

HINT = "Known limits: " + ", ".join(EXPECTED) + "."


def read_criteria(source: Path | str | dict[str, Any] | None) -> tuple[Criteria, str]:
    """The limits, and the SHA-256 of the file they are from.

    Args:
        source: A JSON file, its fields, or None for what is built in.

    Raises:
        ConversionError: If the file cannot be read, or says what there is not.
    """
    if source is None:
        return Criteria(), ""
    if isinstance(source, dict):
        return _checked(source, "criteria"), ""
    path = Path(source)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise refusal(f"cannot be read: {error.strerror}", file=path) from None
    return _checked(data, path), hashlib.sha256(data).hexdigest()


def _checked(data: bytes | dict[str, Any], file: Path | str) -> Criteria:
    given: Any = data
    if isinstance(data, bytes):
        try:
            given = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise refusal(f"no JSON: {printable(error)}", file=file) from None
    if not isinstance(given, dict):
        kind = "null" if given is None else type(given).__name__
        raise ConversionError(
            [Issue("config", "", kind, "an object of limits")], file=file, hint=HINT
        )
    try:
        return Criteria.model_validate(given)
    except ValidationError as error:
        names = {str(one["loc"][0]) for one in error.errors(include_url=False)}
    issues = [_issue(str(k), value) for k, value in given.items() if str(k) in names]
    raise ConversionError(issues, file=file, hint=HINT)


def _issue(name: str, value: Any) -> Issue:
    if name in EXPECTED:
        return Issue("config", name, _as_json(value), EXPECTED[name])
    near = get_close_matches(name, EXPECTED, 1)
    return Issue("config", name, "no such limit", near="".join(near))


def _as_json(value: Any) -> str:
    return json.dumps(value, default=repr)
