"""Tests the health of one broker's trader, cycle by cycle."""

from decimal import Decimal

from shared.domain.accounts.broker_health import Health
from shared.domain.strategy.trader_health import TraderHealth


def test_a_broker_that_is_down_for_ten_cycles() -> None:
    """Four errors degrade it and the fifth fails it; probes follow after 1, 2 and 4 cycles; it returns in two steps."""
    health, probed, statuses = TraderHealth(), [], []
    for cycle in range(1, 15):
        if not health.cycle_is_due:
            health = health.after_waiting()
        elif cycle <= 10:
            probed.append(cycle)
            health = health.after_error("no answer")
        else:
            probed.append(cycle)
            health = health.after_success()
        statuses.append(health.status)
    assert probed == [1, 2, 3, 4, 5, 6, 8, 12, 13, 14]
    assert statuses[:4] == [Health.DEGRADED] * 4
    assert statuses[4:11] == [Health.FAILED] * 7
    assert statuses[11:] == [Health.DEGRADED, Health.HEALTHY, Health.HEALTHY]


def test_probes_go_on_every_fourth_cycle() -> None:
    """A broker that stays down is asked after 1, 2, 4, 4, 4 … cycles."""
    health, probed = TraderHealth(), []
    for cycle in range(1, 31):
        if health.cycle_is_due:
            probed.append(cycle)
            health = health.after_error("no answer")
        else:
            health = health.after_waiting()
    assert probed == [1, 2, 3, 4, 5, 6, 8, 12, 16, 20, 24, 28]


def test_a_refused_key_fails_at_once_and_stays_failed_through_other_errors() -> None:
    """Only a good cycle shows that the key is accepted again."""
    health = TraderHealth().after_error("invalid key", refused=True)
    assert (health.status, health.allows_opens, health.consecutive_errors) == (Health.FAILED, False, 1)
    assert health.after_error("no answer").status is Health.FAILED
    assert health.after_success().status is Health.DEGRADED


def test_an_error_during_recovery_starts_again() -> None:
    """After one good probe and one error the broker is degraded, and two good cycles make it healthy."""
    health = TraderHealth(consecutive_errors=5).after_success().after_error("no answer")
    assert (health.status, health.consecutive_errors) == (Health.DEGRADED, 1)
    assert health.after_success().status is Health.HEALTHY


def test_one_good_cycle_ends_degradation_and_cycles_are_counted() -> None:
    """48 good ones of 50 are 0.96; the last error stays readable."""
    health = TraderHealth()
    assert (health.status, health.success_rate) == (Health.HEALTHY, 1)
    for _ in range(2):
        health = health.after_error("no answer")
    assert (health.status, health.allows_opens) == (Health.DEGRADED, True)
    for _ in range(48):
        health = health.after_success()
    assert (health.status, health.cycles, health.successful_cycles) == (Health.HEALTHY, 50, 48)
    assert (health.success_rate, health.last_error) == (Decimal("0.96"), "no answer")
