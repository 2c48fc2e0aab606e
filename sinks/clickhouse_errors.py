"""Which of ClickHouse's errors pass by themselves."""

import re
from collections.abc import Mapping

from clickhouse_connect.driver.exceptions import Error, OperationalError
from urllib3.exceptions import HTTPError

PASSING: Mapping[int, str] = {
    75: "CANNOT_WRITE_TO_FILE_DESCRIPTOR",
    76: "CANNOT_OPEN_FILE",
    159: "TIMEOUT_EXCEEDED",
    160: "TOO_SLOW",
    164: "READONLY",
    198: "DNS_ERROR",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    203: "NO_FREE_CONNECTION",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    225: "NO_ZOOKEEPER",
    236: "ABORTED",
    241: "MEMORY_LIMIT_EXCEEDED",
    242: "TABLE_IS_READ_ONLY",
    243: "NOT_ENOUGH_SPACE",
    252: "TOO_MANY_PARTS",
    254: "NO_ACTIVE_REPLICAS",
    279: "ALL_CONNECTION_TRIES_FAILED",
    285: "TOO_FEW_LIVE_REPLICAS",
    286: "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE",
    319: "UNKNOWN_STATUS_OF_INSERT",
    425: "SYSTEM_ERROR",
    439: "CANNOT_SCHEDULE_TASK",
    499: "S3_ERROR",
    999: "KEEPER_EXCEPTION",
    1000: "POCO_EXCEPTION",
    1001: "STD_EXCEPTION",
}
"""Codes of a server that is full, busy, read-only or cut off. A full disk is 243, 75, 76 or 1001,
by where it is noticed. Not here: 394 QUERY_WAS_CANCELLED, how a successor ends our insert.
Source: src/Common/ErrorCodes.cpp."""

_STATUS = re.compile(r"HTTP status (\d{3})")
_TOO_MANY_REQUESTS = 429
_SERVER_FAULTS = range(500, 600)


def is_passing(error: Exception) -> bool:
    """Tell whether waiting may help: the server cannot now, or was not reached.

    clickhouse-connect puts the server's code into error.code. Without one it was no answer of the
    server's: a connection failed (OperationalError), or a proxy answered with its own status.
    """
    if not isinstance(error, Error):
        return isinstance(error, HTTPError | OSError)
    if error.code is not None:
        return error.code in PASSING
    status = _STATUS.search(str(error))
    if status is not None:
        return int(status[1]) in _SERVER_FAULTS or int(status[1]) == _TOO_MANY_REQUESTS
    return isinstance(error, OperationalError)
