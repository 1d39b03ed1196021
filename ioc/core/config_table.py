"""What all tables of the configuration share: their base, and the policies."""

from enum import Enum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

GIB = 1 << 30


class Table(BaseModel):
    """A table of the configuration: unknown keys are refused, nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Policy(Enum):
    """What happens when a member is slower than the stream; see docs/explanation/delivery.md."""

    LATEST = "latest"
    BOUNDED = "bounded"
    LOSSLESS = "lossless"
    ACKNOWLEDGED = "acknowledged"

    def __init__(self, name: str) -> None:
        self.may_drop = name in ("latest", "bounded")
        """Whether a full queue drops; otherwise the source waits. An attribute: it is asked for with every frame."""


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


PolicyName = Annotated[Policy, BeforeValidator(_lower)]
