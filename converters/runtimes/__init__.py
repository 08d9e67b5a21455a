"""Exported artifacts, run by their own runtime: `converters.runtimes.base`."""
