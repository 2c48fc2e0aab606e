"""`clarion segments upload` and `rm`: read, check, put on the topic, wait, say."""

import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO, NamedTuple

from api.cli import CommandError
from api.segment_define import remove
from api.segment_files import BadColumnError, Format, format_of, read_ids
from api.segment_stores import Stores
from api.waiting import wait_until
from flows.list_upload import ListUpload, UploadError
from operators.segment_lists import LIST
from schemas.segment_lists import Mode

SAY_EVERY_S = 1.0
SHOWN = 20
"""Bad lines that are shown; the others are counted."""


class Job(NamedTuple):
    """An upload to do. file: None is standard input. max_bad: lines that may be left out."""

    name: str
    file: Path | None
    mode: Mode
    format: Format | None
    column: str
    max_bad: int
    wait_s: float


class _Reader:
    """The ids of a file, while it counts and tells what is wrong. Raises CommandError."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.good = self.bad = 0
        self._said_at = time.monotonic()

    def ids(self, file: BinaryIO) -> Iterator[str]:
        job = self._job
        try:
            for line in read_ids(file, format=job.format or format_of(job.file), column=job.column):
                if line.fault:
                    self._refuse(line.number, line.fault)
                    continue
                self.good += 1
                if not self.good % 10_000 and time.monotonic() - self._said_at >= SAY_EVERY_S:
                    self._said_at = time.monotonic()
                    _say(f"{self.good} users read")
                yield line.user_id
        except BadColumnError as error:
            raise CommandError(str(error)) from error

    def _refuse(self, number: int, fault: str) -> None:
        self.bad += 1
        if self.bad <= SHOWN:
            _say(f"{self._job.file or 'standard input'}:{number}: {fault}")
        if self.bad > self._job.max_bad:
            kept = (
                "nothing was changed"
                if self._job.mode == "replace"
                else ("what came before counts; the whole file may be uploaded again")
            )
            raise CommandError(f"{self.bad} bad lines, {self._job.max_bad} allowed: {kept}")


def run(job: Job, stores: Stores) -> None:
    """Upload; print what came of it."""
    base = _base(job, stores)
    tenant, name = stores.tenant.name, job.name
    before = stores.uploads.of(tenant, name)
    reader = _Reader(job)
    source = nullcontext(sys.stdin.buffer) if job.file is None else job.file.open("rb")
    upload = f"{time.time_ns() // 1_000_000:013d}-{secrets.token_hex(4)}"
    kafka = stores.settings.kafka.client_options()
    try:
        with source as file, ListUpload(kafka, tenant=tenant, segment=name, upload=upload) as to:
            to.put(reader.ids(file), job.mode, base)
            to.finish(job.mode, before)
            parts = to.parts
    except UploadError as error:
        raise CommandError(f"{kafka['bootstrap.servers']}: {error}; upload it again") from error

    def is_applied() -> bool:
        if job.mode == "replace":
            found = stores.segments.generations(tenant, [name]).get(name)
            return found is not None and found.generation >= upload
        return stores.uploads.of(tenant, name).get(upload, 0) >= parts

    skipped = f", {reader.bad} lines left out" if reader.bad else ""
    if not wait_until(is_applied, timeout_s=job.wait_s):
        raise CommandError(
            f"{name}: {reader.good} users are on Kafka{skipped}, and nothing is lost, but the"
            f" registry flow has not taken them within {job.wait_s:g} s: is it running?"
        )
    users = stores.segments.count(tenant, stores.tenant.shards, name)
    sys.stdout.write(f"{name}: {reader.good} users read{skipped}; it has {users} members now\n")


def _base(job: Job, stores: Stores) -> str:
    """Give the generation to add to. Raises CommandError when the name is none of a list."""
    counting, defined, exists = stores.what_is(job.name)
    if defined is not None:
        raise CommandError(
            f"name: {job.name!r} is a rule or query; choose another name, or clarion segments rm it"
        )
    if counting is None and exists:
        raise CommandError(
            f"name: {job.name!r} holds the users whose own records name it; choose another and"
            f" combine them: '{job.name} | another'"
        )
    if job.mode == "replace":
        return ""
    if counting is None or counting.kind != LIST:
        raise CommandError(
            f"name: there is no list {job.name!r} yet, upload it with --mode replace first"
        )
    return counting.generation


def take_down(stores: Stores, name: str, wait_s: float) -> None:
    """Remove a list; print it."""
    tenant = stores.tenant.name
    counting, defined, exists = stores.what_is(name)
    if defined is None and (counting is None or counting.kind != LIST):
        if exists and counting is None:
            raise CommandError(f"name: {name!r} comes from users' own records, change those")
        if counting is None:
            raise CommandError(f"name: there is no segment {name!r}; see clarion segments ls")
    if defined is not None:
        remove(stores, name)
    kafka = stores.settings.kafka.client_options()
    try:
        with ListUpload(kafka, tenant=tenant, segment=name, upload="") as to:
            to.take_down(stores.uploads.of(tenant, name))
    except UploadError as error:
        raise CommandError(f"{kafka['bootstrap.servers']}: {error}; try again") from error
    gone = wait_until(lambda: name not in stores.segments.exists(tenant, [name]), timeout_s=wait_s)
    if not gone:
        raise CommandError(f"{name}: the registry flow has not taken it: is it running?")
    sys.stdout.write(f"{name}: removed\n")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
