"""`DST/1`: the Keras twin on TensorFlow, by Keras' own `ExportArchive`.

Signatures are `serving_default`, for prepared inputs, and `serve_bytes`: encoded
pictures, or the raw bytes of volumes. Both give every named output.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from converters.artifacts.contents import (
    SERVE_BYTES,
    SERVING_DEFAULT,
    VOLUME_TYPES,
    Contents,
)
from converters.artifacts.decoding import decode
from converters.artifacts.keras_served import load, outputs
from converters.artifacts.place import VERSION
from converters.runtimes.base import CONFIG, FACTS, LABELS

Call = Callable[..., dict[str, Any]]


def write(target: Path, model: Path, contents: Contents) -> None:
    """Writes a model that TensorFlow alone loads and serves.

    Args:
        target: The folder; the model's version is made in it.
        model: A canonical file.
        contents: What it is to hold.
    """
    import tensorflow as tf
    from keras.export import ExportArchive

    vit = load(model)
    archive = ExportArchive()
    archive.track(vit)
    calls = {SERVING_DEFAULT: _prepared(vit, contents)}
    if not contents.no_bytes:
        flat = contents.config.spatial_dims == 2
        calls[SERVE_BYTES] = (_pictures if flat else _volumes)(vit, contents)
    for signature in contents.signatures():
        specs = [
            tf.TensorSpec(
                [n if isinstance(n, int) else None for n in one.shape],
                one.dtype,
                one.name,
            )
            for one in signature.inputs
        ]
        archive.add_endpoint(signature.name, calls[signature.name], specs)
    with tempfile.TemporaryDirectory(prefix="vit-duet-") as name:
        # Only an attribute of the saved object makes a file an asset, and Keras 3.15
        # has no public way to set one.
        archive._tf_trackable.vit_duet_assets = [
            tf.saved_model.Asset(str(path)) for path in _assets(Path(name), contents)
        ]
        archive.write_out(str(target / VERSION), verbose=False)


def _assets(folder: Path, contents: Contents) -> list[Path]:
    texts = {CONFIG: contents.config.to_json(), FACTS: contents.facts_json()}
    if contents.config.labels is not None:
        texts[LABELS] = contents.label_lines()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def _prepared(vit: Any, contents: Contents) -> Call:
    """Prepared inputs (B, *spatial, C) to all named outputs."""
    import tensorflow as tf

    names = contents.config.labels if contents.label_strings else None

    def give(x: Any) -> dict[str, Any]:
        found = outputs(vit, x, contents)
        if names is None:
            return found
        strings = tf.constant(names)
        if contents.label_strings == "label":
            found["label"] = tf.gather(strings, tf.argmax(found["probabilities"], -1))
        else:
            count = tf.shape(x)[0]
            found["labels"] = tf.tile(strings[None], [count, 1])
        return found

    return give


def _pictures(vit: Any, contents: Contents) -> Call:
    """JPEG or PNG files, each of its own size, to all named outputs."""
    import tensorflow as tf

    from keras_vit import Preprocess

    config = contents.config
    prepare, give = Preprocess(config), _prepared(vit, contents)
    shape = (*config.img_size, config.in_chans)

    def decoded(encoded: Any) -> Any:
        return prepare(decode(encoded, config.in_chans)[None])[0]

    def serve(image_bytes: Any) -> dict[str, Any]:
        spec = tf.TensorSpec(shape, tf.float32)
        return give(tf.map_fn(decoded, image_bytes, fn_output_signature=spec))

    return serve


def _volumes(vit: Any, contents: Contents) -> Call:
    """Raw voxels with their type and shape to all named outputs.

    Where the config does not state all of the preprocessing they are taken as prepared.
    """
    import tensorflow as tf

    from keras_vit import Preprocess

    config = contents.config
    give, final = _prepared(vit, contents), contents.input_shape
    prepare = None if contents.no_preprocessing else Preprocess(config)
    free: tuple[int | None, ...] = (None,) * config.spatial_dims
    takes = final if prepare is None else (*free, config.in_chans)
    types = ", ".join(VOLUME_TYPES)
    sizes = tf.constant([tf.as_dtype(name).size for name in VOLUME_TYPES], tf.int64)

    def must(holds: Any, *words: Any) -> Any:
        return tf.Assert(holds, words, summarize=len(takes))

    def read(raw: Any, name: str) -> Any:
        return tf.cast(tf.io.decode_raw(raw, name, little_endian=True), tf.float32)

    def one(given: tuple[Any, Any, Any]) -> Any:
        raw, dtype, axes = given
        known = tf.reduce_any(tf.equal(dtype, VOLUME_TYPES))
        same = [axes[i] == n for i, n in enumerate(takes) if n is not None]
        same.append(tf.reduce_all(axes > 0))
        # In 64 bits: what a caller writes may be more than 32 hold.
        length = tf.reduce_prod(tf.cast(axes, tf.int64))
        length *= tf.reduce_sum(tf.where(tf.equal(dtype, VOLUME_TYPES), sizes, 0))
        there = tf.cast(tf.strings.length(raw), tf.int64)
        checks = [
            must(known, "dtype:", dtype, f"is not read; {types} are"),
            must(
                tf.reduce_all(same), "shape:", axes, f"is not taken; {_axes(takes)} is"
            ),
        ]
        with tf.control_dependencies(checks):
            enough = tf.equal(there, length)
        said = ("bytes of", dtype, axes, "would be", length)
        with tf.control_dependencies([must(enough, "volume_bytes:", there, *said)]):
            raw = tf.identity(raw)
        cases = [
            (tf.equal(dtype, name), lambda name=name: read(raw, name))
            for name in VOLUME_TYPES
        ]
        voxels = tf.case(cases, default=lambda: read(raw, VOLUME_TYPES[0]))
        bad = tf.math.count_nonzero(~tf.math.is_finite(voxels))
        many = must(tf.equal(bad, 0), "volume_bytes:", bad, "NaN or infinite voxels")
        with tf.control_dependencies([many]):
            voxels = tf.identity(voxels)
        volume = tf.ensure_shape(tf.reshape(voxels, axes), takes)
        return volume if prepare is None else prepare(volume[None])[0]

    def serve(volume_bytes: Any, dtype: Any, shape: Any) -> dict[str, Any]:
        spec = tf.TensorSpec(final, tf.float32)
        given = (volume_bytes, dtype, shape)
        return give(tf.map_fn(one, given, fn_output_signature=spec))

    return serve


def _axes(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('any' if n is None else str(n) for n in shape)})"
