"""A shard as Parquet: a table that pandas, Polars, DuckDB and Spark read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.extras import optional
from converters.inference.embedding.content import (
    KEY,
    Content,
    Pairs,
    UnreadableShardError,
    pairs,
)

LIBRARY = "pyarrow"
PATH, SHA256 = "path", "sha256"


def check_installed() -> None:
    """Raises MissingExtraError if pyarrow is not installed."""
    optional("pyarrow.parquet", "parquet")


def write(
    path: Path,
    rows: Pairs,
    unreadable: Pairs,
    arrays: Mapping[str, NDArray[np.float32]],
) -> None:
    """Writes a file of one row group, uncompressed: features hardly compress.

    A tensor of shape (rows, N, D) is a column of lists of N lists of D floats, all of
    fixed size and none of them null. Pages have checksums.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {
        PATH: pa.array([row[0] for row in rows], pa.string()),
        SHA256: pa.array([row[1] for row in rows], pa.string()),
        **{name: _column(pa, values) for name, values in arrays.items()},
    }
    schema = pa.schema(
        [pa.field(name, c.type, nullable=False) for name, c in columns.items()],
        metadata={KEY: json.dumps({"unreadable": unreadable})},
    )
    table = pa.table(list(columns.values()), schema=schema)
    pq.write_table(
        table,
        path,
        row_group_size=max(len(rows), 1),
        compression="none",
        use_dictionary=False,
        write_page_checksum=True,
    )


def _column(pa: Any, values: NDArray[np.float32]) -> Any:
    """An array of fixed-size lists over the same memory."""
    made = pa.array(np.ascontiguousarray(values).reshape(-1), pa.float32())
    kind = pa.float32()
    for size in reversed(values.shape[1:]):
        kind = pa.list_(pa.field("element", kind, nullable=False), size)
        made = pa.FixedSizeListArray.from_arrays(made, type=kind)
    return made


def read(path: Path) -> Content:
    """What a file says; of its columns only path and sha256 are read.

    Raises:
        UnreadableShardError: If it is broken, or another's.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as opened:
            schema = opened.schema_arrow
            told = json.loads((schema.metadata or {})[KEY.encode()])
            shapes = {
                field.name: (opened.metadata.num_rows, *_shape(pa, field.type))
                for field in schema
                if field.name not in (PATH, SHA256)
            }
            table = opened.read([PATH, SHA256], use_threads=False)
        rows = zip(table[PATH].to_pylist(), table[SHA256].to_pylist(), strict=True)
        return Content(pairs(rows), pairs(told["unreadable"]), shapes)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableShardError(str(error)) from None


def _shape(pa: Any, kind: Any) -> tuple[int, ...]:
    """The shape of one row of a column."""
    sizes: list[int] = []
    while pa.types.is_fixed_size_list(kind):
        sizes.append(kind.list_size)
        kind = kind.value_type
    if kind != pa.float32() or not sizes:
        raise ValueError(f"a column of {kind}")
    return tuple(sizes)
