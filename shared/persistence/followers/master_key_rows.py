"""Changes the stored keys of master accounts without reading what they say: encrypts them again, or deletes them."""

from sqlalchemy import Connection, Engine, bindparam, delete, select, update

from shared.domain.identity import Broker, MasterAccount
from shared.persistence.database import transaction
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.tables.columns import table_of
from shared.persistence.tables.strategy import MasterKeyRow

_KEYS = table_of(MasterKeyRow)
_RESEAL = (
    update(_KEYS)
    .where(_KEYS.c.broker == bindparam("of_broker"), _KEYS.c.master_account == bindparam("of_account"))
    .values(sealed_credentials=bindparam("sealed"))
)


def rotate_master_keys(connection: Connection, box: SecretBox) -> int:
    """Encrypt all of them again with the first key of the box. Return their number. Raises BadSecretKey."""
    rows = connection.execute(select(_KEYS).with_for_update()).all()
    for row in rows:
        sealed = box.rotate(row.sealed_credentials)
        connection.execute(_RESEAL, {"of_broker": row.broker, "of_account": row.master_account, "sealed": sealed})
    return len(rows)


def forget_master_key(engine: Engine, broker: Broker, master_account: MasterAccount) -> bool:
    """Delete the key of an account that is not traded any more. False: there was none. Raises DatabaseUnavailable."""
    unwanted = delete(_KEYS).filter_by(broker=broker.value, master_account=master_account)
    with transaction(engine) as connection:
        return connection.execute(unwanted).rowcount > 0
