"""Stores the fee of a recorded fill that became known after the fill was published.

Where a fee is taken in a coin, it lowers the traded position of that coin. Rows of the ledger never change, so a
correction is a row of its own. It counts for the newest fill of its asset, until a later fill has taken it into its own
position.
"""

from decimal import Decimal
from typing import Final, NamedTuple

from sqlalchemy import Connection, func, insert, select, text
from sqlmodel import col

from shared.domain.amounts import ZERO
from shared.domain.cash import is_cash
from shared.domain.fill import AccountFill
from shared.domain.identity import Broker, MasterAccount
from shared.domain.symbol import Symbol
from shared.persistence.tables.ledger import FeeCorrectionRow, MasterFillRow, TradedPositionRow

POSITIONS: Final = text("""
    SELECT n.asset, greatest(n.position + coalesce(sum(c.position_change), 0), 0) AS position
    FROM (
        SELECT DISTINCT ON (asset) asset, sequence, position_after AS position FROM traded_positions
        WHERE broker = :broker AND master_account = :master_account AND asset = ANY(:assets)
        -- Fills of an account that was watched before under this name are not part of the position.
        AND sequence > coalesce((SELECT followed_after FROM master_checkpoints
            WHERE broker = :broker AND master_account = :master_account), 0)
        ORDER BY asset, sequence DESC
    ) n
    LEFT JOIN fee_corrections c
        ON c.broker = :broker AND c.master_account = :master_account AND c.asset = n.asset AND c.sequence = n.sequence
    GROUP BY n.asset, n.position
""")
"""The traded positions of these assets, corrections included."""


def store_correction(connection: Connection, broker: Broker, master_account: MasterAccount, fill: AccountFill) -> bool:
    """Store the fee that `fill` shows now, once. Return whether it differs from the recorded one.

    A full close after the fill has closed that part of the position, too.
    """
    of_account = (
        col(MasterFillRow.broker) == broker.value,
        col(MasterFillRow.master_account) == master_account,
    )
    row = connection.execute(
        select(
            col(MasterFillRow.sequence),
            col(MasterFillRow.symbol),
            col(MasterFillRow.fee),
            col(MasterFillRow.fee_currency),
        ).where(*of_account, col(MasterFillRow.fill_id) == fill.fill_id)
    ).one_or_none()
    is_stored = connection.scalar(
        select(col(FeeCorrectionRow.fill_id))
        .where(
            col(FeeCorrectionRow.broker) == broker.value,
            col(FeeCorrectionRow.master_account) == master_account,
            col(FeeCorrectionRow.fill_id) == fill.fill_id,
        )
        .limit(1)
    )
    if row is None or is_stored or (row.fee, row.fee_currency) == (fill.fee, fill.fee_currency):
        return False
    changes = _changes(fill, Symbol.parse(row.symbol), row.fee, row.fee_currency)
    newest = {asset: _newest(connection, broker, master_account, asset, row.sequence) for asset in changes}
    connection.execute(
        insert(FeeCorrectionRow),
        [
            {
                "broker": broker.value,
                "master_account": master_account,
                "fill_id": fill.fill_id,
                "asset": asset,
                "sequence": newest[asset].sequence,
                "fee": fill.fee,
                "fee_currency": fill.fee_currency,
                "position_change": ZERO if newest[asset].was_closed else change,
            }
            for asset, change in changes.items()
        ],
    )
    return True


class _Newest(NamedTuple):
    """The newest fill that moved an asset, and whether the position was empty after a fill since the corrected one."""

    sequence: int
    was_closed: bool


def _newest(connection: Connection, broker: Broker, master_account: MasterAccount, asset: str, since: int) -> _Newest:
    found = connection.execute(
        select(func.max(col(TradedPositionRow.sequence)), func.min(col(TradedPositionRow.position_after))).where(
            col(TradedPositionRow.broker) == broker.value,
            col(TradedPositionRow.master_account) == master_account,
            col(TradedPositionRow.asset) == asset,
            col(TradedPositionRow.sequence) >= since,
        )
    ).one()
    if found[0] is None:
        return _Newest(since, was_closed=True)
    return _Newest(found[0], was_closed=found[1] == 0)


def _changes(fill: AccountFill, recorded: Symbol, fee: Decimal, fee_currency: str) -> dict[str, Decimal]:
    """What the new fee adds to the positions, by asset. The base is always there, so that a correction has a row."""
    changes = {recorded.base: ZERO}
    # The fill was recorded under another name if its pair was not listed yet.
    present = recorded.base if fill.fee_currency == fill.symbol.base else fill.fee_currency
    for asset, change in ((fee_currency, fee), (present, -fill.fee)):
        if asset and not is_cash(asset):
            changes[asset] = changes.get(asset, ZERO) + change
    return changes
