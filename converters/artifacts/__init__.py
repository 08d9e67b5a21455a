"""Exported artifacts: one file a format, each run and compared before it has a name."""
