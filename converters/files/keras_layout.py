"""Where Keras puts the weights of `keras_vit.ViT` in an HDF5 file.

Keras stores by position, not by name: it walks the attributes of the model in sorted
order, each object where it is met first, and in lists it numbers the objects class by
class (`layers/layer_normalization_1`). So the place of a weight depends on which other
layers the config has. Here the same walk is done over a tree made from the config.
Tests compare it with files that Keras saved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from vit_config import ViTConfig
from vit_config.weights import weight_table

GUARD = "layers/weights_guard"
"""Group of the digests that `keras_vit.guard` writes, below the ViT's own."""

PIPELINE = "layers/vi_t/"
"""Where a `keras_vit.Pipeline` has the groups of its ViT."""

PIPELINE_FIRST = ("vars", "pipeline")
PIPELINE_LAST = ("layers/preprocess/vars", "preprocess")
"""Its other groups, before and after those, with the layers' names; both are empty."""

_KEYS = {"kernel": "0", "bias": "1", "gamma": "0", "beta": "1"}


def key_of(path: str) -> str:
    """Key of a weight among its layer's own; tokens stand under their names."""
    layer, _, leaf = path.rpartition("/")
    return leaf if layer in ("", "attn_pool") else _KEYS[leaf]


@dataclass
class Node:
    """A layer: what the walk has to know of it.

    Attributes:
        attr: The attribute of its parent that holds it.
        kind: Class name in snake case.
        path: Its path below the model.
        children: Layers below it, in order of creation.
    """

    attr: str
    kind: str
    path: str
    children: list[Node] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The layer's own name."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Group:
    """A group of the file: one layer's own weights.

    Attributes:
        place: Path of the layer's group; its weights are in `vars` below.
        layer: Path of the layer below the model, empty for the model itself.
        weights: Key in the file and path of each weight, in Keras' order.
    """

    place: str
    layer: str
    weights: tuple[tuple[str, str], ...]

    @property
    def vars(self) -> str:
        """The group that holds the weights."""
        return f"{self.place}/vars" if self.place else "vars"

    @property
    def name(self) -> str:
        """The layer's own name, which Keras notes at the group."""
        return self.layer.rpartition("/")[2]


def layout(config: ViTConfig, home: str = "") -> tuple[Group, ...]:
    """Every group of a file, in the order in which Keras writes them; no guard.

    Args:
        config: The model.
        home: Where its groups are: `PIPELINE`, or at the top.
    """
    own: dict[str, list[tuple[str, str]]] = {}
    for weight in weight_table(config):
        layer = weight.path.rpartition("/")[0]
        own.setdefault(layer, []).append((key_of(weight.path), weight.path))
    return tuple(
        Group(f"{home}{place}".rstrip("/"), node.path, tuple(own.get(node.path, ())))
        for place, node in _walk_model(_tree(config))
    )


def _walk_model(root: Node) -> Iterator[tuple[str, Node]]:
    """The model's children: by attribute, the rest through its list of layers."""
    seen: set[str] = set()
    yield "", root
    blocks = [child for child in root.children if child.attr == "blocks"]
    places = {child.attr: child for child in root.children if child.attr != "blocks"}
    for attr in sorted([*places, "blocks", "layers"], key=_private_last):
        if attr == "blocks":
            found = _numbered(attr, blocks)
        elif attr == "layers":
            found = _numbered(attr, root.children)
        else:
            found = [(attr, places[attr])]
        for place, node in found:
            if node.path not in seen:
                seen.add(node.path)
                yield from _walk(place, node)


def _walk(place: str, node: Node) -> Iterator[tuple[str, Node]]:
    yield place, node
    for child in sorted(node.children, key=lambda child: child.attr):
        yield from _walk(f"{place}/{child.attr}", child)


def _numbered(place: str, nodes: list[Node]) -> list[tuple[str, Node]]:
    """Objects of a list: the class name, from the second one on with a number."""
    count: Counter[str] = Counter()
    found = []
    for node in nodes:
        number = count[node.kind]
        count[node.kind] += 1
        suffix = f"_{number}" if number else ""
        found.append((f"{place}/{node.kind}{suffix}", node))
    return found


def _private_last(attr: str) -> str:
    return f"~{attr}" if attr.startswith("_") else attr


def _tree(config: ViTConfig) -> Node:
    """The layers of `keras_vit.ViT(config)`, in order of creation."""
    scaled = config.init_values is not None
    conv = f"conv{config.spatial_dims}d"
    dual = config.patch_norm == "dual"
    root = Node("", "vi_t", "")

    def add(
        parent: Node, attr: str, kind: str, when: bool = True, name: str = ""
    ) -> Node:
        path = f"{parent.path}/{name or attr}".lstrip("/")
        node = Node(attr, kind, path)
        if when:
            parent.children.append(node)
        return node

    def mlp(parent: Node) -> None:
        node = add(parent, "mlp", "mlp")
        for attr, kind in (("fc1", "linear"), ("drop1", "dropout")):
            add(node, attr, kind)
        for attr, kind in (("fc2", "linear"), ("drop2", "dropout")):
            add(node, attr, kind)

    norm = "layer_normalization"
    patch = add(root, "patch_embed", "patch_embed")
    add(patch, "norm_pre", norm, dual)
    add(patch, "proj", "linear" if dual else conv)
    add(patch, "norm", norm, config.patch_norm != "none")
    add(root, "pos_drop", "dropout")
    add(root, "norm_pre", norm, config.pre_norm)
    for i in range(config.depth):
        block = add(root, "blocks", "block", name=f"blocks_{i}")
        add(block, "norm1", norm)
        attn = add(block, "attn", "attention")
        add(attn, "qkv", "linear")
        add(attn, "q_norm", norm, config.qk_norm)
        add(attn, "k_norm", norm, config.qk_norm)
        add(attn, "attn_drop", "dropout")
        add(attn, "proj", "linear")
        add(attn, "proj_drop", "dropout")
        add(block, "ls1", "layer_scale", scaled)
        add(block, "drop_path1", "drop_path")
        add(block, "norm2", norm)
        mlp(block)
        add(block, "ls2", "layer_scale", scaled)
        add(block, "drop_path2", "drop_path")
    add(root, "norm", norm, config.final_norm)
    pool = add(root, "attn_pool", "attention_pool", config.global_pool == "map")
    for attr in ("q", "kv", "proj"):
        add(pool, attr, "linear")
    add(pool, "norm", norm)
    mlp(pool)
    add(root, "fc_norm", norm, config.fc_norm)
    add(root, "pre_logits", "linear", bool(config.representation_size))
    add(root, "head_drop", "dropout")
    add(root, "head", "linear", config.num_classes > 0)
    add(root, "head_dist", "linear", config.num_classes > 0 and config.distilled)
    return root
