"""Tests when a worker counts as broken: its children, its consumer, and its own report."""

from pathlib import Path

import pytest

from services.broker_worker.children import ANSWER_SECONDS, LEDGER_SECONDS, SLOTS, STEADY_SECONDS, Children
from services.broker_worker.health import LOST_SECONDS, ConsumerWatch, WorkerHealth
from shared.domain.identity import Broker
from shared.messaging.stage_signs import Stage, StageRecord, StageState
from shared.observability.heartbeat import Heartbeat
from shared.observability.vitals import AWAY_SECONDS, Vitals
from tests.support.clock import Clock

KRAKEN = Broker.KRAKEN
ENDS_AGAIN = "its child processes end again and again"
NO_ANSWER = "none of its child processes answers"


@pytest.fixture
def clock() -> Clock:
    """It stands until a test moves it."""
    return Clock()


@pytest.fixture
def children(clock: Clock) -> Children:
    """Two children that have just started."""
    children = Children(clock)
    for index in (0, 1):
        children.slot(index).begin()
    return children


def test_children_that_answer_work(clock: Clock, children: Children) -> None:
    """From their start on, and as long as one of them beats."""
    assert children.has_started
    assert children.defect == ""
    clock.seconds += ANSWER_SECONDS
    children.slot(1).beat()
    clock.seconds += 1
    assert children.defect == ""


def test_children_that_hang_do_no_work(clock: Clock, children: Children) -> None:
    """No event loop of a child has turned for half a minute."""
    clock.seconds += ANSWER_SECONDS + 0.1
    assert children.defect == NO_ANSWER


def test_a_child_that_died_once_is_replaced_without_a_word(clock: Clock, children: Children) -> None:
    """Both were killed for lack of memory, say: the next ones count from their start."""
    for index in (0, 1):
        children.slot(index).begin()
    assert children.defect == ""


def test_children_that_end_again_and_again_do_no_work(clock: Clock, children: Children) -> None:
    """Each lives for a second; one that lives for ten does work."""
    for _ in range(3):
        clock.seconds += 1
        for index in (0, 1):
            children.slot(index).begin()
    assert children.defect == ENDS_AGAIN
    clock.seconds += STEADY_SECONDS - 0.1
    children.slot(0).beat()
    assert children.defect == ENDS_AGAIN
    clock.seconds += 0.1
    children.slot(0).beat()
    assert children.defect == ""


def test_one_child_in_a_crash_loop_leaves_the_others_to_work(clock: Clock, children: Children) -> None:
    """The worker serves on with fewer places."""
    for _ in range(9):
        clock.seconds += 1
        children.slot(0).begin()
        children.slot(1).beat()
    assert children.defect == ""


def test_the_children_are_told_to_stop() -> None:
    """By the main process; nothing else changes what they read."""
    children = Children()
    assert not children.is_stopping
    children.slot(SLOTS - 1).begin()
    assert not children.is_stopping
    children.stop()
    assert children.is_stopping


def test_keys_that_cannot_be_read_are_known_for_ten_seconds(clock: Clock, children: Children) -> None:
    """They are tried again every two seconds while a follower waits."""
    assert not children.is_ledger_away
    children.slot(1).ledger_failed()
    clock.seconds += LEDGER_SECONDS - 0.1
    assert children.is_ledger_away
    clock.seconds += 0.1
    assert not children.is_ledger_away


def test_a_consumer_that_leaves_hints_for_a_minute_is_lost(clock: Clock) -> None:
    """The worker has a free child and takes none of them."""
    watch = ConsumerWatch(clock)
    watch.saw(1, is_busy=False)
    clock.seconds += LOST_SECONDS
    watch.saw(3, is_busy=False)
    assert not watch.is_lost
    clock.seconds += 0.1
    assert watch.is_lost
    watch.received()
    assert not watch.is_lost


@pytest.mark.parametrize(("hints", "is_busy"), [(0, False), (5, True)])
def test_an_empty_queue_or_busy_children_are_no_loss(clock: Clock, hints: int, is_busy: bool) -> None:
    """A quiet broker has no hints; a worker whose children all have a task takes none, as when the broker hangs."""
    watch = ConsumerWatch(clock)
    for _ in range(100):
        watch.saw(hints, is_busy=is_busy)
        clock.seconds += 10
    assert not watch.is_lost
    watch.saw(1, is_busy=False)
    assert not watch.is_lost


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The heartbeat file."""
    return tmp_path / "heartbeat"


@pytest.fixture
def health(clock: Clock, children: Children, file: Path) -> WorkerHealth:
    """A worker whose children have started."""
    record = StageRecord.of_this_process(Stage.BROKER_WORKER)
    return WorkerHealth(record, KRAKEN, children, ConsumerWatch(clock), Vitals(Heartbeat(file), [KRAKEN], clock))


def test_a_worker_that_serves_beats_and_says_that_it_runs(health: WorkerHealth, file: Path) -> None:
    """After its first sweep it is healthy, too."""
    health.beat()
    assert file.read_text() == "it has not begun its work yet"
    health.swept()
    health.beat()
    assert file.read_text() == ""
    assert health.present(KRAKEN).state is StageState.RUNNING


def test_a_worker_without_its_consumer_is_broken_and_beats_no_more(
    clock: Clock, health: WorkerHealth, children: Children, file: Path
) -> None:
    """Only a restart helps, so it is not alive for the health check, and says why."""
    health.swept()
    health.consumer.saw(1, is_busy=False)
    clock.seconds += LOST_SECONDS + 1
    children.slot(0).beat()
    health.beat()
    assert not file.exists()
    record = health.present(KRAKEN)
    assert (record.state, record.trouble) == (
        StageState.BROKEN,
        "it has lost its consumer: hints wait in the queue and it takes none",
    )
    health.consumer.received()
    assert health.present(KRAKEN).state is StageState.RUNNING


def test_a_worker_without_children_is_starting_and_then_broken(clock: Clock, file: Path) -> None:
    """Before the first child has begun it does not beat; when all have gone silent it is broken."""
    children = Children(clock)
    record = StageRecord.of_this_process(Stage.BROKER_WORKER)
    health = WorkerHealth(record, KRAKEN, children, ConsumerWatch(clock), Vitals(Heartbeat(file), [KRAKEN], clock))
    health.beat()
    assert not file.exists()
    assert health.present(KRAKEN).state is StageState.STARTING
    children.slot(0).begin()
    assert health.present(KRAKEN).state is StageState.RUNNING
    clock.seconds += ANSWER_SECONDS + 1
    assert (health.present(KRAKEN).state, health.present(KRAKEN).trouble) == (StageState.BROKEN, NO_ANSWER)


def test_a_worker_whose_children_cannot_read_keys_is_alive_and_not_healthy(
    clock: Clock, health: WorkerHealth, children: Children, file: Path
) -> None:
    """PostgreSQL does not answer its children: a restart would not help."""
    health.swept()
    for _ in range(int(AWAY_SECONDS) + 1):
        children.slot(0).beat()
        children.slot(0).ledger_failed()
        health.swept()
        clock.seconds += 1
    health.beat()
    assert "followers' keys cannot be read" in file.read_text()
    assert health.present(KRAKEN).state is StageState.RUNNING
