"""What all tables of the configuration share: their base, and the policies."""

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ioc.core.config_words import words_of

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

GIB = 1 << 30
LARGEST_QUEUE = 65536
"""Frames that may wait for one member at most."""


class Table(BaseModel):
    """A table of the configuration: unknown keys are refused, nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: "CoreSchema", handler: "GetJsonSchemaHandler") -> "JsonSchemaValue":
        """Return the JSON Schema of a table, with the texts below its keys."""
        made = handler(schema)
        keys = handler.resolve_ref_schema(made).get("properties", {})
        for key, text in words_of(cls).items():
            if key in keys:
                keys[key].setdefault("description", text)
        return made


class Policy(Enum):
    """What happens when a member is slower than the stream; see docs/explanation/delivery.md."""

    LATEST = "latest"
    BOUNDED = "bounded"
    LOSSLESS = "lossless"
    ACKNOWLEDGED = "acknowledged"

    def __init__(self, name: str) -> None:
        self.may_drop = name in ("latest", "bounded")
        """Whether a full queue drops; otherwise the source waits. An attribute: it is asked for with every frame."""


class Drop(Enum):
    """Which frame a full queue of policy Bounded drops: the oldest that waits, or the one that comes."""

    OLDEST = "oldest"
    NEWEST = "newest"


def lower(value: object) -> object:
    """Return a text in lower case, anything else as it is."""
    return value.lower() if isinstance(value, str) else value


PolicyName = Annotated[Policy, BeforeValidator(lower)]
DropName = Annotated[Drop, BeforeValidator(lower)]


class Queued(Table):
    """What may wait for a member, and what happens when it is more."""

    policy: PolicyName = Policy.LOSSLESS
    """What happens when a member is slower than the stream: `latest`, `bounded`, `lossless` or `acknowledged`."""
    drop: DropName = Drop.OLDEST
    """bounded: a full queue drops the `oldest` frame that waits, or the `newest`: the one that comes."""
    queue_size: int = Field(default=64, ge=1, le=LARGEST_QUEUE)
    """Frames that may wait for one member; left out where queue_bytes is given: the bytes alone count."""
    queue_bytes: int | None = Field(default=None, ge=1)
    """Bytes that may wait for one member; left out: no limit but queue_size."""

    @model_validator(mode="before")
    @classmethod
    def _bytes_alone(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("queue_bytes") is not None and "queue_size" not in given:
            return {**given, "queue_size": LARGEST_QUEUE}
        return given
