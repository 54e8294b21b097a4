"""Tests the ids of the strategy's orders, and the names of the mailboxes of master accounts."""

from uuid import UUID, uuid5

from shared.domain.identity import (
    Broker,
    DecisionId,
    FollowerId,
    MasterAccount,
    mailbox_of_master,
    master_of_mailbox,
    strategy_order_id,
)

MAIN = MasterAccount("main")


def test_the_client_order_id_follows_from_the_decision_and_the_number() -> None:
    """A change would change every client order id, and orders in flight could not be found again."""
    namespace = UUID("5d0c9a4e-5f0b-4a60-9c1b-6f1f3a8f4e2d")
    expected = uuid5(namespace, "kraken:main:strategy:d7:2").hex
    assert strategy_order_id(Broker.KRAKEN, MAIN, DecisionId("d7"), 2) == expected


def test_no_two_orders_have_the_same_id() -> None:
    """A colon in the name of a decision is no danger, because the number is the last part."""
    names = [("d", 1), ("d", 2), ("d:1", 1), ("d:1", 2), ("d:1:1", 1)]
    ids = {strategy_order_id(Broker.KRAKEN, MAIN, DecisionId(name), number) for name, number in names}
    assert len(ids) == len(names)


def test_a_mailbox_of_a_master_is_no_mailbox_of_a_follower() -> None:
    """No follower id contains a colon."""
    assert master_of_mailbox(mailbox_of_master(MAIN)) == MAIN
    assert master_of_mailbox(FollowerId("main")) is None
