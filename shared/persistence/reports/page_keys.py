"""Defines where a page of a long list ends. The next page begins behind that row, whatever was added meanwhile."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from shared.domain.amounts import Instant
from shared.domain.identity import Broker
from shared.persistence.database import is_storable

_LARGEST_BIGINT = 2**63 - 1


def _storable(text: str) -> str:
    if not is_storable(text):
        raise ValueError("has a character that cannot be stored")
    return text


Number = Annotated[int, Field(ge=0, le=_LARGEST_BIGINT)]
Text = Annotated[str, Field(max_length=200), AfterValidator(_storable)]


class PageKey(BaseModel):
    """The last row of a page."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FillKey(PageKey):
    """A fill, in the list with the newest first."""

    published_at: Instant
    sequence: Number
    broker: Broker


class OrderKey(PageKey):
    """A copy order, in the list with those of the newest fill first."""

    sequence: Number
    broker: Broker
    follower_id: Text


class FollowerKey(PageKey):
    """A follower, in the list by broker and id."""

    broker: Broker
    follower_id: Text


class PositionKey(PageKey):
    """A copied position, in the list by broker, follower and asset."""

    broker: Broker
    follower_id: Text
    asset: Text
