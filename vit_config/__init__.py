"""The schema that both twins share: what a Vision Transformer is.

Imports pydantic only; no array library, no framework.

PYTEST_DONT_REWRITE: with a plugin in it, pytest would warn if this is imported before.
"""

from vit_config.config import SCHEMA_VERSION, ViTConfig
from vit_config.data import (
    DataConfig,
    IntensityConfig,
    RopeConfig,
    SourceConfig,
    Statement,
)
from vit_config.errors import ConfigError

__all__ = [
    "SCHEMA_VERSION",
    "ConfigError",
    "DataConfig",
    "IntensityConfig",
    "RopeConfig",
    "SourceConfig",
    "Statement",
    "ViTConfig",
]
