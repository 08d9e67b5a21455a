"""Whether a library's config, written and read again, is still the same model."""

from __future__ import annotations

from vit_config.config import ViTConfig

UNSAID = frozenset(
    # what a library's config need not say of a model whose outputs are the same
    {
        "weight_init",
        "pos_resize",
        "problem_type",
        "drop_rate",
        "pos_drop_rate",
        "proj_drop_rate",
        "attn_drop_rate",
        "drop_path_rate",
    }
)


def differences(wanted: ViTConfig, found: ViTConfig) -> list[str]:
    """One line for each field that decides about outputs and is not the same.

    A frozen table of positions is a table, and a layer scale is one whatever its first
    value: the weights say the rest.
    """
    ours, theirs = wanted.architecture(), found.architecture()
    for side in (ours, theirs):
        side["pos_embed"] = "none" if side["pos_embed"] == "none" else "a table"
        side["init_values"] = None if side["init_values"] is None else "some"
    headless = not ours["num_classes"] and not theirs["num_classes"]
    if headless and ours["representation_size"] and theirs["global_pool"] == "none":
        # A bare model of Hugging Face: its config says tokens, and it gives both.
        theirs |= {name: ours[name] for name in ("representation_size", "global_pool")}
    return [
        f"{name}: {value!r} cannot be said there; it would be {theirs[name]!r}"
        for name, value in ours.items()
        if name not in UNSAID and value != theirs[name]
    ]
