"""What a model says of inputs, outputs and origin: in words, and what is missing."""

from __future__ import annotations

from typing import Any

from converters.errors import printable
from converters.files.base import Raw
from converters.wording import setting
from vit_config import ConfigError, ViTConfig
from vit_config.preprocess_volume import plan_of

SHOWN = 6
"""Labels that are listed one by one."""


def takes(config: ViTConfig, raw: Raw | None) -> str:
    """What a Keras model takes.

    Args:
        config: The model's.
        raw: What it takes as it is; None: what is prepared elsewhere.
    """
    chans = config.in_chans
    if raw is None:
        size = ", ".join(map(str, config.img_size))
        return f"prepared, float (B, {size}, {chans})"
    if config.spatial_dims == 3:
        return f"volumes of any size, (B, any, any, any, {chans}), {lies(config)}"
    kinds = (
        "uint8" if raw.white is None else f"uint8, or float with white {raw.white:g}"
    )
    return f"images as they are, (B, any, any, {chans}), {kinds}"


def lies(config: ViTConfig) -> str:
    """How a scan has to lie for a 3D model that prepares it: `X, Y, Z in RAS`."""
    data = config.data.model_dump(mode="json") if config.data else {}
    text = f"{', '.join(data.get('axes') or ())} in {data.get('orientation')}"
    if data.get("spacing_mode") != "keep" and data.get("spacing_mm"):
        text += f", {' x '.join(f'{mm:g}' for mm in data['spacing_mm'])} mm"
    return text


def preprocessing(config: ViTConfig) -> str:
    """What is to be done to an input, or that the model does not say it."""
    said = stated(config)
    missing = ""
    try:
        plan_of(config)
    except ConfigError as error:
        missing = ", ".join(line.partition(":")[0] for line in error.problems)
    if not said:
        return "NOT STATED: how inputs are to be prepared is unknown, and not guessed"
    words = ", ".join(f"{name} {_short(value)}" for name, value in said.items())
    return f"{words}; NOT STATED or not done here: {missing}" if missing else words


def stated(config: ViTConfig) -> dict[str, Any]:
    """All fields of `data` that say something; those of its sections with a dot."""
    found: dict[str, Any] = {}
    data = config.data.model_dump(mode="json") if config.data else {}
    for name, value in data.items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        for part, inner in parts:
            if inner is not None:
                found[f"{name}.{part}".rstrip(".")] = inner
    return found


def audit(config: ViTConfig) -> list[tuple[str, str]]:
    """Rows of what is known: preprocessing, outputs, labels, origin."""
    return [
        ("data", preprocessing(config)),
        ("outputs", _outputs(config)),
        ("labels", _labels(config)),
        *_origin(config),
    ]


def head_outputs(config: ViTConfig) -> str:
    """What the numbers of a head are: logits, or by another name."""
    if config.head_act is not None:
        return f"{config.head_act} outputs"
    return "outputs" if config.problem_type == "regression" else "logits"


def unstated(config: ViTConfig) -> str:
    """Why there are no probabilities where the config has no `problem_type`."""
    one, outputs = setting(problem_type="single_label"), head_outputs(config)
    if config.head_act is not None:
        return (
            f"the head ends in {config.head_act}, and problem_type is not stated; "
            f"{one} makes the softmax of the {outputs} (multi_label: their sigmoid)"
        )
    dialect = (config.source and config.source.dialect) or ""
    program = SOFTMAX_BY.get(dialect.partition("@")[0])
    if program and config.num_classes > 1:
        return (
            f"the model does not state its problem_type; {program} applies a softmax, "
            f"as {one} does here (or multi_label: a sigmoid)"
        )
    return f"the model does not state its problem_type; {one} or multi_label states it"


SOFTMAX_BY = {
    "huggingface": "the library's own pipeline",
    "timm": "the library's own inference script",
}
"""What makes probabilities of a classifier's logits, unless told otherwise."""


def _outputs(config: ViTConfig) -> str:
    if not config.num_classes:
        return "features"
    if config.problem_type is None:
        return f"{config.num_classes}, no probabilities: {unstated(config)}"
    how = {"single_label": "softmax", "multi_label": "sigmoid"}.get(config.problem_type)
    tanh = how is not None and config.head_act is not None
    more = f": {how} of the {head_outputs(config)}" if tanh else ""
    return f"{config.num_classes}, {config.problem_type}{more}"


def _labels(config: ViTConfig) -> str:
    labels = config.labels
    if labels is None:
        return "not stated" if config.num_classes else "none: the model has no classes"
    shown = ", ".join(printable(label, 40) for label in labels[:SHOWN])
    more = f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
    return f"{shown}{more}"


def _origin(config: ViTConfig) -> list[tuple[str, str]]:
    """Name, hash, data, licence and steps, as far as the source says them."""
    source = config.source
    fields = source.model_dump(mode="json") if source else {}
    steps = fields.pop("steps", ())
    fields.pop("stated", ())  # a row of its own, see `converters.checks.architecture`
    known = {name: value for name, value in fields.items() if value is not None}
    name = known.pop("name", None)
    revision = known.pop("revision", None)
    library = known.pop("library", None)
    version = known.pop("library_version", None)
    found = (
        [name] if name and not revision else [f"{name} at {revision}"] if name else []
    )
    found += [f"{library} {version or ''}".strip()] if library else []
    found += [f"names of {known.pop('dialect')}"] if "dialect" in known else []
    words = {
        "sha256": "SHA-256",
        "licence": "licence",
        "pretraining_data": "trained on",
    }
    found += [f"{words.get(key, key)} {value}" for key, value in known.items()]
    rows = [("origin", "; ".join(printable(text, 200) for text in found))]
    unknown = [
        text
        for key, text in (
            ("name", "whose they are"),
            ("pretraining_data", "on what data they were trained"),
        )
        if fields.get(key) is None
    ]
    if unknown:
        text = " and ".join(unknown)
        rows.append(("provenance", f"UNKNOWN: the source does not say {text}"))
    return [row for row in rows if row[1]] + [
        ("step taken", printable(step, 200)) for step in steps
    ]


def _short(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_short(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
