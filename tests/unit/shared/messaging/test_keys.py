"""Tests that all Redis keys of a broker share one hash slot, and that no two keys have the same name."""

import re

from shared.domain.identity import Broker
from shared.messaging import keys
from shared.messaging.keys import BrokerKeys, carry_field, queue_name


def all_keys(broker: Broker) -> list[str]:
    """Every key of a broker. Keys that are made from a name appear with an example."""
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
    """The braces are the hash tag, and each key has exactly one pair."""
    for broker in Broker:
        for key in all_keys(broker):
            assert key.startswith(f"nija:{{{broker.value}}}:")
            assert key.count("{") == key.count("}") == 1


def test_no_two_keys_are_the_same() -> None:
    """This holds over all brokers."""
    every = [key for broker in Broker for key in all_keys(broker)]
    assert len(every) == len(set(every))


def test_every_key_is_in_the_table() -> None:
    """The docstring of the module lists each key with its writers and readers."""
    documented = set(re.findall(r"nija:\{b\}:([a-z-]+)", keys.__doc__ or ""))
    used = {key.split(":")[2] for key in all_keys(Broker.KRAKEN)}
    assert used == documented


def test_each_broker_has_a_queue_of_its_own() -> None:
    """Flower and KEDA use these names."""
    assert queue_name(Broker.KRAKEN) == "broker.kraken"
    assert len({queue_name(broker) for broker in Broker}) == len(Broker)


def test_carry_fields_cannot_be_confused() -> None:
    """A follower id contains no bar."""
    assert carry_field("alice", "BTC") == "alice|BTC"
