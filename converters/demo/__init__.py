"""The demo: two small models, trained, converted, compared; offline, on real data."""

from __future__ import annotations

from converters.demo.report import CaseReport, DemoReport, LayerError
from converters.demo.runner import demo, run

__all__ = ["CaseReport", "DemoReport", "LayerError", "demo", "run"]
