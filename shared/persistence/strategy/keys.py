"""Stores the encrypted keys of master accounts that the strategy trades, for the workers of their brokers.

The environment of the trader has the key in clear. A worker gets it as it gets a follower's key: from PostgreSQL, sealed
with NIJA_SECRET_KEY. All methods block, and raise DatabaseUnavailable and BadSecretKey.
"""

from collections.abc import Collection
from datetime import UTC, datetime

from sqlalchemy import Engine, select
from sqlalchemy.dialects.postgresql import insert as upsert

from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker, FollowerId, MasterAccount, mailbox_of_master, master_of_mailbox
from shared.persistence.database import transaction
from shared.persistence.errors import BadSecretKey
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.tables.columns import table_of
from shared.persistence.tables.strategy import MasterKeyRow

_KEYS = table_of(MasterKeyRow)


class MasterKeys:
    """The keys of the master accounts of all brokers."""

    def __init__(self, engine: Engine, box: SecretBox) -> None:
        self._engine = engine
        self._box = box

    def keep(self, broker: Broker, master_account: MasterAccount, credentials: Credentials) -> None:
        """Store the key, in place of an earlier one. Workers use it from the next order on."""
        values = {
            "broker": broker.value,
            "master_account": master_account,
            "sealed_credentials": self._box.seal(broker, mailbox_of_master(master_account), credentials),
            "changed_at": datetime.now(UTC),
        }
        with transaction(self._engine) as connection:
            connection.execute(
                upsert(_KEYS)
                .values(values)
                .on_conflict_do_update(index_elements=["broker", "master_account"], set_=values)
            )

    def of_mailboxes(
        self, broker: Broker, names: Collection[FollowerId]
    ) -> dict[FollowerId, Credentials | BadSecretKey]:
        """The key of each master account among these mailboxes, or the error if it does not open.

        An account without a key is left out.
        """
        accounts = [account for name in names if (account := master_of_mailbox(name)) is not None]
        if not accounts:
            return {}
        wanted = select(_KEYS).where(_KEYS.c.broker == broker.value, _KEYS.c.master_account.in_(accounts))
        with transaction(self._engine) as connection:
            rows = connection.execute(wanted).all()
        keys: dict[FollowerId, Credentials | BadSecretKey] = {}
        for row in rows:
            name = mailbox_of_master(row.master_account)
            try:
                keys[name] = self._box.open(broker, name, row.sealed_credentials)
            except BadSecretKey as error:
                keys[name] = error
        return keys
