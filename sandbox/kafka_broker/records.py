"""Records inside a batch: looked at only to answer "which offset has this time"."""

from sandbox.kafka_broker.batches import header_of

_RECORDS_AT = 61


def find(batch: bytearray, timestamp_ms: int | None) -> tuple[int, int]:
    """Give (timestamp, offset) of the first record at least as new; None asks for the newest.

    A compressed batch is not opened: it answers with its newest timestamp and first offset.
    """
    header = header_of(batch)
    wanted_ms = header.max_timestamp if timestamp_ms is None else timestamp_ms
    if header.compressed:
        return header.max_timestamp, header.base_offset
    at = _RECORDS_AT
    for _ in range(header.records):
        size, at = _varint(batch, at)
        time_delta, fields = _varint(batch, at + 1)  # an attributes byte comes first
        offset_delta, _ = _varint(batch, fields)
        if header.base_timestamp + time_delta >= wanted_ms:
            return header.base_timestamp + time_delta, header.base_offset + offset_delta
        at += size
    return header.max_timestamp, header.base_offset


def _varint(data: bytearray, at: int) -> tuple[int, int]:
    """Read a zigzag varint. Returns its value and where the next field begins."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7
