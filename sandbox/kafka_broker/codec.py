"""Kafka's wire types: a reader over a request and a writer of a response.

In the "flexible" versions of a request, lengths are varints (plus one) and every structure ends
with tagged fields; reader and writer hide the difference, so that a handler reads the same for
both. Source: https://kafka.apache.org/protocol.html#protocol_types
"""

from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from typing import Any, TypeVar

_I8, _I16, _I32, _I64 = Struct(">b"), Struct(">h"), Struct(">i"), Struct(">q")

T = TypeVar("T")


class MalformedError(Exception):
    """The bytes are not a request; the connection is closed."""


class Reader:
    """Reads a request from front to back. Raises MalformedError or struct.error when it ends."""

    __slots__ = ("_at", "_data", "flexible")

    def __init__(self, data: memoryview, *, flexible: bool = False) -> None:
        self._data = data
        self._at = 0
        self.flexible = flexible

    def unpack(self, form: Struct) -> tuple[Any, ...]:
        """Read fixed fields in one go."""
        at = self._at
        self._at = at + form.size
        return form.unpack_from(self._data, at)

    def i8(self) -> int:
        """Read an int8."""
        return int(self.unpack(_I8)[0])

    def i16(self) -> int:
        """Read an int16."""
        return int(self.unpack(_I16)[0])

    def i32(self) -> int:
        """Read an int32."""
        return int(self.unpack(_I32)[0])

    def i64(self) -> int:
        """Read an int64."""
        return int(self.unpack(_I64)[0])

    def boolean(self) -> bool:
        """Read a boolean."""
        return self.i8() != 0

    def uvarint(self) -> int:
        """Read an unsigned varint of at most five bytes."""
        value = shift = 0
        while shift < 35:
            byte = self._take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise MalformedError("a varint of more than five bytes")

    def string(self) -> str:
        """Read a string that must be there."""
        value = self.nullable_string()
        if value is None:
            raise MalformedError("null for a string that must be there")
        return value

    def nullable_string(self) -> str | None:
        """Read a string or null."""
        size = self.uvarint() - 1 if self.flexible else self.i16()
        return None if size < 0 else str(self._take(size), "utf-8")

    def data(self) -> memoryview | None:
        """Read bytes or null, as a view of the request."""
        size = self.uvarint() - 1 if self.flexible else self.i32()
        return None if size < 0 else self._take(size)

    def blob(self) -> bytes:
        """Read bytes that outlive the request; null counts as empty."""
        return bytes(self.data() or b"")

    def nullable_array(self, item: Callable[[], T]) -> list[T] | None:
        """Read an array or null."""
        count = self.uvarint() - 1 if self.flexible else self.i32()
        if count < 0:
            return None
        if count > len(self._data) - self._at:
            raise MalformedError(f"an array of {count} items in a smaller request")
        return [item() for _ in range(count)]

    def array(self, item: Callable[[], T]) -> list[T]:
        """Read an array; null counts as empty."""
        return self.nullable_array(item) or []

    def structs(self, item: Callable[[], T]) -> list[T]:
        """Read an array of structures, with the tagged fields of each."""

        def tagged() -> T:
            found = item()
            self.tags()
            return found

        return self.array(tagged)

    def many(self, form: Struct) -> list[tuple[Any, ...]]:
        """Read an array of fixed fields, each item in one go (in non-flexible versions)."""
        count = self.i32()
        return list(form.iter_unpack(self._take(form.size * count))) if count > 0 else []

    def topics(self, item: Callable[[str], T]) -> list[tuple[str, list[T]]]:
        """Read what most requests hold: topics, each with structures (one a partition)."""

        def topic() -> tuple[str, list[T]]:
            name = self.string()
            return name, self.structs(lambda: item(name))

        return self.structs(topic)

    def tags(self) -> None:
        """Skip the tagged fields that end a structure of a flexible version."""
        if self.flexible:
            for _ in range(self.uvarint()):
                self.uvarint()
                self._take(self.uvarint())

    def _take(self, size: int) -> memoryview:
        at = self._at
        end = at + size
        if end > len(self._data):
            raise MalformedError(f"{size} bytes wanted, {len(self._data) - at} left")
        self._at = end
        return self._data[at:end]


class Writer:
    """Writes a response; large blobs are passed on, not copied."""

    __slots__ = ("_buffer", "_done", "_done_bytes", "flexible")

    def __init__(self, correlation_id: int, *, flexible: bool, tagged_header: bool) -> None:
        self._buffer = bytearray(4)
        self._buffer += _I32.pack(correlation_id)
        if tagged_header:
            self._buffer.append(0)
        self._done: list[bytearray | bytes] = []
        self._done_bytes = 0
        self.flexible = flexible

    def pack(self, form: Struct, *values: int) -> None:
        """Write fixed fields in one go."""
        self._buffer += form.pack(*values)

    def i8(self, value: int) -> None:
        """Write an int8."""
        self._buffer += _I8.pack(value)

    def i16(self, value: int) -> None:
        """Write an int16."""
        self._buffer += _I16.pack(value)

    def i32(self, value: int) -> None:
        """Write an int32."""
        self._buffer += _I32.pack(value)

    def i64(self, value: int) -> None:
        """Write an int64."""
        self._buffer += _I64.pack(value)

    def boolean(self, value: bool) -> None:  # noqa: FBT001 - one value, like its siblings
        """Write a boolean."""
        self._buffer.append(value)

    def string(self, value: str | None) -> None:
        """Write a string or null."""
        if value is None:
            self._length(-1, _I16)
        else:
            raw = value.encode()
            self._length(len(raw), _I16)
            self._buffer += raw

    def data(self, value: bytes | None) -> None:
        """Write bytes or null."""
        self._length(-1 if value is None else len(value), _I32)
        self._buffer += value or b""

    def count(self, items: int) -> None:
        """Begin an array of so many items; -1 for null."""
        self._length(items, _I32)

    def array(self, items: Sequence[T], write: Callable[[T], None]) -> None:
        """Write an array."""
        self._length(len(items), _I32)
        for item in items:
            write(item)

    def structs(self, items: Sequence[T], write: Callable[[T], None]) -> None:
        """Write an array of structures, each without tagged fields."""
        self._length(len(items), _I32)
        for item in items:
            write(item)
            self.tags()

    def topics(self, topics: Sequence[tuple[str, Sequence[T]]], write: Callable[[T], None]) -> None:
        """Write what most responses hold: topics, each with structures (one a partition)."""

        def topic(named: tuple[str, Sequence[T]]) -> None:
            self.string(named[0])
            self.structs(named[1], write)

        self.structs(topics, topic)

    def ints(self, values: Sequence[int]) -> None:
        """Write an array of int32."""
        self.array(values, self.i32)

    def tags(self) -> None:
        """End a structure of a flexible version: no tagged fields."""
        if self.flexible:
            self._buffer.append(0)

    def blobs(self, parts: Iterable[bytearray]) -> None:
        """Write bytes that are kept as they are until they are sent (their length comes before)."""
        if len(self._buffer) > 0:
            self._done.append(self._buffer)
            self._done_bytes += len(self._buffer)
            self._buffer = bytearray()
        for part in parts:
            self._done.append(part)
            self._done_bytes += len(part)

    def finish(self) -> list[bytearray | bytes]:
        """Give the response's pieces, its length in front."""
        self.blobs(())
        self._done[0][0:4] = _I32.pack(self._done_bytes - 4)  # type: ignore[index]  # the first piece is always ours
        return self._done

    def _length(self, size: int, form: Struct) -> None:
        if not self.flexible:
            self._buffer += form.pack(size)
            return
        size += 1
        while size > 0x7F:
            self._buffer.append((size & 0x7F) | 0x80)
            size >>= 7
        self._buffer.append(size)
