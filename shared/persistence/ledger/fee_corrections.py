"""Stores the fee of a recorded fill that became known after the fill was published.

Where a fee is taken in the coin, it lowers the traded position. Rows of the ledger never change, so a correction is a
row of its own. It counts for the newest fill of its symbol, until a later fill has taken it into its own position.
"""

from typing import Final

from sqlalchemy import Connection, func, insert, select, text
from sqlmodel import col

from shared.domain.amounts import ZERO
from shared.domain.fill import AccountFill, Side
from shared.domain.identity import Broker, MasterAccount
from shared.domain.symbol import Symbol
from shared.persistence.tables.ledger import FeeCorrectionRow, MasterFillRow

POSITIONS: Final = text("""
    SELECT n.symbol, greatest(n.position + coalesce(sum(c.position_change), 0), 0) AS position
    FROM (
        SELECT DISTINCT ON (symbol) symbol, sequence, traded_position_after AS position FROM master_fills
        WHERE broker = :broker AND master_account = :master_account AND symbol = ANY(:symbols)
        -- Fills of an account that was watched before under this name are not part of the position.
        AND sequence > coalesce((SELECT followed_after FROM master_checkpoints
            WHERE broker = :broker AND master_account = :master_account), 0)
        ORDER BY symbol, sequence DESC
    ) n
    LEFT JOIN fee_corrections c
        ON c.broker = :broker AND c.master_account = :master_account AND c.symbol = n.symbol AND c.sequence = n.sequence
    GROUP BY n.symbol, n.position
""")
"""The traded positions of these symbols, corrections included."""


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
        select(col(FeeCorrectionRow.fill_id)).where(
            col(FeeCorrectionRow.broker) == broker.value,
            col(FeeCorrectionRow.master_account) == master_account,
            col(FeeCorrectionRow.fill_id) == fill.fill_id,
        )
    )
    if row is None or is_stored or (row.fee, row.fee_currency) == (fill.fee, fill.fee_currency):
        return False
    # The name under which the fill was recorded. It was another one if the pair was not listed yet.
    of_symbol = (*of_account, col(MasterFillRow.symbol) == row.symbol)
    is_closed = connection.scalar(
        select(func.count()).where(
            *of_symbol, col(MasterFillRow.sequence) > row.sequence, col(MasterFillRow.fraction_closed) == 1
        )
    )
    base, change = fill.symbol.base, ZERO
    if fill.side is Side.BUY and not is_closed:
        # An unlisted name is its own base, so a fee in the coin was not taken off when the fill was recorded.
        taken = row.fee if row.fee_currency == Symbol.parse(row.symbol).base else ZERO
        change = taken - (fill.fee if fill.fee_currency == base else ZERO)
    newest = select(func.max(col(MasterFillRow.sequence))).where(*of_symbol).scalar_subquery()
    connection.execute(
        insert(FeeCorrectionRow).values(
            broker=broker.value,
            master_account=master_account,
            fill_id=fill.fill_id,
            symbol=row.symbol,
            sequence=newest,
            fee=fill.fee,
            fee_currency=fill.fee_currency,
            position_change=change,
        )
    )
    return True
