"""ClickHouse's errors: which are waited out, and which are not."""

import socket
import threading

import chdb
import pytest
from clickhouse_connect.driver.exceptions import (
    ClickHouseError,
    DatabaseError,
    DataError,
    OperationalError,
)

from sinks.clickhouse import ClickHousePing, ClickHouseSettings, ClickHouseWriter, connect
from sinks.clickhouse_errors import PASSING, is_passing
from state.patience import Patience


@pytest.mark.parametrize("code", [252, 243, 241, 242, 164, 210, 209, 999, 159])
def test_a_server_that_cannot_now_is_waited_for(code: int) -> None:
    """Too many parts, no disk, no memory, read-only, network, Keeper, time."""
    assert is_passing(DatabaseError("DB::Exception", code=code))


@pytest.mark.parametrize("code", [53, 47, 60, 62, 516, 394])
def test_a_refusal_is_not_waited_for(code: int) -> None:
    """Wrong types, names, syntax or password, and an insert that a successor has ended."""
    assert not is_passing(DatabaseError("DB::Exception", code=code))
    assert not is_passing(OperationalError("DB::Exception", code=code))


def test_codes_are_what_clickhouse_calls_them() -> None:
    """By the engine's own table."""
    numbers = ",".join(map(str, PASSING))
    query = f"SELECT errorCodeToName(toUInt32(arrayJoin([{numbers}])))"
    assert str(chdb.query(query)).replace('"', "").split() == list(PASSING.values())


@pytest.mark.parametrize(
    ("status", "passes"), [(502, True), (503, True), (429, True), (404, False), (401, False)]
)
def test_a_proxys_own_answer_goes_by_its_status(status: int, *, passes: bool) -> None:
    """It bears no code of ClickHouse's."""
    assert is_passing(DatabaseError(f"HTTP driver received HTTP status {status}")) is passes


def test_data_that_the_client_cannot_encode_is_refused() -> None:
    """It never left."""
    assert not is_passing(DataError("cannot encode"))
    assert not is_passing(ValueError("cannot encode"))


def test_a_refused_connection_is_waited_for() -> None:
    """As it comes from the real client, until the flow is told to stop."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = ClickHouseSettings(port=listener.getsockname()[1])
    waits: list[float] = []
    patience = Patience(sleep=waits.append, stopped=lambda: len(waits) == 3)
    writer = ClickHouseWriter(client_factory=lambda: connect(where), patience=patience)
    with pytest.raises(OperationalError):
        writer.ask(lambda client: client.command("SELECT 1"))
    assert len(waits) == 3


def test_a_silent_server_does_not_hold_the_ping_up() -> None:
    """It accepts and says nothing: the ping fails by itself."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ping = ClickHousePing(ClickHouseSettings(port=silent.getsockname()[1]))
        failed: list[Exception] = []

        def ask() -> None:
            try:
                ping.ask()
            except ClickHouseError as error:
                failed.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(30)
        assert len(failed) == 1
    ping.close()
