"""Marks the positions that nija opened among all that an account holds."""

from collections.abc import Sequence
from decimal import Decimal

from shared.domain.amounts import ZERO
from shared.domain.capital.arithmetic import fixed_precision
from shared.domain.capital.facts import AccountFacts, HeldPosition


@fixed_precision
def with_own_positions(account: AccountFacts, own: Sequence[HeldPosition], spent: Decimal = ZERO) -> AccountFacts:
    """Return the account in which the positions that the strategy opened are marked as nija's.

    What the account holds of an asset besides them stays a position that nija did not open. `spent`: what the strategy
    has spent since the account was read.
    """
    quantities: dict[str, Decimal] = {}
    for each in own:
        quantities[each.instrument.base] = quantities.get(each.instrument.base, ZERO) + each.quantity
    rest = [
        each.model_copy(update={"quantity": each.quantity - quantities.get(each.instrument.base, ZERO)})
        for each in account.positions
    ]
    others = tuple(each for each in rest if each.quantity > 0 or each.instrument.base not in quantities)
    margin = account.margin
    if margin is not None:
        # The broker reports it with the next reading. Until then, a purchase counts as if the broker lent what it can.
        margin = margin.model_copy(update={"used": margin.used + spent / margin.most_leverage})
    update = {"positions": (*own, *others), "free_cash": account.free_cash - spent, "margin": margin}
    return account.model_copy(update=update)
