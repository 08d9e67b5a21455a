"""Exported artifacts, run by their own runtime: `converters.deploy.runtime.base`."""
