"""Defines the parameters that several routes share. Each is checked before it reaches a server."""

from typing import Annotated, Final

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field

from shared.domain.identity import Broker

BROKER_FORM: Final = f"(?:{'|'.join(broker.value for broker in Broker)})"
FOLLOWER_FORM: Final = "[a-z0-9][a-z0-9_.-]{0,63}"
ASSET_FORM: Final = r"[^\x00-\x20/]{1,40}"
SYMBOL_FORM: Final = r"[^\x00-\x20/]{1,40}(?:/[^\x00-\x20/]{1,40})?"
"""A name of a coin may have letters of any alphabet."""
_FOLLOWER: Final = f"^{FOLLOWER_FORM}$"

BrokerInPath = Annotated[Broker, Path(description="A broker.", examples=["kraken"])]
BrokerFilter = Annotated[Broker | None, Query(description="Only this broker's.")]
FollowerInPath = Annotated[str, Path(pattern=_FOLLOWER, description="A follower's id.", examples=["alice"])]
FollowerFilter = Annotated[str | None, Query(pattern=_FOLLOWER, description="Only this follower's.")]
AssetFilter = Annotated[
    str | None,
    Query(pattern=f"^{ASSET_FORM}$", description="Only of this asset.", examples=["BTC"]),
]
Reason = Annotated[
    str, Field(max_length=500, pattern=r"^[^\x00]*$", description="Why; kept with the change.", examples=["holiday"])
]


class Body(BaseModel):
    """The base of all bodies: a field that does not exist is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Why(Body):
    """The reason of a change."""

    reason: Reason = ""
