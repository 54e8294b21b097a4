"""Holds what the routes work with: connections, actions, limits, and the parts of the settings that they need."""

import threading
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Final, cast

from fastapi import Depends, Request
from pydantic import SecretStr

from services.api.limits import RequestLimits
from shared.actions.context import ActionContext
from shared.config import Settings
from shared.config.capital import open_markets
from shared.config.operator import action_context
from shared.domain.identity import Broker
from shared.observability.vitals import Duty
from shared.queries.capital.sources import CapitalSources
from shared.queries.connections import Connections

MOST_STREAMS: Final = 20
"""Event streams at once. Each of them asks PostgreSQL twice a second."""


@dataclass(frozen=True, slots=True)
class ApiSystem:
    """One running API."""

    connections: Connections
    actions: ActionContext
    limits: RequestLimits
    enabled: tuple[Broker, ...]
    environment_token: SecretStr | None = field(repr=False)
    snapshot_max_age: timedelta
    capital: CapitalSources
    """What questions about capital read from."""
    closing: AsyncExitStack
    """What is closed at the end of the process, in its event loop."""
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the process is to end. Streams end then."""
    database: Duty = field(default_factory=Duty)
    """What the process knows of PostgreSQL."""
    streams: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(MOST_STREAMS))

    @classmethod
    def of(cls, settings: Settings, connections: Connections) -> "ApiSystem":
        """The system that the settings name, on open connections."""
        brokers = settings.enabled_brokers()
        closing = AsyncExitStack()
        urls = [settings.redis_url, *(settings.own_redis_url(broker) for broker in brokers or Broker)]
        return cls(
            connections=connections,
            actions=action_context(settings, connections.engine, secret_box=connections.secret_box),
            limits=RequestLimits(settings.api_requests_per_minute, next((url for url in urls if url), None)),
            enabled=brokers,
            environment_token=settings.api_token,
            snapshot_max_age=timedelta(seconds=settings.snapshot_max_age_seconds),
            capital=CapitalSources(
                connections=connections, markets=open_markets(settings, closing), stocks=settings.stocks
            ),
            closing=closing,
        )


async def system_of(request: Request) -> ApiSystem:
    """The system of the application that got the request."""
    return cast(ApiSystem, request.app.state.system)


System = Annotated[ApiSystem, Depends(system_of)]
