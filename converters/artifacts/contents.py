"""What an artifact takes and gives, and what it says about itself.

Everything follows from the config, the format and `tokens`; writers, runners and
reports all read it from here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from converters.artifacts.meaning import probability
from converters.checks.architecture import identity_facts
from converters.checks.audit import head_outputs, lies
from converters.version import producer
from converters.wording import COMMAND_LINE, speaking
from vit_config import ConfigError, ViTConfig

Format = Literal["saved_model", "onnx", "litert", "torch", "openvino"]
FORMATS: tuple[Format, ...] = ("saved_model", "onnx", "litert", "torch", "openvino")

CHANNELS_LAST = ("saved_model", "litert")
BATCH = "batch"

SERVING_DEFAULT = "serving_default"
SERVE_BYTES = "serve_bytes"

DECODED_CHANNELS = (1, 3, 4)
"""What TensorFlow's decoders of pictures give."""

VOLUME_TYPES = (
    *("uint8", "int8", "uint16", "int16", "int32"),
    *("float16", "float32", "float64"),
)
"""Types of the voxels that `serve_bytes` reads, little-endian."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output.

    Attributes:
        name: As the runtime knows it.
        dtype: numpy's name of the type, or `"string"`.
        shape: Its axes: lengths, or names of those that are free.
        what: What it is, in words.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    what: str

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} ({', '.join(map(str, self.shape))})"


@dataclass(frozen=True, slots=True)
class Signature:
    """One way to call an artifact.

    Attributes:
        name: Its name.
        inputs: What it takes.
        outputs: What it gives.
        preprocessing: Whether the config's preprocessing is done inside.
        says: What is done inside, and what the caller has to do before.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    preprocessing: bool
    says: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What one artifact holds.

    Attributes:
        config: Config of the model.
        format: Format of the artifact.
        tokens: Whether all tokens were asked for.
        fingerprint: SHA-256 over the canonical weights, as in every report.
        dtype: Type of the weights in the source; the artifact computes in float32.
    """

    config: ViTConfig
    format: Format
    tokens: bool
    fingerprint: str
    dtype: str

    @property
    def input_name(self) -> str:
        """Name of the float input."""
        if self.format == "torch":
            return "x"  # what a model of torch calls it
        return "images" if self.config.spatial_dims == 2 else "volumes"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One prepared input, without the batch."""
        config = self.config
        if self.format in CHANNELS_LAST:
            return (*config.img_size, config.in_chans)
        return (config.in_chans, *config.img_size)

    @property
    def head(self) -> str:
        """Name of the head's output, empty without one.

        What comes out of a tanh, or is the value of a regression, is no logit.
        """
        config = self.config
        if not config.num_classes:
            return ""
        other = config.head_act is not None or config.problem_type == "regression"
        return "output" if other else "logits"

    @property
    def embedding(self) -> bool:
        """Whether there is a pooled vector."""
        return self.config.global_pool != "none"

    @property
    def all_tokens(self) -> bool:
        """Whether the tokens are an output."""
        return self.tokens or not self.embedding

    @property
    def probabilities(self) -> str:
        """`"softmax"`, `"sigmoid"`, or empty where the config does not say how."""
        return probability(self.config)[0]

    @property
    def no_probabilities(self) -> str:
        """Why there are none; empty if there are."""
        return probability(self.config)[1]

    @property
    def label_strings(self) -> str:
        """Name of the output that holds label strings; empty if there is none.

        `"label"` is the best class of each input; classes that do not exclude each
        other have `"labels"`, all of them, in the order of the probabilities.
        """
        named = self.config.labels is not None and self.probabilities
        if not named or self.format != "saved_model":
            return ""
        return "label" if self.probabilities == "softmax" else "labels"

    @property
    def no_bytes(self) -> str:
        """Why there is no `serve_bytes`; empty if there is."""
        if self.format != "saved_model":
            return "this format has no such signature"
        if self.config.spatial_dims == 3:
            return ""
        if self.config.in_chans not in DECODED_CHANNELS:
            return (
                f"in_chans is {self.config.in_chans}; decoded pictures have "
                f"{', '.join(map(str, DECODED_CHANNELS))}"
            )
        return self.no_preprocessing

    @property
    def no_preprocessing(self) -> str:
        """Why the preprocessing cannot be done inside; empty if it can."""
        try:
            _check_preprocessing(self.config)
        except ConfigError as error:
            return "; ".join(error.problems)
        return ""

    def outputs(self) -> tuple[Tensor, ...]:
        """Numbers that every signature gives, in order."""
        config = self.config
        found = []
        if self.head:
            classes = (BATCH, config.num_classes)
            after = f" after {config.head_act}" if config.head_act else ""
            found.append(Tensor(self.head, "float32", classes, f"the head{after}"))
            if self.probabilities:
                what = f"{self.probabilities} of the {head_outputs(config)}"
                found.append(Tensor("probabilities", "float32", classes, what))
        if self.embedding:
            shape = (BATCH, config.head_in_dim)
            found.append(Tensor("embedding", "float32", shape, "the pooled vector"))
        if self.all_tokens:
            every = (BATCH, config.num_tokens, config.embed_dim)
            what = f"all tokens, {config.num_prefix_tokens} before the patches"
            found.append(Tensor("tokens", "float32", every, what))
        return tuple(found)

    def strings(self) -> tuple[Tensor, ...]:
        """Label strings that every signature gives."""
        if not self.label_strings:
            return ()
        if self.label_strings == "label":
            return (Tensor("label", "string", (BATCH,), "the most probable class"),)
        shape = (BATCH, self.config.num_classes)
        return (Tensor("labels", "string", shape, "the classes, in their order"),)

    def signatures(self) -> tuple[Signature, ...]:
        """Every way to call it; the first is the default."""
        gives = (*self.outputs(), *self.strings())
        shape: tuple[int | str, ...] = (BATCH, *self.input_shape)
        what = "prepared: what the model itself takes"
        takes = (Tensor(self.input_name, "float32", shape, what),)
        default = Signature(SERVING_DEFAULT, takes, gives, False, self._prepared())
        if self.no_bytes:
            return (default,)
        return (default, self._bytes(gives))

    def _prepared(self) -> str:
        data = self.config.data
        if data is None:
            return "not inside, and the model does not state any"
        stated = data.model_dump(mode="json", exclude_none=True)
        return f"not inside; the model states {json.dumps(stated, sort_keys=True)}"

    def _bytes(self, gives: tuple[Tensor, ...]) -> Signature:
        if self.config.spatial_dims == 2:
            files = "JPEG or PNG files, each of its own size"
            picture = Tensor("image_bytes", "string", (BATCH,), files)
            says = "inside: decoding, turning by EXIF, resizing, cropping, normalising"
            return Signature(SERVE_BYTES, (picture,), gives, True, says)
        rank = self.config.spatial_dims + 1
        takes = (
            Tensor(
                "volume_bytes", "string", (BATCH,), "voxels, little-endian, C order"
            ),
            Tensor("dtype", "string", (BATCH,), ", ".join(VOLUME_TYPES)),
            Tensor("shape", "int32", (BATCH, rank), "spatial axes, then channels"),
        )
        if self.no_preprocessing:
            says = f"not inside: the bytes are of prepared volumes, {self.input_shape}"
            return Signature(SERVE_BYTES, takes, gives, False, says)
        says = "inside: intensity and size; before: turn the scan to "
        says += lies(self.config)
        return Signature(SERVE_BYTES, takes, gives, True, says)

    def notes(self) -> tuple[str, ...]:
        """What a user has to know, one sentence each."""
        config = self.config
        found = []
        if self.no_probabilities and self.head:
            found.append(f"no probabilities: {self.no_probabilities}")
        if self.head and config.labels is None:
            found.append("no labels: the model does not state any")
        if self.format == "saved_model" and self.no_bytes:
            found.append(f"no {SERVE_BYTES}: {self.no_bytes}")
        elif self.format == "saved_model" and self.no_preprocessing:
            why = self.no_preprocessing
            found.append(f"{SERVE_BYTES} takes prepared volumes: {why}")
        if self.dtype != "float32":
            found.append(f"computes in float32; the weights were {self.dtype}")
        return tuple(found)

    def facts(self) -> dict[str, Any]:
        """What every artifact carries inside, as JSON types; the same whoever asks."""
        with speaking(COMMAND_LINE):
            return self._facts()

    def _facts(self) -> dict[str, Any]:
        return {
            "facts_version": 1,
            "producer": producer(),
            "format": self.format,
            "config": self.config.to_dict(),
            **identity_facts(self.config, self.fingerprint),
            "dtype": self.dtype,
            "signatures": [asdict(one) for one in self.signatures()],
            "probabilities": self.probabilities,
            "notes": list(self.notes()),
        }

    def facts_json(self) -> str:
        """The same as text; equal contents, equal bytes."""
        return json.dumps(self.facts(), sort_keys=True)

    def label_lines(self) -> str:
        """The labels as `labels.txt` has them, a line each."""
        labels = self.config.labels or ()
        return "".join(" ".join(label.split()) + "\n" for label in labels)


def _check_preprocessing(config: ViTConfig) -> None:
    """Raises a `ConfigError` if the config does not state all that is done."""
    from vit_config.preprocess import make_plan
    from vit_config.preprocess_volume import make_volume_plan

    if config.spatial_dims == 2:
        make_plan(config)
    else:
        make_volume_plan(config)
