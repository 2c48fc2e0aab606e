"""A broker is away, or a process stands still, for longer than a transaction may be open.

The processes wait and go on by themselves: nothing is lost, nothing comes twice.
"""

from pathlib import Path
from threading import Event

import pytest

from tests.integration.copy_process import Copy
from tests.integration.copying import Copying, copying, pause, resume
from tests.servers.apache_kafka import ApacheKafka

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]
SOME = 3_000
TRANSACTION_TIMEOUT_S = 4.0
OUTAGE_S = 3 * TRANSACTION_TIMEOUT_S


class Hasty(Copying):
    """Processes whose transactions time out soon."""

    def copy(self, instance: str) -> Copy:
        told = super().copy(instance)
        timeout_ms = str(int(TRANSACTION_TIMEOUT_S * 1_000))
        return told._replace(options={**told.options, "transaction.timeout.ms": timeout_ms})


def pass_time(seconds: float) -> None:
    """Let an outage last: its length is what the test is about."""
    Event().wait(seconds)


def test_a_broker_that_is_away_for_long_is_waited_for(
    single: ApacheKafka, unique: str, tmp_path: Path
) -> None:
    """No process dies of it."""
    with copying(single.bootstrap, unique, tmp_path, Hasty) as copy:
        for instance in ("0", "1"):
            copy.start(instance)
        copy.run(more=SOME)
        single.kill()
        pass_time(OUTAGE_S)
        single.start_node()
        copy.run(more=SOME)
        assert copy.finish() == copy.committed.found
        assert copy.deaths == []


def test_a_process_that_starts_before_the_broker_waits_for_it(
    single: ApacheKafka, unique: str, tmp_path: Path
) -> None:
    """It begins as soon as the broker is there."""
    with copying(single.bootstrap, unique, tmp_path, Hasty) as copy:
        single.kill()
        copy.start("0")
        pass_time(OUTAGE_S)
        single.start_node()
        copy.run(more=SOME)
        assert copy.finish() == copy.committed.found
        assert copy.deaths == []


def test_a_process_that_stood_still_goes_on(
    single: ApacheKafka, unique: str, tmp_path: Path
) -> None:
    """As in a wait for a store: the broker has aborted what it had open; it begins anew."""
    with copying(single.bootstrap, unique, tmp_path, Hasty) as copy:
        child = copy.start("0")
        for _ in range(3):
            copy.run(more=SOME)
            pause(child)
            pass_time(OUTAGE_S)
            resume(child)
        copy.run(more=SOME)
        assert copy.finish() == copy.committed.found
        assert copy.deaths == []


def test_a_process_that_is_to_stop_does_not_wait_for_the_broker(
    single: ApacheKafka, unique: str, tmp_path: Path
) -> None:
    """It ends uncommitted, and its successor is exact."""
    with copying(single.bootstrap, unique, tmp_path, Hasty) as copy:
        copy.start("0")
        copy.run(more=SOME)
        single.kill()
        assert copy.stop("0") in {0, 1}  # by itself; killed, it would be less than 0
        single.start_node()
        copy.start("0")
        copy.run(more=SOME)
        assert copy.finish() == copy.committed.found
