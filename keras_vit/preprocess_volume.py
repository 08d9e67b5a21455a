"""Volumes as a scan has them to what the model takes."""

from keras import ops

from vit_config.preprocess_volume import (
    LOWEST,
    VolumePlan,
    area,
    between,
    constant,
    rank,
    taken,
)


def prepared(x, plan: VolumePlan):
    """(B, *spatial, C), float32, of any size -> (B, *img_size, C)."""
    if plan.fit_first:
        return normalised(fitted(x, plan), plan)
    return fitted(normalised(x, plan), plan)


def normalised(x, plan: VolumePlan):
    """The intensity step, then minus the mean and divided by the deviation."""
    kind = plan.intensity.kind if plan.intensity else None
    if kind == "zscore":
        x = zscore(x, plan)
    elif kind is not None:
        low, high = plan.intensity.low, plan.intensity.high
        if kind == "percentile":
            low, high = percentiles(x, (low, high), plan.channel_wise)
        else:
            low, high = (ops.convert_to_tensor(v, "float32") for v in (low, high))
        x = scaled(x, low, high, plan)
    if plan.mean:
        mean, std = (ops.convert_to_tensor(v, "float32") for v in (plan.mean, plan.std))
        x = (x - mean) / std
    return x


def scaled(x, low, high, plan: VolumePlan):
    """From low..high to the range that the model takes."""
    flat = ops.equal(high, low)  # a volume of one value
    y = (x - low) / ops.where(flat, 1.0, high - low)
    y = y * (plan.top - plan.bottom) + plan.bottom
    if plan.clip:
        y = ops.clip(y, plan.bottom, plan.top)
    return ops.where(flat, x - low + plan.bottom, y)


def percentiles(x, percents, channel_wise: bool):
    """(B, 1, 1, 1, C or 1) for each: of each volume, or of each of its channels."""
    batch, chans = ops.shape(x)[0], x.shape[4]
    groups = chans if channel_wise else 1
    # Sorted along the last axis, which is fast everywhere.
    values = ops.moveaxis(ops.reshape(x, (batch, -1, groups)), 1, 2)
    values = ops.sort(values, axis=2)
    found = []
    for percent in percents:
        below, above, part = rank_of(percent, values)
        lower, upper = (ops.take(values, index, axis=2) for index in (below, above))
        value = lower + part * (upper - lower)
        found.append(ops.reshape(value, (batch, 1, 1, 1, groups)))
    return found


def rank_of(percent: float, values):
    """`rank`, also among values that a graph does not know the number of."""
    if values.shape[2] is not None:
        return rank(percent, values.shape[2])
    last = ops.shape(values)[2] - 1
    position = ops.cast(last, "float64") * (percent / 100)
    below = ops.floor(position)
    part = ops.cast(position - below, "float32")
    below = ops.cast(below, "int32")
    return below, ops.minimum(below + 1, last), part


def zscore(x, plan: VolumePlan):
    """Mean 0 and deviation 1 of each volume, or of each of its channels."""
    counted = ops.ones_like(x)
    if plan.nonzero:
        counted = ops.cast(ops.not_equal(x, 0.0), x.dtype)
    count = ops.maximum(total(counted, plan), 1.0)
    # From the largest value: one that all voxels have then leaves no rounding.
    top = ops.where(counted > 0, x, LOWEST)
    top = ops.amax(top, (1, 2, 3) if plan.channel_wise else (1, 2, 3, 4), keepdims=True)
    x = (x - ops.where(top > LOWEST, top, 0.0)) * counted
    x = (x - total(x, plan) / count) * counted
    std = ops.sqrt(total(ops.square(x), plan) / count)
    return x / ops.where(ops.equal(std, 0.0), 1.0, std)


def total(x, plan: VolumePlan):
    """The sum, one axis after the other: of few numbers each, so that none is lost."""
    for axis in (3, 2, 1) if plan.channel_wise else (3, 2, 1, 4):
        x = ops.sum(x, axis=axis, keepdims=True)
    return x


def fitted(x, plan: VolumePlan):
    """(B, *spatial, C) -> (B, *img_size, C)."""
    kind = plan.interpolation if plan.fit == "resize" else plan.fit
    for axis, new in enumerate(plan.size, 1):
        tables = tables_of(kind, x, axis, new)
        along = [new if i == axis else 1 for i in range(5)]
        if kind == "area":
            x = ops.tensordot(x, tables[0], axes=[[axis], [1]])
            x = ops.moveaxis(x, 4, axis)
        elif kind == "pad_or_crop":
            index, inside = tables
            x = ops.take(x, index, axis=axis)
            x = ops.where(ops.reshape(inside, along), x, plan.pad_value)
        else:
            lower, upper, part = tables
            part = ops.reshape(part, along)
            below = ops.take(x, lower, axis=axis)
            above = ops.take(x, upper, axis=axis)
            x = below + (above - below) * part
    return x


def tables_of(kind: str, x, axis: int, new: int):
    """Indices and weights: constants, or of the size that a graph meets."""
    if x.shape[axis] is not None:
        return [ops.convert_to_tensor(a) for a in constant(kind, x.shape[axis], new)]
    old = ops.shape(x)[axis]
    if kind == "pad_or_crop":
        return taken(old, new, ops, ops.maximum)
    return (area(old, new, ops),) if kind == "area" else between(old, new, kind, ops)
