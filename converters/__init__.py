"""Weights between PyTorch and Keras Vision Transformers, checked on the way.

Everything here is imported when it is first used; no framework comes with it.

PYTEST_DONT_REWRITE: with a plugin in it, pytest would warn if this is imported before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from converters.version import VERSION as __version__

if TYPE_CHECKING:
    from converters.artifacts.report import ExportReport
    from converters.artifacts.run import export
    from converters.benchmark.report import BenchReport
    from converters.benchmark.run import bench
    from converters.checks.inspection import Inspection, inspect
    from converters.conversion.convert import convert
    from converters.conversion.report import ConversionReport
    from converters.errors import ConversionError, Issue
    from converters.inference.attention.run import AttentionReport, attention
    from converters.inference.embed import embed
    from converters.inference.embedding.report import EmbedReport
    from converters.inference.predict import predict
    from converters.inference.predictions import Predictions
    from converters.inputs.read_scan import read_scan
    from converters.inputs.volume import Volume
    from converters.parity.assertion import assert_parity
    from converters.parity.record import ParityReport
    from converters.parity.verify import verify
    from converters.quantization.report import QuantizationReport
    from converters.quantization.run import quantize

__all__ = [
    "AttentionReport",
    "BenchReport",
    "ConversionError",
    "ConversionReport",
    "EmbedReport",
    "ExportReport",
    "Inspection",
    "Issue",
    "ParityReport",
    "Predictions",
    "QuantizationReport",
    "Volume",
    "__version__",
    "assert_parity",
    "attention",
    "bench",
    "convert",
    "embed",
    "export",
    "inspect",
    "predict",
    "quantize",
    "read_scan",
    "verify",
]

_HOMES = {
    "AttentionReport": "inference.attention.run",
    "BenchReport": "benchmark.report",
    "ConversionError": "errors",
    "ConversionReport": "conversion.report",
    "EmbedReport": "inference.embedding.report",
    "ExportReport": "artifacts.report",
    "Inspection": "checks.inspection",
    "Issue": "errors",
    "ParityReport": "parity.record",
    "Predictions": "inference.predictions",
    "QuantizationReport": "quantization.report",
    "Volume": "inputs.volume",
    "assert_parity": "parity.assertion",
    "attention": "inference.attention.run",
    "bench": "benchmark.run",
    "convert": "conversion.convert",
    "embed": "inference.embed",
    "export": "artifacts.run",
    "inspect": "checks.inspection",
    "predict": "inference.predict",
    "quantize": "quantization.run",
    "read_scan": "inputs.read_scan",
    "verify": "parity.verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"converters.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
