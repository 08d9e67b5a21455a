"""Turns decoded pictures as their EXIF data say, inside of a TensorFlow graph.

TensorFlow's decoders leave the orientation aside; `predict` turns a photo by it, as
`PIL.ImageOps.exif_transpose` does. The EXIF block is a little TIFF file: of a JPEG in
the segment APP1 that begins with `Exif`, of a PNG in the chunk `eXIf`. An orientation
that XMP alone states, which Pillow reads, too, is not looked for.
"""

from __future__ import annotations

from typing import Any

ORIENTATION = 0x0112
MIRRORED = (2, 3, 6, 7)
"""Orientations that are flipped left to right, once 5 to 8 are transposed."""
OVERTURNED = (3, 4, 7, 8)
"""Orientations that are flipped upside down, likewise."""
MOST_TAGS = 1000


def upright(pixels: Any, encoded: Any, is_png: Any) -> Any:
    """Turns one picture.

    Args:
        pixels: (H, W, C).
        encoded: The file it was decoded from, JPEG or PNG.
        is_png: Whether it is a PNG.
    """
    import tensorflow as tf

    said = _orientation(encoded, is_png)
    turned = tf.cond(
        (said >= 5) & (said <= 8),
        lambda: tf.transpose(pixels, [1, 0, 2]),
        lambda: pixels,
    )
    for axis, orientations in ((1, MIRRORED), (0, OVERTURNED)):
        turned = tf.cond(
            tf.reduce_any(tf.equal(said, orientations)),
            lambda x=turned, axis=axis: tf.reverse(x, [axis]),
            lambda x=turned: x,
        )
    return turned


def _orientation(encoded: Any, is_png: Any) -> Any:
    """The number that the EXIF data state; 1 where they state none."""
    import tensorflow as tf

    data = _Bytes(tf.io.decode_raw(encoded, tf.uint8))
    start = tf.cond(is_png, lambda: _of_png(data), lambda: _of_jpeg(data))
    return tf.cond(start < 0, lambda: tf.constant(1), lambda: _in_tiff(data, start))


class _Bytes:
    """A file's bytes, which may be asked for beyond its end.

    Args:
        data: uint8 (N,).

    Attributes:
        size: How many there are.
    """

    def __init__(self, data: Any) -> None:
        import tensorflow as tf

        self._data = data
        self.size = tf.size(data, tf.int64)

    def number(self, place: Any, length: int, little: Any = False) -> Any:
        """Unsigned numbers of some bytes at places; beyond the end there are zeros."""
        import tensorflow as tf

        total = tf.zeros_like(place)
        for i in range(length):
            at = tf.where(little, place + (length - 1 - i), place + i)
            there = (at >= 0) & (at < self.size)
            byte = tf.gather(self._data, tf.where(there, at, 0))
            total = total * 256 + tf.where(there, tf.cast(byte, tf.int64), 0)
        return total

    def are(self, place: Any, wanted: bytes) -> Any:
        """Whether those bytes stand there."""
        return self.number(place, len(wanted)) == int.from_bytes(wanted, "big")


def _of_jpeg(data: _Bytes) -> Any:
    """Where the TIFF begins; -1 if there is none."""
    import tensorflow as tf

    def more(place: Any, found: Any) -> Any:
        marker = data.number(place + 1, 1)
        scan = (marker == 0xDA) | (marker == 0xD9)  # from here on pixels, or the end
        segment = (data.number(place, 1) == 0xFF) & ~scan
        return (found < 0) & (place + 4 < data.size) & segment

    def step(place: Any, found: Any) -> Any:
        marker = data.number(place + 1, 1)
        exif = (marker == 0xE1) & data.are(place + 4, b"Exif\0\0")
        alone = (marker == 0x01) | ((marker >= 0xD0) & (marker <= 0xD7))
        length = tf.maximum(data.number(place + 2, 2), 2) + 2
        length = tf.where(alone, tf.constant(2, tf.int64), length)
        length = tf.where(marker == 0xFF, tf.constant(1, tf.int64), length)  # a filler
        return place + length, tf.where(exif, place + 10, found)

    return _walk(more, step, 2)


def _of_png(data: _Bytes) -> Any:
    """Where the TIFF begins; -1 if there is none."""
    import tensorflow as tf

    def more(place: Any, found: Any) -> Any:
        return (found < 0) & (place + 8 < data.size)

    def step(place: Any, found: Any) -> Any:
        exif = data.are(place + 4, b"eXIf")
        after = place + 12 + data.number(place, 4)
        return after, tf.where(exif, place + 8, found)

    return _walk(more, step, 8)


def _walk(more: Any, step: Any, start: int) -> Any:
    import tensorflow as tf

    begin = tf.constant(start, tf.int64), tf.constant(-1, tf.int64)
    return tf.while_loop(more, step, begin)[1]


def _in_tiff(data: _Bytes, start: Any) -> Any:
    """The orientation in a TIFF's first directory."""
    import tensorflow as tf

    little = data.number(start, 2) == 0x4949  # "II"; else "MM"
    directory = start + data.number(start + 4, 4, little)
    count = tf.minimum(data.number(directory, 2, little), MOST_TAGS)
    entries = directory + 2 + 12 * tf.range(count)
    ours = entries[data.number(entries, 2, little) == ORIENTATION][:1]
    # A number of 1, 2 or 4 bytes, by its type; it is below 9.
    kind = data.number(ours + 2, 2, little)
    last = tf.cast(kind == 3, tf.int64) + 3 * tf.cast(kind == 4, tf.int64)
    value = data.number(ours + 8 + last * tf.cast(~little, tf.int64), 1)
    return tf.cast(tf.reduce_max(tf.concat([value, [1]], 0)), tf.int32)
