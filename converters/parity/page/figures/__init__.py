"""The plots of a record."""

from __future__ import annotations

from converters.parity.page.figures.base import Plot
from converters.parity.page.figures.distances import histogram_plot
from converters.parity.page.figures.layers import layer_plots
from converters.parity.page.figures.outputs import scatter_plot
from converters.parity.page.figures.training import curve_plot

__all__ = ["Plot", "curve_plot", "histogram_plot", "layer_plots", "scatter_plot"]
