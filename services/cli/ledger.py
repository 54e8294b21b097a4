"""What the commands that read the ledger share: settings in, open reports and checked filters out."""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from services.local_system.record import settings_of_running_system
from shared.config import ConfigurationError, Settings, load_settings, parse_broker
from shared.domain.identity import Broker, FollowerId, parse_follower_id
from shared.persistence.database import open_engine
from shared.persistence.errors import UnknownFollower
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.recorded_decisions import RecordedDecisions
from shared.persistence.ledger.targets import Targets
from shared.persistence.reports.reports import Reports
from shared.persistence.schema import check_database

_SIMILAR = 3


@dataclass(frozen=True, slots=True)
class LedgerDesk:
    """The reports, and the followers that a filter may name."""

    settings: Settings
    """As the running system has them."""
    reports: Reports
    store: FollowerStore
    decisions: RecordedDecisions
    targets: Targets

    def known_follower(self, text: str | None, broker: Broker | None) -> FollowerId | None:
        """Return the id of a follower at the broker (at any, when None); None stays None.

        Raises InvalidFollowerId, and UnknownFollower that names similar ids. Removed followers are known: their
        history stays.
        """
        if text is None:
            return None
        follower_id = parse_follower_id(text)
        for each in (broker,) if broker else Broker:
            try:
                self.store.get(each, follower_id)
            except UnknownFollower:
                continue
            return follower_id
        where = f" at {broker.value}" if broker else ""
        known = {record.follower_id for record in self.store.all(broker, removed=True)}
        similar = difflib.get_close_matches(follower_id, known, n=_SIMILAR)
        hint = f"did you mean {' or '.join(similar)}?" if similar else "`nija followers list` shows who there is"
        raise UnknownFollower(f"--follower: there is no follower {follower_id!r}{where}; {hint}")


@contextmanager
def open_ledger() -> Iterator[LedgerDesk]:
    """Open DATABASE_URL, or the database of the nija that runs here. Raises DatabaseUnavailable, SchemaOutdated."""
    settings = load_settings()
    if settings.database_url is None:
        settings = settings_of_running_system(settings)
    engine = open_engine(settings.required_database_url(), pool_size=1)
    try:
        check_database(engine)
        yield LedgerDesk(settings, Reports(engine), FollowerStore(engine), RecordedDecisions(engine), Targets(engine))
    finally:
        engine.dispose()


def chosen_broker(name: str | None) -> Broker | None:
    """The broker of `--broker`. Raises ConfigurationError that names the known ones."""
    return parse_broker(name, "--broker") if name is not None else None


def asked_fill(fill: str, broker: Broker | None) -> tuple[str, Broker | None]:
    """The name of a fill and its broker, apart: `kraken:12` says both. Raises ConfigurationError."""
    before, _, name = fill.partition(":")
    if not name or before.lower() not in set(Broker):
        return fill, broker
    named = Broker(before.lower())
    if broker not in (None, named):
        raise ConfigurationError(f"--broker: {fill} is a fill of {named.value}, not of {broker}")
    return name, named
