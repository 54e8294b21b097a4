"""Defines the types that name brokers, followers and orders, and derives their ids."""

import re
from enum import StrEnum
from typing import Annotated, NewType
from uuid import UUID, uuid5
from zlib import crc32

from pydantic import AfterValidator

from shared.domain.errors import InvalidFollowerId


class Broker(StrEnum):
    """A place where accounts trade. (The message broker is called Redis.)"""

    COINBASE = "coinbase"
    KRAKEN = "kraken"
    OKX = "okx"
    BINANCE = "binance"
    ALPACA = "alpaca"


MasterAccount = NewType("MasterAccount", str)
FillId = NewType("FillId", str)
CopyOrderId = NewType("CopyOrderId", str)
BrokerOrderId = NewType("BrokerOrderId", str)
DecisionId = NewType("DecisionId", str)
"""The name of one decision of the strategy. The strategy chooses it, and never uses it twice for an account."""

_FOLLOWER_ID = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")

# A change would change every client order id, and orders in flight could not be found again.
_COPY_ORDER_NAMESPACE = UUID("5d0c9a4e-5f0b-4a60-9c1b-6f1f3a8f4e2d")

RING_SIZE = 1 << 32
# Knuth's multiplicative hash constant: successive fills start far apart on the ring.
_RING_STEP = 2_654_435_769


def _checked_follower_id(text: str) -> str:
    if not _FOLLOWER_ID.fullmatch(text):
        raise InvalidFollowerId(
            f"follower id {text!r} is not valid: use 1 to 64 lowercase letters, digits, '_', '-' or '.', "
            "beginning with a letter or digit"
        )
    return text


FollowerId = NewType("FollowerId", Annotated[str, AfterValidator(_checked_follower_id)])
"""The name of a follower. pydantic models check its form, and `FollowerId(text)` does not.

`parse_follower_id` checks a text from outside before it is stored.
"""


_MASTER_PREFIX = "master:"


def mailbox_of_master(master_account: MasterAccount) -> FollowerId:
    """The name of a master account's own mailbox, claim and key. No follower id contains a colon."""
    return FollowerId(_MASTER_PREFIX + master_account)


def master_of_mailbox(name: FollowerId) -> MasterAccount | None:
    """The master account whose mailbox has this name. None: the mailbox of a follower."""
    return MasterAccount(name.removeprefix(_MASTER_PREFIX)) if name.startswith(_MASTER_PREFIX) else None


def parse_follower_id(text: str) -> FollowerId:
    """Return `text` as a follower id. Raises InvalidFollowerId, which says what would be right."""
    return FollowerId(_checked_follower_id(text))


def copy_order_id(
    broker: Broker, master_account: MasterAccount, fill_id: FillId, follower_id: FollowerId
) -> CopyOrderId:
    """The one id of a follower's order for a master fill: 32 lowercase hex digits.

    It is sent to the broker as client order id, so that the same order is found again after a crash at any point.
    """
    name = f"{broker.value}:{master_account}:{fill_id}:{follower_id}"
    return CopyOrderId(uuid5(_COPY_ORDER_NAMESPACE, name).hex)


def strategy_order_id(
    broker: Broker, master_account: MasterAccount, decision_id: DecisionId, number: int
) -> CopyOrderId:
    """The one id of the order number `number`, from 1, of a decision of the strategy: 32 lowercase hex digits."""
    name = f"{broker.value}:{master_account}:strategy:{decision_id}:{number}"
    return CopyOrderId(uuid5(_COPY_ORDER_NAMESPACE, name).hex)


def ring_position(follower_id: FollowerId) -> int:
    """The follower's place on the ring, 0 to RING_SIZE − 1. It never depends on other followers."""
    return crc32(follower_id.encode())


def shard_of(follower_id: FollowerId, shards: int) -> int:
    """The shard (0 to shards − 1) that plans for this follower."""
    # It uses the ring position's upper bits: the lower bits would put neighbours of a shard at even distances.
    return (ring_position(follower_id) >> 16) % shards


def ring_start(sequence: int) -> int:
    """The place where the fan-out of a fill begins. It varies, so that no follower is always the last."""
    return (sequence * _RING_STEP) % RING_SIZE
