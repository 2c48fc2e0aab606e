"""Uploaded lists: read, check, put on the topic; and away with them again."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import BinaryIO, NamedTuple, Self

from api.publishing import PublishError
from api.refusals import RefusedError, Why
from api.segment_files import BadColumnError, Format, Line, read_ids
from api.segment_stores import Stores, no_segment, own_name
from flows.list_upload import UploadError
from operators.segment_lists import LIST
from schemas.definitions import Kind
from schemas.segment_lists import Mode
from state.errors import StateError

LEASE_S = 120.0
"""How long an upload that does not go on keeps others from the list."""
SHOWN = 20
"""Bad lines that are kept to be shown; the others are counted."""


class Job(NamedTuple):
    """An upload to do.

    column: of the user ids. max_bad: lines that may be left out. dash: before the names of options,
    in what is said about them: "--" on a command line.
    """

    name: str
    mode: Mode
    format: Format
    column: str
    max_bad: int
    dash: str = ""


class Uploaded(NamedTuple):
    """What is on Kafka. users: read; bad: lines left out, the first SHOWN of them in `lines`."""

    name: str
    upload: str
    mode: Mode
    parts: int
    users: int
    bad: int
    lines: list[Line]


class Watch:
    """Told of an upload as it goes; does nothing."""

    def read(self, users: int) -> None:
        """Hear how many users were read by now."""

    def refused(self, line: Line) -> None:
        """Hear of a line that is left out."""


class _Turn:
    """The right to change a list, kept as long as it goes on: one upload at a time.

    Two at once would clear away each other's parts. Raises RefusedError when others have it.
    """

    def __init__(self, stores: Stores, name: str) -> None:
        self._work, self._tenant, self._name = stores.work, stores.tenant.name, name
        self._what, self._owner = f"upload/{name}", secrets.token_hex(8)
        self._until_s = 0.0

    def __enter__(self) -> Self:
        self.go_on()
        return self

    def __exit__(self, *_error: object) -> None:
        # What is done is done; if Redis is away now, time takes the lease.
        with suppress(StateError):
            self._work.release(self._tenant, self._what, self._owner)

    def go_on(self) -> None:
        """Keep it, if it is time to."""
        if (now_s := time.monotonic()) < self._until_s:
            return
        if not self._work.hold(self._tenant, self._what, self._owner, ttl_s=LEASE_S):
            raise RefusedError(
                f"name: {self._name!r} is being changed by another upload, try again after it",
                Why.CONFLICT,
            )
        self._until_s = now_s + LEASE_S / 4


class _Reader:
    """The ids of a file, while it counts and tells what is wrong. Raises RefusedError."""

    def __init__(self, job: Job, turn: _Turn, watch: Watch) -> None:
        self._job = job
        self._turn = turn
        self._watch = watch
        self.good = self.bad = 0
        self.lines: list[Line] = []

    def ids(self, file: BinaryIO) -> Iterator[str]:
        job = self._job
        option = f"{job.dash}column"
        try:
            for line in read_ids(file, format=job.format, column=job.column, option=option):
                if line.fault:
                    self._refuse(line)
                    continue
                self.good += 1
                self._turn.go_on()
                if not self.good % 10_000:
                    self._watch.read(self.good)
                yield line.user_id
        except BadColumnError as error:
            raise RefusedError(str(error)) from error

    def _refuse(self, line: Line) -> None:
        self.bad += 1
        if self.bad <= SHOWN:
            self.lines.append(line)
            self._watch.refused(line)
        if self.bad > self._job.max_bad:
            kept = (
                "nothing was changed"
                if self._job.mode == "replace"
                else "what came before counts; the whole file may be uploaded again"
            )
            raise RefusedError(
                f"{self.bad} bad lines, {self._job.max_bad} allowed: {kept}",
                faults=[(f"line {one.number}", one.fault) for one in self.lines],
            )


def upload(stores: Stores, job: Job, file: BinaryIO, watch: Watch | None = None) -> Uploaded:
    """Put a list of users on the topic, a part at a time; Kafka has all of it on return.

    Memory: a part of it, and the producer's queue. A replacement that ends early changes nothing,
    and what it put up is cleared away. Raises RefusedError, PublishError.
    """
    own_name(job.name)
    with _Turn(stores, job.name) as turn:
        return _upload(stores, job, file, _Reader(job, turn, watch or Watch()))


def _upload(stores: Stores, job: Job, file: BinaryIO, reader: _Reader) -> Uploaded:
    base = _base(job, stores)
    tenant, name = stores.tenant.name, job.name
    before = stores.uploads.of(tenant, name)
    id_ = f"{time.time_ns() // 1_000_000:013d}-{secrets.token_hex(4)}"
    try:
        with stores.make_upload(tenant, name, id_) as to:
            to.put(reader.ids(file), job.mode, base)
            to.finish(job.mode, before)
    except UploadError as error:
        raise PublishError(_of_kafka(stores, f"{error}; upload it again")) from error
    return Uploaded(name, id_, job.mode, to.parts, reader.good, reader.bad, reader.lines)


def is_applied(stores: Stores, done: Uploaded) -> bool:
    """Tell whether the registry has taken an upload."""
    tenant, name = stores.tenant.name, done.name
    if done.mode == "replace":
        found = stores.segments.generations(tenant, [name]).get(name)
        return found is not None and found.generation >= done.upload
    return stores.uploads.of(tenant, name).get(done.upload, 0) >= done.parts


def _base(job: Job, stores: Stores) -> str:
    """Give the generation to add to. Raises RefusedError when the name is none of a list."""
    counting, defined, exists = stores.what_is(job.name)
    if defined is not None:
        raise RefusedError(
            f"name: {job.name!r} is a rule or query; choose another name, or remove it first",
            Why.CONFLICT,
        )
    if counting is None and exists:
        raise RefusedError(
            f"name: {job.name!r} holds the users whose own records name it; choose another and"
            f" combine them: '{job.name} | another'",
            Why.CONFLICT,
        )
    if job.mode == "replace":
        return ""
    if counting is None or counting.kind != LIST:
        raise RefusedError(
            f"name: there is no list {job.name!r} yet, upload it with {job.dash}mode replace first",
            Why.MISSING,
        )
    return counting.generation


def take_down(stores: Stores, name: str, *, over: int | None = None) -> Callable[[], bool]:
    """Remove a list, a rule or a query, and its members; give what tells whether it is gone.

    over: the version that a definition must have. Raises RefusedError, ConflictError, PublishError.
    """
    tenant = stores.tenant.name
    counting, defined, exists = stores.what_is(name)
    if defined is None and (counting is None or counting.kind != LIST):
        if exists and counting is None:
            raise RefusedError(
                f"name: {name!r} comes from users' own records, change those", Why.CONFLICT
            )
        if counting is None:
            raise no_segment(name)
    if defined is not None:
        stores.writer.remove(Kind.SEGMENT, tenant, name, over=over)
    try:
        with _Turn(stores, name), stores.make_upload(tenant, name, "") as to:
            to.take_down(stores.uploads.of(tenant, name))
    except UploadError as error:
        raise PublishError(_of_kafka(stores, f"{error}; try again")) from error
    return lambda: name not in stores.segments.exists(tenant, [name])


def _of_kafka(stores: Stores, text: str) -> str:
    where = stores.settings.kafka.client_options()["bootstrap.servers"]
    return f"{where}: {text}"
