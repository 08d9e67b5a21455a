"""What changes a ViT's outputs and leaves no tensor: what each dialect takes it to be.

Every variant states every topic, and what proves it; `docs/assumptions.md` is
made of these statements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Proof = Literal["tensors", "code", "asked", "tensors or asked"]

TOPICS: dict[str, tuple[str, tuple[str, ...]]] = {
    # topic: in words, and the fields that answer it where it is asked
    "rotary": ("rotary positions", ("rope",)),
    "norms": ("norms in a block", ("block",)),
    "residuals": ("scale of the residuals", ("block",)),
    "attention": ("reach of the attention, cap of its logits", ("block",)),
    "qkv": ("order of q, k, v and heads", ("block",)),
    "activation": ("activation", ("act_layer",)),
    "epsilon": ("epsilon of the norms", ("norm_eps",)),
    "pooling": ("pooled tokens", ("global_pool", "pool_include_prefix")),
}


@dataclass(frozen=True, slots=True)
class Assumption:
    """What a variant takes for granted on one topic.

    Attributes:
        value: What holds, in words.
        proof: What proves it: the file's own names and shapes (`"tensors"`), the code
            of the library, where no model of it has anything else (`"code"`), the
            caller, the library's config or a preset (`"asked"`), or the last where the
            first does not (`"tensors or asked"`).
        why: Which tensors, which code, or whose names are the same.
    """

    value: str
    proof: Proof
    why: str = ""

    def __str__(self) -> str:
        return f"{self.value} ({self.proof}{': ' if self.why else ''}{self.why})"


Assumptions = Mapping[str, Assumption]


def asked(why: str = "") -> Assumption:
    """A topic that the library's own models differ in."""
    return Assumption("as stated", "asked", why)


def assumptions(
    code: str,
    *,
    activation: Assumption | str,
    epsilon: Assumption | str,
    pooling: Assumption | str,
    rotary: Assumption | None = None,
    norms: Assumption | None = None,
    attention: Assumption | None = None,
) -> Assumptions:
    """All topics of a variant.

    Args:
        code: The library and the versions in which its blocks are the plain ones.
        activation: What it is; a text is proved by the code.
        epsilon: Likewise.
        pooling: Likewise.
        rotary: Where the code does not prove that there are none.
        norms: Where the code does not prove that they come before attention and MLP.
        attention: Where the code does not prove that every token sees every other.
    """

    def by_code(value: Assumption | str) -> Assumption:
        if isinstance(value, str):
            return Assumption(value, "code", code)
        return value

    found = {
        "rotary": rotary or "none",
        "norms": norms or "before attention and MLP",
        "residuals": "1, but for a layer scale, which is a tensor",
        "attention": attention or "all tokens, no cap",
        "qkv": "q, k, v; each head after head",
        "activation": activation,
        "epsilon": epsilon,
        "pooling": pooling,
    }
    return {topic: by_code(value) for topic, value in found.items()}
