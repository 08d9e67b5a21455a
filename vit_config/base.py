"""What all parts of a config are: frozen, strict, and refused in our own words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from pydantic import BaseModel, ConfigDict, ValidationError

from vit_config.errors import ConfigError, problem_lines


class Frozen(BaseModel):
    """A part of a config.

    Attributes:
        part: What messages call it.

    Raises:
        ConfigError: With every problem found, each naming the field, the value and
            what would be allowed.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False
    )
    part: ClassVar[str]

    if not TYPE_CHECKING:  # type checkers keep the signature made from the fields

        def __init__(self, **fields: Any) -> None:
            try:
                super().__init__(**fields)
            except ValidationError as error:
                own = type(self)
                lines = problem_lines(error, own.model_fields, own.part)
                raise ConfigError(lines, own.__name__) from None

        def __setattr__(self, name: str, value: Any) -> NoReturn:
            raise ConfigError([f"{name}: {_FROZEN}"], type(self).__name__)

        def __delattr__(self, name: str) -> NoReturn:
            raise ConfigError([f"{name}: {_FROZEN}"], type(self).__name__)


_FROZEN = "configs do not change; ViTConfig.replace makes one with other values"
