"""Hugging Face `config.json`: the ViT classes of transformers 5.23.

`model_type` says which configuration class it is and `architectures` which model class
wrote it; both are required, because together they decide the output:

- an image or video classifier has `num_labels` (2 if nothing says otherwise) outputs;
- a bare model gives tokens, without its pooler. `CLIPVisionModel` and
  `SiglipVisionModel` are the exceptions: CLIP normalises only the pooled class token,
  and Siglip's attention pooling is the model's purpose, so both give the pooled vector;
- pre-training models stand for their encoders, run without masking;
- of CLIP and Siglip the image tower counts (`huggingface_composite`).

Dropout rates carry over, the places differ: these models drop nothing inside the MLP.
The initialisation, which differs in details, is taken for timm's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.libraries.config_fields import Spec, Take, read, text
from converters.libraries.huggingface.config_composite import COMPOSITES, image_tower
from converters.libraries.huggingface.config_fields import (
    COMMON_IGNORED,
    COMMON_SAME,
    COMMON_TAKE,
    label_problem,
    without_labels,
)
from converters.libraries.huggingface.config_models import MODELS
from vit_config.errors import ConfigError


def read_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Translates a `config.json`.

    Raises:
        ConfigError: With every problem found.
    """
    given = image_tower(given)
    model_type = given.get("model_type")
    model = MODELS.get(str(model_type))
    if model is None:
        listed = ", ".join(map(repr, [*MODELS, *COMPOSITES]))
        line = f"model_type: found {model_type!r}; required, one of {listed}"
        raise ConfigError([line], "Hugging Face")
    v = read(spec_of(str(model_type)), given)
    architecture = v["architectures"]
    output = dict(model.outputs[architecture])
    classes = output.pop("classes", "none")
    if classes == "labels":
        output |= _labels(v, given.get("label2id"))
    elif classes == "projection":
        output |= {"num_classes": v["projection_dim"], "head_bias": False}
    return {**_body(v), **model.fields, **model.adapt(v), **output}


def model_classes(given: Mapping[str, Any]) -> tuple[str, ...]:
    """The model classes that a `config.json` of this `model_type` may be of.

    Args:
        given: Its content. One of an unknown type has none.
    """
    model_type = str(given.get("model_type"))
    if model_type in COMPOSITES:
        return COMPOSITES[model_type][1]
    return tuple(MODELS[model_type].outputs) if model_type in MODELS else ()


def spec_of(model_type: str) -> Spec:
    """Returns all fields that a configuration of this type may have."""
    model = MODELS[model_type]
    return Spec(
        name=f"Hugging Face {model_type}",
        take={
            **COMMON_TAKE,
            **model.take,
            "model_type": Take(text),
            "architectures": Take(model.architecture, None),
        },
        same=COMMON_SAME,
        ignored={**COMMON_IGNORED, **model.ignored},
    )


def _body(v: dict[str, Any]) -> dict[str, Any]:
    """Fields that have the same name in all the classes, or nearly so."""
    return {
        "img_size": v["image_size"],
        "in_chans": v["num_channels"],
        "embed_dim": v["hidden_size"],
        "depth": v["num_hidden_layers"],
        "num_heads": v["num_attention_heads"],
        "norm_eps": v["layer_norm_eps"],
        "act_layer": v["hidden_act"],
    }


def _labels(v: dict[str, Any], label2id: Any) -> dict[str, Any]:
    names, count = v["id2label"], v["num_labels"]
    if names is not None and count not in (None, len(names)):
        line = f"num_labels: {count}, but id2label has {len(names)} names"
        raise ConfigError([line], f"Hugging Face {v['model_type']}")
    if names is None:
        return {"num_classes": 2 if count is None else count, **_problem(v, count)}
    odd = "" if label2id is None else label_problem(names, label2id)
    if odd:
        line = f"label2id: {odd}; {without_labels()}"
        raise ConfigError([line], f"Hugging Face {v['model_type']}")
    generic = names == tuple(f"LABEL_{i}" for i in range(len(names)))
    return {
        "num_classes": len(names),
        "labels": None if generic or not names else names,
        **_problem(v, len(names)),
    }


def _problem(v: dict[str, Any], count: int | None) -> dict[str, Any]:
    """Without a head there is nothing that the problem type could be said of."""
    return {} if count == 0 else {"problem_type": v["problem_type"]}
