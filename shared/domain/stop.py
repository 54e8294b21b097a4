"""Defines what a stop is: its modes, its scopes, and the mode that holds for an account. Pure.

A person sets a stop and a person ends it. The program never ends one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from shared.domain.amounts import Instant
from shared.domain.identity import Broker, FollowerId


class StopMode(StrEnum):
    """What a stop holds back."""

    HALT = "halt"
    """No new order. Opens are skipped, and exits wait until trading is resumed."""
    CLOSE_ONLY = "close-only"
    """Opens are skipped, and exits go on."""
    FLATTEN = "flatten"
    """Like close-only, and the strategy sells every position that it opened. Followers copy these sales."""


_STRICTEST_FIRST: Final = (StopMode.HALT, StopMode.FLATTEN, StopMode.CLOSE_ONLY)


def strictest(modes: Iterable[StopMode | None]) -> StopMode | None:
    """The mode that holds back most. None: nothing is stopped."""
    given = set(modes)
    return next((mode for mode in _STRICTEST_FIRST if mode in given), None)


@dataclass(frozen=True, slots=True)
class StopUnknown:
    """It is not known whether trading is stopped. `message` says why."""

    message: str


def holds_back(stop: StopMode | StopUnknown | None, *, is_open: bool) -> bool:
    """Whether an order must not be sent now: an open during each stop, an exit during a halt, both while it is unknown."""
    return stop is not None and (is_open or stop is StopMode.HALT or isinstance(stop, StopUnknown))


class StopScope(BaseModel):
    """What is stopped: everything, one broker, or one follower."""

    model_config = ConfigDict(frozen=True)

    broker: Broker | None = None
    """None: all brokers."""
    follower_id: FollowerId | None = None
    """None: all followers of the broker."""

    @model_validator(mode="after")
    def _follower_has_a_broker(self) -> Self:
        if self.follower_id is not None and self.broker is None:
            raise ValueError("a follower is stopped at one broker: name the broker")
        return self

    @property
    def name(self) -> str:
        """The scope in words: `all brokers`, `kraken`, `alice at kraken`."""
        if self.broker is None:
            return "all brokers"
        return self.broker.value if self.follower_id is None else f"{self.follower_id} at {self.broker.value}"

    @property
    def options(self) -> str:
        """The options of `nija stop` and `nija resume` that name this scope, each with a blank before it."""
        broker = f" --broker {self.broker.value}" if self.broker else ""
        return broker + (f" --follower {self.follower_id}" if self.follower_id else "")


class Stop(BaseModel):
    """A stop that stands."""

    model_config = ConfigDict(frozen=True)

    scope: StopScope
    mode: StopMode
    actor: str
    reason: str
    changed_at: Instant
    """When it was set, or when its mode was changed last."""


class StopState(BaseModel):
    """Everything that is stopped at one broker, as the stages read it."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    revision: int
    """Grows with each stop and each resumption, so that an old state never replaces a newer one."""
    broker_mode: StopMode | None = None
    """The mode for all followers of the broker."""
    follower_modes: dict[FollowerId, StopMode] = {}
    """The modes of followers that have a stop of their own."""

    def mode_of(self, follower_id: FollowerId) -> StopMode | None:
        """The strictest mode that applies to the follower. None: it trades."""
        return strictest((self.broker_mode, self.follower_modes.get(follower_id)))


def state_at(broker: Broker, stops: Iterable[Stop], revision: int) -> StopState:
    """What of the standing stops applies at one broker."""
    here = [stop for stop in stops if stop.scope.broker in (None, broker)]
    return StopState(
        revision=revision,
        broker_mode=strictest(stop.mode for stop in here if stop.scope.follower_id is None),
        follower_modes={stop.scope.follower_id: stop.mode for stop in here if stop.scope.follower_id is not None},
    )
