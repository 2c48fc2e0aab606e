"""Record batches of format 2: their header, and the markers that end a transaction.

Batches are stored as they came. Only the base offset and the leader epoch are written, which the
checksum does not cover. Source: https://kafka.apache.org/documentation/#recordbatch
"""

from struct import Struct
from typing import NamedTuple

from sandbox.kafka_broker.errors import Code, KafkaError

_HEADER = Struct(">qiibIhiqqqhii")
_SIZE_FIELDS_BYTES = 12  # base offset and length come before what the length counts
_PLACE = Struct(">qii")
_MAX_TIMESTAMP = Struct(">q")
_MAX_TIMESTAMP_AT = 35
_CHECKED_FROM = 21
_TRANSACTIONAL, _CONTROL, _COMPRESSION = 0x10, 0x20, 0x07
_MARKER = Struct(">bbbbbhhbhib")


class Header(NamedTuple):
    """What a batch says of itself. Times in milliseconds since 1970."""

    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    records: int

    @property
    def transactional(self) -> bool:
        """Whether it belongs to a transaction."""
        return self.attributes & _TRANSACTIONAL != 0

    @property
    def compressed(self) -> bool:
        """Whether its records are compressed."""
        return self.attributes & _COMPRESSION != 0


def header_of(batch: bytearray | memoryview) -> Header:
    """Read a batch's header."""
    return Header._make(_HEADER.unpack_from(batch))


def split(records: memoryview, *, max_bytes: int) -> list[tuple[Header, bytearray]]:
    """Cut a produced record set into its batches, copied.

    Raises KafkaError for old formats, damaged headers, control batches and batches over max_bytes.
    The checksum is not verified: that would be work for every byte, and consumers can do it.
    """
    found: list[tuple[Header, bytearray]] = []
    at = 0
    while at < len(records):
        if len(records) - at < _HEADER.size:
            raise KafkaError(Code.INVALID_RECORD, "a batch shorter than its header")
        header = Header._make(_HEADER.unpack_from(records, at))
        if header.magic != 2:
            raise KafkaError(Code.INVALID_RECORD, "format 2 only")
        end = at + _SIZE_FIELDS_BYTES + header.length
        if end > len(records):
            raise KafkaError(Code.INVALID_RECORD, "a batch longer than what came")
        if end - at < _HEADER.size:
            raise KafkaError(Code.CORRUPT_MESSAGE, "a batch too short for its header")
        if end - at > max_bytes:
            raise KafkaError(Code.MESSAGE_TOO_LARGE, f"a batch of {end - at} bytes")
        if header.records < 1 or header.last_offset_delta != header.records - 1:
            raise KafkaError(Code.INVALID_RECORD, "offsets and count of a batch disagree")
        if header.attributes & _CONTROL:
            raise KafkaError(Code.INVALID_RECORD, "control batches are the broker's")
        found.append((header, bytearray(records[at:end])))
        at = end
    if not found:
        raise KafkaError(Code.INVALID_RECORD, "no records")
    return found


def place(batch: bytearray, base_offset: int) -> None:
    """Write where a batch lies in its partition; the leader's epoch is always 0."""
    _PLACE.pack_into(batch, 0, base_offset, len(batch) - _SIZE_FIELDS_BYTES, 0)


def max_timestamp(batch: bytearray) -> int:
    """Read the newest timestamp in a batch."""
    return int(_MAX_TIMESTAMP.unpack_from(batch, _MAX_TIMESTAMP_AT)[0])


def marker(producer_id: int, producer_epoch: int, *, commit: bool, now_ms: int) -> bytearray:
    """Make the control batch that ends a transaction in a partition."""
    # One record: lengths are zigzag varints; the key is (version, type), the value (version,
    # coordinator epoch).
    record = _MARKER.pack(16 << 1, 0, 0, 0, 4 << 1, 0, int(commit), 6 << 1, 0, 0, 0)
    batch = bytearray(
        _HEADER.pack(
            0,
            _HEADER.size - _SIZE_FIELDS_BYTES + len(record),
            0,
            2,
            0,
            _TRANSACTIONAL | _CONTROL,
            0,
            now_ms,
            now_ms,
            producer_id,
            producer_epoch,
            -1,
            1,
        )
    )
    batch += record
    checksum = crc32c(memoryview(batch)[_CHECKED_FROM:])
    batch[_CHECKED_FROM - 4 : _CHECKED_FROM] = checksum.to_bytes(4, "big")
    return batch


def crc32c(data: memoryview | bytes) -> int:
    """Checksum with the Castagnoli polynomial (RFC 3720, appendix B.4); for small data."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _table() -> list[int]:
    table = []
    for index in range(256):
        crc = index
        for _ in range(8):
            crc = (crc >> 1) ^ 0x82F63B78 if crc & 1 else crc >> 1
        table.append(crc)
    return table


_TABLE = _table()
