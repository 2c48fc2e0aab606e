"""Puts uploaded segments on their topic, from which the registry takes them."""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from types import TracebackType
from typing import Any, Self

import msgspec
from confluent_kafka import KafkaException, Producer

from schemas.segment_lists import PART_USERS, ListHead, ListPart, Mode, head_key, part_key
from schemas.topics import SEGMENTS

TIMEOUT_S = 30.0
_encode = msgspec.msgpack.Encoder().encode


class UploadError(Exception):
    """Kafka did not take the upload."""


class ListUpload:
    """One upload of a list, in parts of PART_USERS; a context that clears away what it gave up.

    settings: librdkafka options. upload: its id, unique. base: the upload that users are added to
    or removed from. make_producer: from librdkafka options. Memory: a part and the producer's
    queue. Raises UploadError.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        *,
        tenant: str,
        segment: str,
        upload: str,
        make_producer: Callable[[dict[str, Any]], Producer] = Producer,
    ) -> None:
        self._producer = make_producer(
            {
                **settings,
                "enable.idempotence": True,
                "message.timeout.ms": int(TIMEOUT_S * 1_000),
                "compression.type": "lz4",
                "queue.buffering.max.kbytes": 16_384,
                "log_level": 0,
            }
        )
        self._tenant, self._segment, self.upload = tenant, segment, upload
        self._failure = ""
        self._is_whole = False
        self.parts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if not self._is_whole and self.parts:
            self._clear({self.upload: self.parts})
            self._producer.flush(TIMEOUT_S)

    def put(self, users: Iterable[str], mode: Mode, base: str = "") -> int:
        """Put the users on the topic; give how many they were."""
        left, count = iter(users), 0
        while part := tuple(islice(left, PART_USERS)):
            record = ListPart(
                self._tenant, self._segment, self.upload, self.parts, mode, part, base
            )
            key = part_key(self._tenant, self._segment, self.upload, self.parts)
            self._produce(key, _encode(record))
            self.parts += 1
            count += len(part)
        return count

    def finish(self, mode: Mode, before: Mapping[str, int]) -> None:
        """Wait until Kafka has all; a replacement counts from now on, and the ones before go.

        before: earlier uploads and how many parts they have.
        """
        self._flush()
        self._is_whole = True
        if mode == "replace":
            head = ListHead(self._tenant, self._segment, self.upload, self.parts)
            self._produce(head_key(self._tenant, self._segment), _encode(head))
            self._flush()
            self._clear(before)
            self._flush()

    def take_down(self, uploads: Mapping[str, int]) -> None:
        """Remove the list and all that was uploaded of it."""
        self._is_whole = True
        self._produce(head_key(self._tenant, self._segment), None)
        self._flush()
        self._clear(uploads)
        self._flush()

    def _clear(self, uploads: Mapping[str, int]) -> None:
        for upload, parts in uploads.items():
            for number in reversed(range(parts)):
                self._produce(part_key(self._tenant, self._segment, upload, number), None)

    def _produce(self, key: bytes, value: bytes | None) -> None:
        while True:
            try:
                self._producer.produce(SEGMENTS, value, key, on_delivery=self._told)
            except BufferError:
                self._producer.poll(0.5)
            except KafkaException as error:
                raise UploadError(str(error)) from error
            else:
                break
        self._producer.poll(0)
        self._raise_failure()

    def _flush(self) -> None:
        left = self._producer.flush(TIMEOUT_S + 1)
        self._raise_failure()
        if left:
            raise UploadError("Kafka did not answer")

    def _told(self, error: Any, _message: Any) -> None:
        if error is not None:
            self._failure = error.str()

    def _raise_failure(self) -> None:
        if self._failure:
            raise UploadError(self._failure)
