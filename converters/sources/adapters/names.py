"""How the names in a file of a base become the names that its adapter means.

An adapter means the names of the model in memory: `vit.layers.0.attention.q_proj`. The
file of the base may lack the outer name (a bare model), have one more, or have the
names that transformers writes to files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import count

from converters.libraries import load
from converters.libraries.recognise import matches
from converters.libraries.variant import Variant
from converters.mapping.table import Row, Table

Names = Mapping[str, str]


def fitted(names: Collection[str], wanted: Collection[str]) -> Names | None:
    """The names in a file by the names that are wanted.

    Args:
        names: All names of the file.
        wanted: Some names, all of which have to be there.

    Returns:
        Every name of the file, by what it is called in the model; None if there is no
        way, or more than one.
    """
    plain = {name: name for name in names}
    if not wanted or all(name in plain for name in wanted):
        return plain
    found = [
        renamed
        for renamed in (*_prefixed(names, wanted), *_other_generation(names))
        if all(name in renamed for name in wanted)
    ]
    places = {tuple(way[name] for name in wanted) for way in found}
    return found[0] if len(places) == 1 else None


def _prefixed(names: Collection[str], wanted: Collection[str]) -> Iterator[Names]:
    """With one more prefix before all names, or one less."""
    first = min(wanted)
    for name in names:
        if first.endswith(f".{name}"):
            start = first.removesuffix(name)
            yield {start + other: other for other in names}
        elif name.endswith(f".{first}"):
            start = name.removesuffix(first)
            yield {other.removeprefix(start): other for other in names}


def _other_generation(names: Collection[str]) -> Iterator[Names]:
    """Hugging Face's files under the names of its models in memory, or of others."""
    variants = load("huggingface").variants
    for match in matches(names, "huggingface"):
        for variant in variants:
            if variant is not match.variant:
                yield _renamed(names, match.prefix, match.variant, variant)


def _renamed(names: Collection[str], prefix: str, old: Variant, new: Variant) -> Names:
    """The same tensors by the names of another variant; the rest as they are."""
    known = set(names)
    found: dict[str, str] = {}
    for theirs, ours in _pairs(new.table, old.table):
        for index in count() if "{i}" in ours else range(1):
            name = prefix + ours.replace("{i}", str(index))
            if name not in known:
                break
            found[theirs.replace("{i}", str(index))] = name
    rest = known - set(found.values())
    return {**found, **{name: name for name in rest if name not in found}}


def _pairs(new: Table, old: Table) -> Iterator[tuple[str, str]]:
    """Names of both for the same tensor, where its values are stored alike.

    A tensor has several rows where its layout depends on the config; they stand in the
    same order in both.
    """
    places: dict[tuple[str, ...], list[Row]] = {}
    for row in new.rows:
        places.setdefault(row.targets, []).append(row)
    for row in old.rows:
        same = places.get(row.targets, [])
        other = same.pop(0) if same else None
        if other and (other.pattern, len(other.sources)) == (
            row.pattern,
            len(row.sources),
        ):
            yield from zip(other.sources, row.sources, strict=True)
