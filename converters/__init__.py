"""Weights between PyTorch and Keras Vision Transformers, checked on the way.

Everything here is imported when it is first used; no framework comes with it.

PYTEST_DONT_REWRITE: with a plugin in it, pytest would warn if this is imported before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from converters.version import VERSION as __version__

if TYPE_CHECKING:
    from converters.conversion import convert
    from converters.deploy.attending.run import AttentionReport, attention
    from converters.deploy.bench.report import BenchReport
    from converters.deploy.bench.run import bench
    from converters.deploy.embed import embed
    from converters.deploy.embedding.report import EmbedReport
    from converters.deploy.export.report import ExportReport
    from converters.deploy.export.run import export
    from converters.deploy.media.volume import Volume
    from converters.deploy.predict import predict
    from converters.deploy.predictions import Predictions
    from converters.deploy.quantizing.report import QuantizationReport
    from converters.deploy.quantizing.run import quantize
    from converters.deploy.scans import read_scan
    from converters.errors import ConversionError, Issue
    from converters.inspection import Inspection, inspect
    from converters.parity.assertion import assert_parity
    from converters.parity.record import ParityReport
    from converters.parity.verify import verify
    from converters.report import ConversionReport

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
    "AttentionReport": "deploy.attending.run",
    "BenchReport": "deploy.bench.report",
    "ConversionError": "errors",
    "ConversionReport": "report",
    "EmbedReport": "deploy.embedding.report",
    "ExportReport": "deploy.export.report",
    "Inspection": "inspection",
    "Issue": "errors",
    "ParityReport": "parity.record",
    "Predictions": "deploy.predictions",
    "QuantizationReport": "deploy.quantizing.report",
    "Volume": "deploy.media.volume",
    "assert_parity": "parity.assertion",
    "attention": "deploy.attending.run",
    "bench": "deploy.bench.run",
    "convert": "conversion",
    "embed": "deploy.embed",
    "export": "deploy.export.run",
    "inspect": "inspection",
    "predict": "deploy.predict",
    "quantize": "deploy.quantizing.run",
    "read_scan": "deploy.scans",
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
