"""The names of Redis keys: one hash slot a broker, and no two things under one name."""

import re

from shared.domain.identity import Broker
from shared.messaging import keys
from shared.messaging.keys import BrokerKeys, carry_field, queue_name


def all_keys(broker: Broker) -> list[str]:
    """Every key of a broker, with an example of each that is made from a name."""
    names = BrokerKeys(broker)
    fixed = [value for name, value in vars(names).items() if type(value) is str and not name.endswith("prefix")]
    return [
        *fixed,
        names.mailbox("alice"),
        names.positions("alice"),
        names.shard_lease(3),
        names.nonce("ab12"),
        names.limit("key"),
    ]


def test_all_keys_of_a_broker_are_in_one_slot() -> None:
    """The braces are the hash tag, and there is one pair of them."""
    for broker in Broker:
        for key in all_keys(broker):
            assert key.startswith(f"nija:{{{broker.value}}}:")
            assert key.count("{") == key.count("}") == 1


def test_no_two_keys_are_the_same() -> None:
    """Over all brokers."""
    every = [key for broker in Broker for key in all_keys(broker)]
    assert len(every) == len(set(every))


def test_every_key_is_in_the_table() -> None:
    """The module's docstring documents each, with who writes and who reads it."""
    documented = set(re.findall(r"nija:\{b\}:([a-z-]+)", keys.__doc__ or ""))
    used = {key.split(":")[2] for key in all_keys(Broker.KRAKEN)}
    assert used == documented


def test_each_broker_has_a_queue_of_its_own() -> None:
    """The names that Flower and KEDA see."""
    assert [queue_name(broker) for broker in Broker] == [
        "broker.coinbase",
        "broker.kraken",
        "broker.okx",
        "broker.binance",
        "broker.alpaca",
    ]


def test_carry_fields_cannot_be_confused() -> None:
    """A follower id has no bar."""
    assert carry_field("alice", "BTC/USD") == "alice|BTC/USD"
