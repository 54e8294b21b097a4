"""Configures Celery for one broker: its queue of hints, which need neither acknowledgements nor results.

After a lost hint, the sweep finds the follower. A doubled hint finds no follower ready. So messages are acknowledged
early and publishing is never retried. Each setting below was chosen because another value lost messages or stopped a
worker.
"""

import ssl
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from celery import Celery
from kombu.entity import Exchange, Queue
from redis.connection import parse_url

from shared.domain.identity import Broker
from shared.messaging.keys import DRAIN_TASK, queue_name


def configure_celery(app: Celery, broker: Broker, redis_url: str, *others: Broker) -> None:
    """Configure `app` for the broker's queue on the Redis of `redis_url`.

    `others`: further brokers on this Redis. A program that only shows queues, such as Flower, may know several.
    """
    name = queue_name(broker)
    names = [name, *map(queue_name, others)]
    app.conf.update(
        broker_url=celery_url(redis_url),
        # By default, Celery accepts any certificate.
        broker_use_ssl={"ssl_cert_reqs": ssl.CERT_REQUIRED} if redis_url.startswith("rediss://") else None,
        task_queues=[Queue(each, Exchange(each, type="direct"), routing_key=each) for each in names],
        task_default_queue=name,
        task_default_exchange=name,
        task_default_routing_key=name,
        task_create_missing_queues=False,
        task_acks_late=False,
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        task_ignore_result=True,
        result_backend=None,
        task_serializer="json",
        accept_content=["json"],
        task_send_sent_event=False,
        worker_send_task_events=True,
        task_publish_retry=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        worker_hijack_root_logger=False,
        # If Celery redirects stderr, every line that a child of the worker logs is lost.
        worker_redirect_stdouts=False,
        broker_transport_options={
            "priority_steps": [0],
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            # After a network partition, a connection may stay silent. It is replaced after twice this time, in seconds.
            "health_check_interval": 5,
            "max_connections": 64,
            "body_encoding": "utf-8",
        },
    )


def celery_url(redis_url: str) -> str:
    """The URL for Celery with the same server, database and user as `redis_url`.

    Celery uses another scheme for a Unix socket, and reads the database from the path only. From the query, only the
    options of TLS are kept.
    """
    options: dict[str, Any] = parse_url(redis_url)  # type: ignore[no-untyped-call]
    login = ":".join(quote(str(options.get(part, "")), safe="") for part in ("username", "password"))
    login = "" if login == ":" else f"{login}@"
    database = options.get("db", 0)
    if "path" in options:
        return f"redis+socket://{login}{options['path']}?virtual_host={database}"
    host, port = str(options.get("host", "localhost")), options.get("port", 6379)
    written = f"[{host}]" if ":" in host else host
    query = urlencode([pair for pair in parse_qsl(urlsplit(redis_url).query) if pair[0].startswith("ssl_")])
    return f"{urlsplit(redis_url).scheme}://{login}{written}:{port}/{database}{'?' if query else ''}{query}"


class HintPublisher:
    """Sends hints to a broker's queue. The calls block, so an event loop calls them from a thread."""

    def __init__(self, broker: Broker, redis_url: str) -> None:
        self._app = Celery(f"nija.{broker.value}.hints", set_as_current=False)
        configure_celery(self._app, broker, redis_url)
        self._drain = self._app.signature(DRAIN_TASK)

    def publish(self, hints: int) -> None:
        """Send this number of hints in one pipeline. Raises kombu's OperationalError when Redis does not answer."""
        if hints <= 0:
            return
        with self._app.producer_pool.acquire(block=True) as producer, producer.batch(hints):
            for _ in range(hints):
                self._drain.apply_async(producer=producer)

    def close(self) -> None:
        self._app.close()
