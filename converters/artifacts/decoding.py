"""Encoded pictures to pixels inside of a TensorFlow graph, as `predict` reads them.

| what the file holds | what becomes of it |
| --- | --- |
| an EXIF orientation | turned so |
| JPEG: grey, YCbCr, CMYK | as Pillow has it: the exact inverse transform |
| colour, for a model of one channel | grey as Pillow's `convert("L")` |
| grey, a palette, 1 bit | three equal channels, or colours that are looked up |
| alpha, for a model without | left out; nothing is blended |
| 16-bit grey PNG | 65535 is white: the nearest level to v / 257 |
| other 16-bit PNG | the upper 8 bits |

Refused, with an `InvalidArgumentError`: what is neither JPEG nor PNG, or broken; for a
model of four channels all but PNG files of red, green, blue and alpha. (TensorFlow 2.21
would make the alpha up; of a palette of 4 bits 15 instead of 255.)
"""

from __future__ import annotations

from typing import Any

from converters.artifacts.exif import upright
from converters.inputs.picture import STEP16

PNG = b"\x89PNG\r\n\x1a\n"
HEAD = 26  # as far as the depth and the colour type
GREY, RGBA = 0, 6
# Pillow's, in 16 bits after the point
LUMINANCE = (19595, 38470, 7471)


def decode(encoded: Any, channels: int) -> Any:
    """The pixels of one picture.

    Args:
        encoded: A string tensor without axes: a file of JPEG or PNG.
        channels: Of the model: 1, 3 or 4.

    Returns:
        uint8 (H, W, channels).
    """
    import tensorflow as tf

    # What is shorter than the head of a PNG is no picture.
    head = tf.cond(
        tf.strings.length(encoded) < HEAD,
        lambda: tf.zeros([HEAD], tf.uint8),
        lambda: tf.io.decode_raw(tf.strings.substr(encoded, 0, HEAD), tf.uint8),
    )
    head = tf.ensure_shape(head, [HEAD])
    is_png = tf.reduce_all(tf.equal(head[: len(PNG)], list(PNG)))
    depth, kind = head[24], head[25]
    known = is_png | tf.io.is_jpeg(encoded)
    words = "image_bytes: neither JPEG nor PNG"
    if channels == 4:
        known &= is_png & tf.equal(kind, RGBA)
        words = "image_bytes: the model takes PNG files of red, green, blue and alpha"
    with tf.control_dependencies([tf.Assert(known, [words])]):
        encoded = tf.identity(encoded)

    def grey16() -> Any:
        stored = tf.io.decode_png(encoded, 1, tf.uint16)
        level = (tf.cast(stored, tf.int32) + STEP16 // 2) // STEP16
        return tf.tile(tf.cast(level, tf.uint8), [1, 1, 3])

    def others() -> Any:
        return tf.cond(
            is_png,
            lambda: tf.io.decode_png(encoded, 3),
            # TensorFlow's default is a faster transform that is off by some levels.
            lambda: tf.io.decode_jpeg(encoded, 3, dct_method="INTEGER_ACCURATE"),
        )

    if channels == 4:
        return upright(tf.io.decode_png(encoded, 4), encoded, is_png)
    deep = is_png & tf.equal(depth, 16) & tf.equal(kind, GREY)
    colour = upright(tf.cond(deep, grey16, others), encoded, is_png)
    if channels == 3:
        return colour
    parts = tf.cast(colour, tf.int32) * LUMINANCE
    total = tf.reduce_sum(parts, -1, keepdims=True)
    return tf.cast((total + 2**15) // 2**16, tf.uint8)
