"""Tests that each message on the wire comes back byte for byte, and that version 1 stays readable."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.copying.copy_order import CopiedPosition, CopyOrder
from shared.domain.copying.follower import Follower
from shared.domain.copying.master_fill import MasterFill
from shared.domain.events import (
    EVENT,
    DecisionBatch,
    FollowerDisabled,
    OrderEvent,
    SnapshotEvent,
    StrategyOrderEvent,
)
from shared.domain.fill import AccountFill
from shared.domain.identity import CopyOrderId
from shared.domain.instrument import Instrument
from shared.domain.strategy.execution.orders import StrategyOrder
from shared.messaging.mailboxes import Submission

MODELS: list[type[BaseModel]] = [
    MasterFill,
    AccountFill,
    CopyOrder,
    CopiedPosition,
    Submission,
    DecisionBatch,
    OrderEvent,
    StrategyOrder,
    StrategyOrderEvent,
    SnapshotEvent,
    FollowerDisabled,
    AccountSnapshot,
    Follower,
    Instrument,
]
AMOUNTS = st.decimals(allow_nan=False, allow_infinity=False, places=12, min_value=-(10**12), max_value=10**12)

MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.timezones())  # noqa: DTZ001

# The wire forms that version 1 began with. A later version must go on reading them: add new ones, change none.
VERSION_1: dict[str, str] = {
    "MasterFill": (
        '{"version":1,"sequence":7,"broker":"kraken","master_account":"main","fill_id":"T7","order_id":"O7",'
        '"symbol":"BTC/USD","side":"sell","price":"50000.1","quantity":"0.00012345","cost":"6.1725","fee":"0.016",'
        '"fee_currency":"USD","master_equity_before":"100000","traded_position_before":"0.5",'
        '"fraction_closed":"0.0002469","executed_at":"2026-01-05T12:00:00.123456Z",'
        '"published_at":"2026-01-05T12:00:01Z","replayed":false,"trace_id":"trace-7"}'
    ),
    "CopyOrder": (
        '{"version":1,"id":"17f3a9b93119523ba4f9fe063dd4a6a2","broker":"kraken","sequence":7,"follower_id":"alice",'
        '"symbol":"BTC/USD","side":"sell","quantity":null,"fraction":"0.25","policy_minimum":"0",'
        '"reference_price":"50000","executed_at":"2026-01-05T12:00:00.123456Z",'
        '"published_at":"2026-01-05T12:00:01Z","decided_at":"2026-01-05T12:00:01.5Z","replayed":false,'
        '"trace_id":"trace-7"}'
    ),
    "CopiedPosition": '{"quantity":"0.00000001","carried_exit":"0"}',
    "Submission": (
        '{"version":1,"copy_order_id":"17f3a9b93119523ba4f9fe063dd4a6a2","stage":"accepted","attempt":2,'
        '"quantity":"0.001","exit_due":"0.0015","claimed_at":"2026-01-05T12:00:00Z",'
        '"submitted_at":"2026-01-05T12:00:00.1Z","valid_until":"2026-01-05T12:00:10.1Z","broker_order_id":"O1",'
        '"accepted_at":"2026-01-05T12:00:00.2Z"}'
    ),
    "DecisionBatch": (
        '{"version":1,"type":"decisions","broker":"kraken","sequence":7,"shard":3,"symbol":"BTC/USD","side":"buy",'
        '"instrument":{"broker":"kraken","symbol":"BTC/USD","asset_class":"coin","base":"BTC","quote":"USD","lot":"0.00000001",'
        '"price_tick":"0.1","minimum_quantity":"0.00005","minimum_cost":"0.5","maximum_quantity":null},'
        '"decided_at":"2026-01-05T12:00:01.5Z","decisions":[{"copy_order_id":"17f3a9b93119523ba4f9fe063dd4a6a2",'
        '"follower_id":"alice","skip_reason":"below_minimum","quantity":null,"fraction":null,"status":"active",'
        '"minimum_notional":"1","equity":"1000","snapshot_at":"2026-01-05T12:00:00Z","carried_before":"0",'
        '"carried_after":"0.00001"}]}'
    ),
    "OrderEvent": (
        '{"version":1,"type":"order","broker":"kraken","copy_order_id":"17f3a9b93119523ba4f9fe063dd4a6a2",'
        '"sequence":7,"follower_id":"alice","symbol":"BTC/USD","side":"buy","state":"filled","outcome":"copied",'
        '"reason":null,"message":"","attempt":1,"broker_order_id":"O1","quantity":"0.001","filled_quantity":"0.001",'
        '"cost":"50","fee":"0.13","fee_currency":"USD","asset":"BTC","position_after":"0.001","carried_exit_after":"0","other_positions":{},'
        '"claimed_at":"2026-01-05T12:00:00Z","submitted_at":"2026-01-05T12:00:00.1Z",'
        '"accepted_at":"2026-01-05T12:00:00.2Z","occurred_at":"2026-01-05T12:00:00.3Z"}'
    ),
    "StrategyOrder": (
        '{"version":1,"id":"17f3a9b93119523ba4f9fe063dd4a6a2","broker":"kraken","master_account":"main",'
        '"decision_id":"d7","number":2,"purpose":"entry","symbol":"BTC/USD","side":"buy","quantity":"0.001",'
        '"limit_price":"50025","time_in_force":"ioc","placed_at":"2026-01-05T12:00:00.123456Z",'
        '"expires_at":"2026-01-05T12:01:00.123456Z","decided_at":"2026-01-05T12:00:00.123456Z","replayed":false}'
    ),
    "StrategyOrderEvent": (
        '{"version":1,"type":"strategy_order","broker":"kraken","order_id":"17f3a9b93119523ba4f9fe063dd4a6a2",'
        '"master_account":"main","decision_id":"d7","number":2,"symbol":"BTC/USD","side":"buy","state":"filled",'
        '"outcome":"filled","reason":null,"message":"","attempt":1,"broker_order_id":"O1","quantity":"0.001",'
        '"filled_quantity":"0.001","cost":"50","fee":"0.13","fee_currency":"USD","claimed_at":"2026-01-05T12:00:00Z",'
        '"submitted_at":"2026-01-05T12:00:00.1Z","accepted_at":"2026-01-05T12:00:00.2Z",'
        '"occurred_at":"2026-01-05T12:00:00.3Z"}'
    ),
    "SnapshotEvent": (
        '{"version":1,"type":"snapshot","broker":"kraken","follower_id":"alice","equity":"1000","cash":"900",'
        '"held":"50","positions":"50","unpriced":["XYZ"],"occurred_at":"2026-01-05T12:00:00Z"}'
    ),
    "FollowerDisabled": (
        '{"version":1,"type":"follower_disabled","broker":"kraken","follower_id":"alice",'
        '"message":"EAPI:Invalid key","occurred_at":"2026-01-05T12:00:00Z"}'
    ),
    "AccountSnapshot": (
        '{"equity":"1000","cash":"900","held":"50","positions":"50","free":{"USD":"900"},"total":{"USD":"950"},'
        '"unpriced":[],"taken_at":"2026-01-05T12:00:00Z"}'
    ),
}


@pytest.mark.parametrize("model", [m for m in MODELS if m.__name__ in VERSION_1], ids=lambda m: m.__name__)
def test_version_1_stays_readable(model: type[BaseModel]) -> None:
    """The oldest form is read without loss: all that it says is in what is written again."""
    message = model.model_validate_json(VERSION_1[model.__name__])
    again = model.model_validate_json(message.model_dump_json())
    assert again == message
    assert again.model_dump_json() == message.model_dump_json()
    old = TypeAdapter(dict[str, Any]).validate_json(VERSION_1[model.__name__])
    new = TypeAdapter(dict[str, Any]).validate_json(message.model_dump_json())
    same_moments = {name: value for name, value in old.items() if not name.endswith(("_at", "_until", "decisions"))}
    assert {name: new[name] for name in same_moments} == same_moments


@pytest.mark.parametrize(
    "name", ["DecisionBatch", "OrderEvent", "StrategyOrderEvent", "SnapshotEvent", "FollowerDisabled"]
)
def test_an_event_says_which_it_is(name: str) -> None:
    """The field `type` chooses the model."""
    assert type(EVENT.validate_json(VERSION_1[name])).__name__ == name


@pytest.mark.parametrize("name", ["MasterFill", "CopyOrder", "StrategyOrder", "Submission", "OrderEvent"])
def test_an_unknown_version_is_refused(name: str) -> None:
    """A message of the future is not guessed at."""
    model = next(m for m in MODELS if m.__name__ == name)
    with pytest.raises(ValidationError, match="version"):
        model.model_validate_json(VERSION_1[name].replace('"version":1', '"version":2'))


def _amount_fields(model: type[BaseModel]) -> list[str]:
    """Fields that hold a Decimal, None or not."""
    return [
        n for n, f in model.model_fields.items() if "Decimal" in str(f.annotation) and "dict" not in str(f.annotation)
    ]


AMOUNT_FIELDS = [(m, n) for m in MODELS if m.__name__ in VERSION_1 for n in _amount_fields(m)]


@pytest.mark.parametrize(("model", "name"), AMOUNT_FIELDS, ids=lambda v: v if isinstance(v, str) else v.__name__)
def test_no_amount_of_any_message_is_a_float(model: type[BaseModel], name: str) -> None:
    """In memory and on the wire."""
    fields = TypeAdapter(dict[str, Any]).validate_json(VERSION_1[model.__name__])
    with pytest.raises(ValidationError, match="amounts are decimal text"):
        model.model_validate({**fields, name: 0.1})


def test_every_money_message_has_its_amounts_tested() -> None:
    """The list above is made from the models; it must not be empty because a spelling changed."""
    assert {model.__name__ for model, _ in AMOUNT_FIELDS} == set(VERSION_1) - {"FollowerDisabled", "DecisionBatch"}
    assert len(AMOUNT_FIELDS) >= 28


@given(AMOUNTS, AMOUNTS, MOMENTS, st.text(max_size=20))
def test_messages_come_back_byte_for_byte(one: Decimal, two: Decimal, moment: Any, text: str) -> None:
    """Redis compares a submission's JSON as text, so what is read and written again is the same text."""
    submission = Submission(
        copy_order_id=CopyOrderId("17f3a9b93119523ba4f9fe063dd4a6a2"),
        stage="unknown",
        attempt=3,
        quantity=one,
        exit_due=two,
        claimed_at=moment,
        submitted_at=moment,
        valid_until=moment,
        broker_order_id=text,
    )
    event = OrderEvent.model_validate(
        {**OrderEvent.model_validate_json(VERSION_1["OrderEvent"]).model_dump(), "message": text, "cost": one}
    )
    fill = MasterFill.model_validate(
        {**MasterFill.model_validate_json(VERSION_1["MasterFill"]).model_dump(), "price": one, "executed_at": moment}
    )
    position = CopiedPosition(quantity=one, carried_exit=two)
    for message in (submission, event, fill, position):
        written = message.model_dump_json()
        read = type(message).model_validate_json(written)
        assert read == message
        assert read.model_dump_json() == written
