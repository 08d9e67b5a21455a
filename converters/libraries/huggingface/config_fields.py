"""Fields that every Hugging Face configuration may have, whatever its model.

Read from transformers 5.23.0; the ignored names include what 4.x wrote.
"""

from __future__ import annotations

from typing import Any

from converters.libraries.config_fields import (
    Refused,
    Same,
    Take,
    count,
    count_or_zero,
    one_of,
    optional,
    printed,
    sizes,
)
from vit_config.wording import setting

activation = one_of(
    {
        "gelu": "gelu",
        "gelu_python": "gelu",
        "gelu_new": "gelu_tanh",
        "gelu_fast": "gelu_tanh",
        "gelu_accurate": "gelu_tanh",
        "gelu_pytorch_tanh": "gelu_tanh",
        "gelu_python_tanh": "gelu_tanh",
        "quick_gelu": "quick_gelu",
        "silu": "silu",
        "swish": "silu",
        "relu": "relu",
    }
)


def without_labels() -> str:
    """How to read a config without the names of its classes."""
    return f"{setting({'labels': None})} leaves the names out"


def label_names(value: Any) -> tuple[str, ...]:
    """Parses `{"0": "cat", ...}`; a live configuration has integers for keys."""
    wanted = Refused(f"a name for each of 0, 1, 2, ...; {without_labels()}")
    if not isinstance(value, dict):
        raise wanted
    names = {str(key): name for key, name in value.items()}
    if set(names) != {str(i) for i in range(len(value))}:
        raise wanted
    if not all(isinstance(name, str) for name in names.values()):
        raise wanted
    return tuple(names[str(i)] for i in range(len(names)))


def label_problem(names: tuple[str, ...], label2id: Any) -> str:
    """The first label that `label2id` numbers otherwise than `id2label`, in words.

    Generic numbers ("LABEL_0") beside names of one's own are what transformers leaves
    there where only `id2label` was set: nobody's word. Older files have texts for
    numbers.
    """
    if not isinstance(label2id, dict):
        return f"found {printed(label2id)}, not a number for each name"
    if all(str(name) == f"LABEL_{number}" for name, number in label2id.items()):
        return ""
    for name, number in label2id.items():
        there = dict(enumerate(names)).get(int(number)) if _whole(number) else None
        if there != name:
            return f"{name!r} is {number}, but in id2label {number} is {there!r}"
    return ""


def _whole(number: Any) -> bool:
    return str(number).isdecimal()


# ---- fields of every class --------------------------------------------------------

COMMON_TAKE = {
    "hidden_size": Take(count, 768),
    "num_hidden_layers": Take(count, 12),
    "num_attention_heads": Take(count, 12),
    "num_channels": Take(count, 3),
    "image_size": Take(sizes(2), 224),
    "num_labels": Take(optional(count_or_zero), None),
    "id2label": Take(optional(label_names), None),
    "problem_type": Take(
        optional(
            one_of(
                {
                    "single_label_classification": "single_label",
                    "multi_label_classification": "multi_label",
                    "regression": "regression",
                }
            )
        ),
        None,
    ),
}

COMMON_SAME = {
    "is_encoder_decoder": Same("another model", (False,)),
    "is_decoder": Same("causal attention", (False,)),
    "add_cross_attention": Same("a second attention in each block", (False,)),
    "pruned_heads": Same("blocks of unequal heads", (None, {})),
}

COMMON_IGNORED = {
    "label2id": "id2label the other way round, which it is held to",
    "initializer_range": "initialisation only",
    **dict.fromkeys(
        ("_name_or_path", "_commit_hash", "transformers_version", "finetuning_task"),
        "says where the file comes from",
    ),
    **dict.fromkeys(
        ("dtype", "torch_dtype", "use_bfloat16"), "how the weights are stored"
    ),
    **dict.fromkeys(
        (
            "_attn_implementation",
            "_attn_implementation_autoset",
            "attn_implementation",
            "chunk_size_feed_forward",
            "gradient_checkpointing",
            "output_attentions",
            "output_hidden_states",
            "return_dict",
            "tf_legacy_loss",
            "torchscript",
            "use_cache",
            "use_return_dict",
        ),
        "how the model is run, not what it computes",
    ),
    **dict.fromkeys(
        (
            "bad_words_ids",
            "begin_suppress_tokens",
            "bos_token_id",
            "cross_attention_hidden_size",
            "decoder_start_token_id",
            "diversity_penalty",
            "do_sample",
            "early_stopping",
            "encoder_no_repeat_ngram_size",
            "eos_token_id",
            "exponential_decay_length_penalty",
            "forced_bos_token_id",
            "forced_eos_token_id",
            "length_penalty",
            "max_length",
            "min_length",
            "no_repeat_ngram_size",
            "num_beam_groups",
            "num_beams",
            "num_return_sequences",
            "output_scores",
            "pad_token_id",
            "prefix",
            "remove_invalid_values",
            "repetition_penalty",
            "return_dict_in_generate",
            "sep_token_id",
            "suppress_tokens",
            "task_specific_params",
            "temperature",
            "tie_encoder_decoder",
            "tie_word_embeddings",
            "tokenizer_class",
            "top_k",
            "top_p",
            "typical_p",
        ),
        "for text, which an older transformers wrote into every file",
    ),
}

# ---- ignored by several classes --------------------------------------------------

POOLER = dict.fromkeys(
    ("pooler_output_size", "pooler_act"), "of the pooler, which is not carried over"
)
STRIDE = {"encoder_stride": "of the decoder for masked images"}
DECODER = dict.fromkeys(
    (
        "decoder_num_attention_heads",
        "decoder_hidden_size",
        "decoder_num_hidden_layers",
        "decoder_intermediate_size",
        "norm_pix_loss",
        "mask_ratio",
    ),
    "of the pre-training",
)
BACKBONE = dict.fromkeys(
    (
        "out_features",
        "out_indices",
        "stage_names",
        "apply_layernorm",
        "reshape_hidden_states",
        "use_mask_token",
    ),
    "of the backbone class or the pre-training",
)
