"""The command `vit-duet`."""

from converters.cli.app import main

__all__ = ["main"]
