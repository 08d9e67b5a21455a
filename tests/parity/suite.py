"""Which jobs there are, and how their results are judged.

Knows no framework; the tests and `tools/report_parity.py` share it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from tests.cases import CASES, FLAT
from tests.parity.golden_cases import case_names
from tests.parity.protocol import GRADIENTS, KINDS, Arrays, Job, groups
from tests.parity.rms import (
    LEAST_INPUTS,
    Verdict,
    exactness,
    judge_gradients,
    judge_logits,
    judge_tokens,
)
from tests.saving.backends import BACKENDS
from vit_config import ViTConfig

BATCH = LEAST_INPUTS

SAMPLE = (
    *("two_classes", "tanh_head", "distilled", "map_prefix", "all_prefixes"),
    *("dual_norm", "qv_bias", "qk_norm", "swiglu", "tanh_3d"),
)
"""Cases that the default run looks at closely on tensorflow."""

COMPILED_SAMPLE = ("qv_bias", "tanh_3d")
"""Cases that the default run looks at on jax as well."""

FULL = ("all_prefixes", "features_3d")
"""Cases of which the default run looks at every output on tensorflow and jax."""

EXACT = {"tensorflow": SAMPLE, "jax": (), "torch": SAMPLE}
"""Cases of which the default run has float64 outputs."""

# jax compiles what is called: operation by operation, which takes long, or all at once.
COMPILED = ("jax",)
"""Backends whose jobs are one program of the compiler, but for a few."""


def share(backend: str, wanted: Iterable[str]) -> list[str]:
    """Cases of a backend in the default run: of one that compiles only a sample.

    Unless it is the only one.
    """
    if backend in COMPILED and "tensorflow" in wanted:
        return [case for case in CASES if case in COMPILED_SAMPLE]
    return [*CASES]


def golden_share(backend: str, wanted: Iterable[str], every: bool = False) -> list[str]:
    """Golden cases of a backend; in the default run some, shared among the first two.

    `torch_vit` is compared with all of them by default, and the Keras twin with that.
    Torch, the fastest, takes three of four. In the slow run JAX, which compiles each of
    them, has as many.
    """
    if every:
        return some_goldens() if backend in COMPILED else case_names()
    first, *rest = [name for name in ("torch", "tensorflow", "jax") if name in wanted]
    hands = (first, first, first, *rest[:1])
    cases = some_goldens()
    return [case for i, case in enumerate(cases) if hands[i % len(hands)] == backend]


def some_goldens() -> list[str]:
    """A third of the golden cases, of every library."""
    return case_names()[1::3]


# ---- jobs -----------------------------------------------------------------------


def bit_jobs(case: str) -> list[Job]:
    """What must be bit-identical: everything, all kinds of input, batches 1 and 3."""
    config = CASES[case]
    every = (*groups(config), GRADIENTS)
    most = ("tap", "attention", GRADIENTS)
    few = ("tap",) if case == "wide" else ("tap", GRADIENTS)
    return [
        Job(case, config, every),
        Job(case, config, most, impl="explicit"),
        Job(case, config, ("tap",), batch=1, seed=1),
        Job(case, config, few, kind="low_variance", batch=1),
        Job(case, config, few, kind="large", batch=3, impl="explicit"),
        Job(case, config, few, kind="zeros", batch=1),
    ]


def all_bit_jobs(case: str) -> list[Job]:
    """Everything of all kinds of input in either attention, one input or three."""
    config = CASES[case]
    every = (*groups(config), GRADIENTS)
    return [
        Job(
            case, config, every, kind=kind, batch=(1, 3)[(i + j) % 2], impl=impl, fill=1
        )
        for i, kind in enumerate(KINDS)
        for j, impl in enumerate(("fused", "explicit"))
    ]


def output_jobs(case: str, backend: str, everything: bool = False) -> list[Job]:
    """Outputs for the RMS rule."""
    config = CASES[case]
    taps = ("tap",)
    compiles = backend in COMPILED  # each set of names anew
    full = taps
    if case in FULL or (everything and (case in SAMPLE or not compiles)):
        full = groups(config)
    many = {"batch": BATCH, "compiled": compiles}
    jobs = [
        Job(case, config, full, **many),
        Job(case, config, full, kind="low_variance", **many),
    ]
    if everything or case in SAMPLE:
        some = full if case in FULL or compiles else taps
        jobs += [
            Job(case, config, some, kind="large", **many),
            Job(case, config, some, kind="zeros", **many),
        ]
    closely = FULL if compiles else SAMPLE
    if everything or case in closely:
        jobs += [Job(case, config, taps, impl="explicit", **many)]
    if everything and case in closely:  # the other way to call: eager, or compiled
        many["compiled"] = not many["compiled"]
        jobs += [
            Job(case, config, full, **many),
            *(Job(case, config, full, batch=batch) for batch in (1, 3)),
        ]
    return jobs


def gradient_jobs(case: str, backend: str, everything: bool = False) -> list[Job]:
    """Gradients for the RMS rule, of three inputs.

    Not of more: TensorFlow on the CPU sums the gradient of a bias one token after the
    other, so that its error grows with their number (of 64 inputs, 2 to 10 times that
    of torch, which sums in pairs). That is no mistake of the twin, but would hide one.
    """
    config, names = CASES[case], (GRADIENTS,)
    options = {"compiled": backend in COMPILED}
    few = ("qv_bias",) if backend in COMPILED else SAMPLE
    jobs = []
    if backend in COMPILED and case not in SAMPLE:
        everything = False
    if everything or case in few:
        jobs += [
            Job(case, config, names, **options),
            Job(case, config, names, kind="low_variance", **options),
        ]
    if everything:
        jobs += [Job(case, config, names, fill=1, seed=1, **options)]
        if backend not in COMPILED:
            jobs += [Job(case, config, names, impl="explicit", **options)]
    return jobs


def exact_jobs(case: str, backend: str, everything: bool = False) -> list[Job]:
    """Everything in float64."""
    config = CASES[case]
    names = (*groups(config, ("tap", "attention", "prefix_norm")), GRADIENTS)
    options = {"dtype": "float64", "compiled": backend in COMPILED}
    every = SAMPLE if backend in COMPILED else CASES
    if case not in (every if everything else EXACT[backend]):
        return []
    jobs = [Job(case, config, names, **options)]
    if everything and backend not in COMPILED:
        jobs += [Job(case, config, names, impl="explicit", **options)]
    return jobs


MUTANTS = {
    "tanh_gelu": ("vit", "noise"),
    "eps_1e-5": ("vit", "low_variance"),
    "eps_1e-12": ("vit", "low_variance"),
    "keras_default_eps": ("vit", "noise"),
    "transposed_square_weight": ("vit", "noise"),
    "swapped_q_k": ("vit", "noise"),
    "transposed_positions": ("vit", "noise"),
    "transposed_patch_kernel": ("vit", "noise"),
}
"""Mistakes that the rule has to see: the case and the kind of input to see it on."""

UNSEEN = ("vit", "noise", "dropped_key_bias")
"""A mistake that no output shows: softmax does not see what all keys have in common."""


def mutant_job(mutant: str, backend: str) -> Job:
    """The job that a mistake is to be seen in."""
    case, kind = MUTANTS.get(mutant, UNSEEN[:2])
    compiled = backend in COMPILED
    return Job(
        *(case, CASES[case], ("tap",), kind, BATCH), compiled=compiled, mutant=mutant
    )


def mutant_jobs(backend: str) -> list[Job]:
    """The jobs that mistakes are to be seen in, or not; by default of tensorflow."""
    return [mutant_job(mutant, backend) for mutant in (*MUTANTS, UNSEEN[2])]


def default_jobs(backend: str, wanted: Iterable[str]) -> list[Job]:
    """All jobs of one backend in the default run."""
    jobs: list[Job] = []
    if backend != "torch" and backend not in COMPILED:
        jobs += mutant_jobs(backend)
    mine = share(backend, wanted)
    for case in CASES:
        if backend == "torch":
            jobs += bit_jobs(case)
        elif case in mine:
            jobs += output_jobs(case, backend) + gradient_jobs(case, backend)
        jobs += exact_jobs(case, backend)
    return jobs


def slow_jobs(backend: str) -> list[Job]:
    """All jobs of one backend in the slow run."""
    jobs = mutant_jobs(backend) if backend in COMPILED else []
    for case in CASES:
        if backend == "torch":
            jobs += all_bit_jobs(case)
        else:
            jobs += output_jobs(case, backend, True)
            jobs += gradient_jobs(case, backend, True)
        jobs += exact_jobs(case, backend, True)
    return jobs


CLEAN = (
    *("vit", "one_class", "two_classes", "tanh_head", "distilled", "avg", "map"),
    *("max", "registers", "qv_bias", "swiglu", "head_dim", "gelu_tanh"),
    *("vit_3d", "tanh_3d", "pooled_3d"),
)
FILLS = 32


def clean_jobs() -> list[Job]:
    """512 pairs of correct models, to count the rule's false alarms."""
    return [
        Job(case, CASES[case], ("output", "features"), **options)
        for case in CLEAN
        for i in range(1, FILLS + 1)
        for options in [{"batch": BATCH, "fill": i, "seed": i, "compiled": True}]
    ]


FRESH = {
    f"{stem} {scheme}": ViTConfig(
        **{
            **{**FLAT, **stems, "weight_init": scheme},
            **{"embed_dim": 48, "num_heads": 4, "mlp_dim": 96, "init_values": 0.1},
            **{"dist_token": True, "reg_tokens": 2, "representation_size": 40},
        }
    )
    for scheme in ("timm", "jax", "mae", "monai")
    for stem, stems in {
        "conv": {"global_pool": "map"},
        "dual": {"patch_norm": "dual", "pos_embed": "sincos"},
    }.items()
}
"""Models whose fresh weights are looked at, by name."""

DRAWING = "torch"
"""The backend that draws them in the default run."""


# ---- judging --------------------------------------------------------------------


def gradients_of(arrays: Arrays) -> Arrays:
    """The gradients among outputs, ready to be judged.

    LayerNorm's offset on the keys adds the same to every score of a row, which softmax
    does not see: its gradient is zero, and rounding all that can be measured. It is
    joined to the offset on the queries, so that it is measured by that one's scale.
    """
    found = {n: a for n, a in arrays.items() if n.startswith(f"{GRADIENTS}.")}
    for name in [name for name in found if name.endswith(".k_norm.bias")]:
        partner = name.replace(".k_norm.", ".q_norm.")
        found[partner] = np.concatenate([found[partner], found.pop(name)])
    return found


JUDGED_TAPS = ("tap.norm", "residual2", "attn.maps")
"""Taps that are tokens, or maps; all others are single steps of the way."""


def is_judged(name: str) -> bool:
    """Whether the rule speaks about an output."""
    if name.startswith(f"{GRADIENTS}."):
        return False
    return not name.startswith("tap.") or name.endswith(JUDGED_TAPS)


def needed(job: Job, arrays: Arrays) -> Arrays:
    """What is judged of a job's outputs: in float64 all, else what the rule judges."""
    if job.dtype == "float64":
        return arrays
    gradient = f"{GRADIENTS}."
    return {n: a for n, a in arrays.items() if is_judged(n) or n.startswith(gradient)}


def judge(job: Job, given: Arrays, reference: Arrays, oracle: Arrays) -> list[Verdict]:
    """All verdicts on one job, from what is `needed` of its outputs.

    Raises:
        ValueError: If names, shapes or types differ.
    """
    given, reference, oracle = (
        needed(job, side) for side in (given, reference, oracle)
    )
    if not given.keys() == reference.keys() == oracle.keys():
        odd = (given.keys() ^ reference.keys()) | (given.keys() ^ oracle.keys())
        raise ValueError(f"{job.key}: outputs of one side only: {sorted(odd)}")
    verdicts = []
    for name, exact in oracle.items():
        triple = (given[name], reference[name], exact)
        if len({array.shape for array in triple}) > 1:
            raise ValueError(f"{job.key} {name}: {[a.shape for a in triple]}")
        if not is_judged(name) or exact.size == 0:
            continue
        if exact.ndim > 2:
            verdicts.append(judge_tokens(name, *triple))
        elif len(exact) >= LEAST_INPUTS and job.kind != "zeros":  # one input, repeated
            verdicts.append(judge_logits(name, *triple))
    if GRADIENTS in job.names:
        verdicts += judge_gradients(*map(gradients_of, (given, reference, oracle)))
    return verdicts


def inexact(job: Job, given: Arrays, oracle: Arrays) -> Iterator[tuple[str, float]]:
    """Every float64 output with its difference, relative to the scale."""
    if given.keys() != oracle.keys():
        odd = sorted(given.keys() ^ oracle.keys())
        raise ValueError(f"{job.key}: outputs of one side only: {odd}")
    grads = [gradients_of(arrays) for arrays in (given, oracle)]
    for name in oracle:
        if not name.startswith(f"{GRADIENTS}.") and oracle[name].size:
            yield name, exactness(given[name], oracle[name])
    for name in grads[1]:
        yield name, exactness(grads[0][name], grads[1][name])


def unequal(given: Arrays, reference: Arrays) -> dict[str, float]:
    """Outputs that are not the same bits, with their largest difference.

    Raises:
        ValueError: If names, shapes or types differ.
    """
    if given.keys() != reference.keys():
        odd = sorted(given.keys() ^ reference.keys())
        raise ValueError(f"outputs of one side only: {odd}")
    found = {}
    for name, theirs in reference.items():
        ours = given[name]
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            raise ValueError(
                f"{name}: {ours.shape} {ours.dtype}, {theirs.shape} {theirs.dtype}"
            )
        if ours.tobytes() != theirs.tobytes():
            found[name] = float(np.abs(ours - theirs).max())
    return found


def other_backends() -> tuple[str, ...]:
    """Backends that round elsewhere."""
    return tuple(backend for backend in BACKENDS if backend != "torch")
