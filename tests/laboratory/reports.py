"""Verification records built by hand: figures that nobody measured, for the page."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np

from converters.parity.record import (
    CaseRow,
    CaseSummary,
    Check,
    ConfigRow,
    Curve,
    Divergence,
    GradientRow,
    Histogram,
    LayerRow,
    Operand,
    ParityReport,
    Scatter,
    Setting,
    TensorRow,
    verdict_of,
)

KERAS = "B, Keras on tensorflow"
TWIN = "B, torch twin"
STEPS = ("norm1", "attn.qkv", "attn.maps", "attn.heads", "attn.proj", "residual1")
STEPS += ("norm2", "mlp.fc1", "mlp.act", "mlp.fc2", "residual2")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


ABOUT = {"input": "2D, 3 x 224 x 224", "attention": "12 heads of 64"}
STATED = ({"field": "num_heads", "value": "12", "origin": "preset vit-b16-224"},)


def operand(role: str, **changed: Any) -> Operand:
    given = {
        "role": role,
        "format": "safetensors" if role == "A" else "keras",
        "dialect": "timm" if role == "A" else "",
        "fingerprint": digest("weights"),
        "architecture": digest("architecture"),
        "model": digest("model"),
        "about": ABOUT,
        "fields": {"num_heads": 12, "norm_eps": 1e-6},
        "stated": STATED,
        "tensors": 152,
        "parameters": 86_567_656,
        "dtype": "float32",
    }
    return Operand(**(given | changed))


def setting(**changed: Any) -> Setting:
    given = {
        "level": "training",
        "device": "cpu",
        "dtype": "float32",
        "backends": ("tensorflow",),
        "against_source": False,
        "seed": 20_240_607,
        "inputs": 3,
        "versions": {"vit-duet": "0.1.0", "torch": "2.13.0", "keras": "3.15.1"},
        "flags": {"TF32": "off", "oneDNN": "on", "threads": "1"},
        "criteria": {"ratio": {"logits": 3.0, "layers/forced": 3.0}, "max_ratio": 10},
        "criteria_hash": "",
    }
    return Setting(**(given | changed))


def figures(ratio: float, noise: float, limit: float = 3.0) -> dict[str, Any]:
    return {
        "ratio": ratio,
        "limit": limit,
        "max_ratio": 1.4 * ratio,
        "error": ratio * noise,
        "noise": noise,
        "max_difference": 8.1 * ratio * noise,
        "same_bits": False,
        "ulps": {"p50": 1.0, "p99": math.ceil(6 * ratio), "max": math.ceil(90 * ratio)},
        "status": "passed" if ratio <= limit else "failed",
    }


def tensors(depth: int, dim: int = 768) -> tuple[TensorRow, ...]:
    shapes = {"cls_token": (1, 1, dim), "pos_embed": (1, 197, dim)}
    shapes |= {
        "patch_embed.proj.weight": (dim, 3, 16, 16),
        "patch_embed.proj.bias": (dim,),
    }
    for i in range(depth):
        for part, out, into in (
            ("attn.qkv", 3 * dim, dim),
            ("attn.proj", dim, dim),
            ("mlp.fc1", 4 * dim, dim),
            ("mlp.fc2", dim, 4 * dim),
        ):
            shapes[f"blocks.{i}.{part}.weight"] = (out, into)
            shapes[f"blocks.{i}.{part}.bias"] = (out,)
        for part in ("norm1", "norm2"):
            shapes[f"blocks.{i}.{part}.weight"] = (dim,)
            shapes[f"blocks.{i}.{part}.bias"] = (dim,)
    shapes |= {"norm.weight": (dim,), "norm.bias": (dim,)}
    shapes |= {"head.weight": (1000, dim), "head.bias": (1000,)}
    return tuple(
        TensorRow(
            name=name,
            shape=shape,
            dtype_a="float32",
            dtype_b="float32",
            sha256_a=digest(name),
            sha256_b=digest(name),
        )
        for name, shape in shapes.items()
    )


def layers(
    depth: int, subject: str, inputs: str = "noise", *, broken: str = ""
) -> tuple[LayerRow, ...]:
    """Rows of both modes; from the tap `broken` on, errors are far over the noise."""
    names = ["patch_embed", "pos_embed"]
    names += [f"blocks.{i}.{step}" for i in range(depth) for step in STEPS]
    names += ["norm", "pool", "head"]
    random = np.random.default_rng(7)
    rows = []
    for mode in ("cumulative", "forced"):
        wrong = False
        for place, name in enumerate(names):
            at_fault = name == broken
            wrong = at_fault or (wrong and mode == "cumulative")
            grown = place if mode == "cumulative" else 3
            noise = 4e-8 * (1 + grown) ** 0.5 * float(random.uniform(0.9, 1.2))
            ratio = float(random.uniform(0.8, 1.3)) * (4000.0 if wrong else 1.0)
            rows.append(
                LayerRow(
                    subject=subject,
                    inputs=inputs,
                    name=name,
                    mode=mode,
                    ratio=ratio,
                    error=ratio * noise,
                    noise=noise,
                    ulps={
                        "p50": 1.0,
                        "p99": round(7 * ratio),
                        "max": round(80 * ratio),
                    },
                    sqnr_db=-20 * math.log10(ratio * noise),
                    failed=ratio > 3,
                )
            )
    return tuple(rows)


def histogram(subject: str, name: str = "logits") -> Histogram:
    edges = (0.0, 1.0, 2.0, 3.0, 5.0, 9.0, 17.0, 33.0, 65.0, 129.0, 1025.0, math.inf)
    counts = (1211, 940, 410, 261, 120, 44, 11, 3, 0, 0, 0)
    return Histogram(subject=subject, name=name, edges=edges, counts=counts)


def scatter(subject: str, count: int = 300, noise: float = 1e-6) -> Scatter:
    random = np.random.default_rng(3)
    exact = random.normal(size=count)
    given = exact + noise * random.normal(size=count)
    return Scatter(
        subject=subject,
        name="logits",
        exact=tuple(exact.tolist()),
        given=tuple(given.tolist()),
    )


def curves(subject: str) -> tuple[Curve, ...]:
    found = []
    for optimizer, rate in (("sgd", 0.08), ("adamw", 0.15)):
        exact = [0.51 * math.exp(-rate * step) + 0.02 for step in range(11)]
        found.append(
            Curve(
                subject=subject,
                optimizer=optimizer,
                loss=tuple(y + 2e-8 * (i + 1) for i, y in enumerate(exact)),
                loss_reference=tuple(y - 1.5e-8 * (i + 1) for i, y in enumerate(exact)),
                loss_exact=tuple(exact),
                drift=3.1e-6 * rate,
                drift_reference=2.7e-6 * rate,
            )
        )
    return tuple(found)


def output_checks(subject: str, scale: float = 1.0) -> tuple[Check, ...]:
    found = []
    for place, kind in enumerate(("noise", "zeros", "large", "low variance", "inputs")):
        for name, noise in (("tokens", 3.1e-7), ("pooled", 2.2e-7), ("logits", 2.6e-7)):
            given = figures(scale * (1.02 + 0.07 * place), noise)
            if name == "logits":
                given |= {"kl": 2.2e-13 * scale**2, "top1": 1.0, "top5": 0.9998}
            found.append(
                Check(
                    level="logits",
                    name=name,
                    inputs=kind,
                    subject=subject,
                    meaning="twins",
                    count=3,
                    **given,
                )
            )
    return tuple(found)


def report(checks: tuple[Check, ...], **parts: Any) -> ParityReport:
    given = {
        "producer": "vit-duet 0.1.0",
        "verdict": verdict_of(checks),
        "sentence": "All that was asked for was run and passed.",
        "a": operand("A"),
        "b": operand("B"),
        "setting": setting(),
        "checks": checks,
        "seconds": 61.25,
    }
    return ParityReport(**(given | parts))


def passed() -> ParityReport:
    """ViT-B, all levels, two subjects, with cases."""
    checks = (
        Check(level="config", name="architecture", status="passed", same_bits=True),
        Check(
            level="weights",
            name="every tensor",
            meaning="weights",
            status="passed",
            count=152,
            same_bits=True,
        ),
        *output_checks(KERAS),
        *output_checks(TWIN, 0.99),
        Check(
            level="layers",
            name="from the input on",
            inputs="noise",
            subject=KERAS,
            meaning="twins",
            **figures(1.31, 4.4e-7),
        ),
        Check(
            level="gradients",
            name="gradient of the input",
            inputs="noise",
            subject=KERAS,
            meaning="twins",
            **figures(1.14, 5.1e-7),
        ),
        Check(
            level="training",
            name="10 steps of sgd",
            subject=KERAS,
            meaning="twins",
            **figures(1.2, 2.7e-6),
        ),
        Check(
            level="reload",
            name="logits after a reload",
            subject=KERAS,
            meaning="reload",
            status="passed",
            same_bits=True,
        ),
        Check(
            level="cases", name="decisions", subject=KERAS, status="passed", count=412
        ),
    )
    rows = tensors(12)
    cases = tuple(
        CaseRow(
            case=digest(f"case {i}"),
            label=i % 2,
            decision_a="yes" if i % 2 else "no",
            decision_b="yes" if i % 2 else "no",
            margin=0.01 * i,
        )
        for i in range(1, 41)
    )
    return report(
        checks,
        sentence="B computes what A computes, up to float rounding, in all that was "
        "asked for: weights, outputs, layers, gradients and training on 1 backend.",
        tensors=rows,
        layers=layers(12, KERAS),
        gradients=tuple(
            GradientRow(
                subject=KERAS, name=row.name, ratio=1.1, error=5.5e-7, noise=5e-7
            )
            for row in rows
        ),
        curves=curves(KERAS),
        histograms=(histogram(KERAS, "tokens"), histogram(KERAS)),
        scatters=(scatter(KERAS),),
        cases=(
            CaseSummary(
                subject=KERAS,
                count=412,
                changed=0,
                upper_bound=0.00724,
                confidence=0.95,
                threshold=0.5,
                correct_a=0.9126,
                correct_b=0.9126,
                rows=cases,
            ),
        ),
    )


def failed() -> ParityReport:
    """One bias zeroed in block 3, and another epsilon."""
    name = "blocks.3.attn.qkv.bias"
    rows = tuple(
        row.model_copy(
            update={
                "sha256_b": digest("other"),
                "max_difference": 0.41,
                "rms_difference": 1.0,
                "differing": 768,
            }
        )
        if row.name == name
        else row
        for row in tensors(12)
    )
    checks = (
        Check(
            level="config",
            name="architecture",
            status="failed",
            message="1 field differs: norm_eps",
        ),
        Check(
            level="weights",
            name="every tensor",
            meaning="weights",
            status="failed",
            count=152,
            same_bits=False,
            message=f"1 of 152 tensors differs: {name}",
        ),
        *output_checks(KERAS, 5200.0),
        Check(
            level="layers",
            name="each step alone",
            inputs="noise",
            subject=KERAS,
            meaning="twins",
            message="blocks.3.attn.qkv is the first step over its limit",
            **figures(4011.0, 4.4e-7),
        ),
        Check(
            level="logits",
            name="logits",
            subject="A, timm 1.0.31",
            meaning="source",
            status="reported",
            kl=1e-9,
        ),
    )
    return report(
        checks,
        sentence="B is not A: 1 of 152 tensors differs, and the outputs are up to "
        "7,280 times the noise from A's.",
        b=operand("B", fingerprint=digest("other weights"), architecture=digest("eps")),
        tensors=rows,
        config=(
            ConfigRow(section="architecture", field="norm_eps", a="1e-06", b="1e-05"),
        ),
        layers=layers(12, KERAS, broken="blocks.3.attn.qkv"),
        divergences=(
            Divergence(
                subject=KERAS,
                tap="blocks.3.attn.qkv",
                index=(0, 17, 901),
                tensors=(name,),
                fields=("norm_eps",),
                explanation="Its bias differs in 768 of 2,304 numbers: the part of the "
                "keys is zero in B.",
            ),
        ),
        histograms=(histogram(KERAS),),
        scatters=(scatter(KERAS, noise=0.2),),
        setting=setting(level="layers"),
    )


def incomplete() -> ParityReport:
    """Nothing failed, but a backend and the original library are not there."""
    checks = (
        *output_checks(KERAS),
        Check(
            level="logits",
            name="logits",
            inputs="noise",
            subject="B, Keras on jax",
            meaning="twins",
            status="not checked",
            message="jax is not installed: pip install 'vit-duet[jax]'",
        ),
        Check(
            level="logits",
            name="logits",
            subject="A, timm",
            meaning="source",
            status="not checked",
            message="timm is not installed",
        ),
    )
    return report(
        checks,
        sentence="Nothing failed, but 2 checks could not be run.",
        a=operand("A", model="", about={}, fields={}, stated=()),
        b=operand("B", model="", about={}, fields={}, stated=()),
        setting=setting(level="logits", backends=("tensorflow", "jax")),
    )


def volume() -> ParityReport:
    """A 3D feature model: no head, five axes."""
    rows = (
        TensorRow(
            name="patch_embed.proj.weight",
            shape=(96, 1, 8, 8, 8),
            dtype_a="float32",
            dtype_b="float32",
            sha256_a=digest("kernel"),
            sha256_b=digest("kernel"),
        ),
        TensorRow(
            name="norm.bias", shape=(96,), dtype_a="float32", sha256_a=digest("norm")
        ),
    )
    checks = (
        Check(
            level="weights",
            name="every tensor",
            meaning="weights",
            status="failed",
            message="norm.bias is only in A",
        ),
        Check(
            level="logits",
            name="tokens",
            inputs="structured",
            subject=TWIN,
            meaning="twins",
            **figures(0.0, 3e-7),
        ),
    )
    return report(
        checks,
        sentence="norm.bias is only in A.",
        a=operand("A", dialect="monai", format="torch", tensors=2, parameters=49_248),
        b=operand("B", format="safetensors", tensors=1, parameters=49_152),
        tensors=rows,
        layers=tuple(
            row.model_copy(update={"ratio": 0.0, "error": 0.0, "sqnr_db": None})
            for row in layers(2, TWIN, "structured")
        ),
        setting=setting(level="layers", backends=()),
    )


HOSTILE = "</script><img src=x onerror=alert(1)>${7*7}{{7*7}}<!--|\n# `x` \u202eb @all"


def hostile() -> ParityReport:
    """Foreign text in every field that holds text, and figures that are no numbers."""
    bad = HOSTILE
    digits = {
        "ratio": math.inf,
        "error": math.nan,
        "noise": 0.0,
        "ulps": {bad: math.inf},
    }
    both = {"a": bad, "b": bad}
    checks = (
        Check(
            level="logits",
            name=bad,
            inputs=bad,
            subject=bad,
            meaning="twins",
            status="failed",
            message=bad,
            limit=3.0,
            max_ratio=math.nan,
            max_difference=-math.inf,
            kl=math.nan,
            top1=math.nan,
            **digits,
        ),
        Check(level="reload", name=bad, status="not checked", message=bad, subject=bad),
        Check(level="cases", name="none", status="not checked"),
    )
    names = {"subject": bad, "name": bad}
    return report(
        checks,
        producer=bad,
        sentence=bad,
        a=operand(
            "A",
            format=bad,
            dialect=bad,
            fingerprint=bad,
            architecture=bad,
            model=bad,
            about={bad: bad, "head": bad},
            fields={bad: bad},
            stated=({"field": bad, "value": bad, "origin": bad},),
        ),
        b=operand("B", format=bad, dtype=bad),
        setting=setting(
            device=bad,
            dtype=bad,
            backends=(bad,),
            versions={bad: bad},
            flags={bad: bad},
            criteria={bad: {"a/b~c": bad, "list": [bad, math.nan]}},
            criteria_hash=bad,
        ),
        tensors=(
            TensorRow(
                name=bad,
                shape=(2,),
                dtype_a=bad,
                dtype_b=bad,
                sha256_a=bad,
                sha256_b="x",
                max_difference=math.inf,
                rms_difference=math.nan,
            ),
        ),
        config=(ConfigRow(section="labels", field=bad, **both),),
        layers=(
            LayerRow(mode="cumulative", inputs=bad, failed=True, **names, **digits),
            LayerRow(mode="cumulative", inputs=bad, **names, **digits),
        ),
        gradients=(GradientRow(**names, ratio=math.nan, error=math.inf, noise=0.0),),
        curves=(
            Curve(
                subject=bad,
                optimizer=bad,
                loss=(math.nan, math.inf, 1.0),
                loss_reference=(math.nan,),
                loss_exact=(1.0, 1.0, 1.0),
                drift=math.nan,
                drift_reference=math.inf,
            ),
        ),
        divergences=(
            Divergence(
                subject=bad, tap=bad, tensors=(bad,), fields=(bad,), explanation=bad
            ),
        ),
        histograms=(Histogram(**names, edges=(0, math.nan, math.inf), counts=(0, 0)),),
        scatters=(Scatter(**names, exact=(math.nan, 1.0), given=(1.0, math.inf)),),
        cases=(
            CaseSummary(
                subject=bad,
                count=1,
                changed=1,
                upper_bound=math.nan,
                confidence=0.95,
                rows=(
                    CaseRow(case=bad, decision_a=bad, decision_b="", margin=math.nan),
                ),
            ),
        ),
    )


def large() -> ParityReport:
    """As large as of ViT-g on one backend."""
    whole = passed()
    rows = tensors(50, 1408)
    return whole.model_copy(
        update={
            "tensors": rows,
            "layers": layers(54, KERAS),
            "gradients": tuple(
                GradientRow(
                    subject=KERAS, name=row.name, ratio=1.1, error=5.5e-7, noise=5e-7
                )
                for row in rows
            ),
            "scatters": (scatter(KERAS, 3000),),
        }
    )
