"""Tests the Celery settings on which the loss and doubling of hints depend."""

from celery import Celery

from shared.domain.identity import Broker
from shared.messaging.celery_app import configure_celery


def test_hints_are_acknowledged_early_and_never_stored_or_retried() -> None:
    """Each of these, set otherwise, lost messages or stopped a worker."""
    app = Celery("test", set_as_current=False)
    configure_celery(app, Broker.KRAKEN, "redis://127.0.0.1:1/0")
    assert not app.conf.task_acks_late
    assert app.conf.worker_disable_prefetch
    assert app.conf.worker_prefetch_multiplier == 1
    assert app.conf.task_ignore_result
    assert app.conf.result_backend is None
    assert not app.conf.task_create_missing_queues
    assert not app.conf.task_publish_retry
    assert app.conf.accept_content == ["json"]
    assert app.conf.broker_transport_options["priority_steps"] == [0]


def test_an_app_knows_its_brokers_queue_only() -> None:
    """A worker of one broker never takes another's hints."""
    app = Celery("test", set_as_current=False)
    configure_celery(app, Broker.OKX, "redis://127.0.0.1:1/0")
    assert [queue.name for queue in app.conf.task_queues] == ["broker.okx"]
    assert app.conf.task_default_queue == "broker.okx"
