"""`clarion dlq`: look at dead letters, put them back, or give them up."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace as changed
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from api.cli import CommandError
from api.dlq_which import Which, source_of

if TYPE_CHECKING:
    from flows.dead_letters import DeadLetters
    from operators.dead_letters import Replay
    from schemas.settings import Settings

app = App(name="dlq", help="Look at, replay and drop dead letters.", help_format="plaintext")

Bootstrap = Annotated[str | None, Parameter(help="host:port; else CLARION_KAFKA__BOOTSTRAP")]
Json = Annotated[bool, Parameter(name="--json", help="one JSON object a line")]
DryRun = Annotated[bool, Parameter(help="only say what would be done")]
Yes = Annotated[bool, Parameter(name=("--yes", "-y"), help="do not ask")]
_EVERY = Which()


@app.command
def ls(
    which: Which = _EVERY,
    *,
    all: Annotated[bool, Parameter(help="also what was replayed or dropped")] = False,  # noqa: A002 - the option is called --all
    limit: int = 50,
    as_json: Json = False,
    bootstrap: Bootstrap = None,
) -> None:
    """List dead letters, the oldest of each stage first, without what was replayed or dropped."""
    from api.dlq_resolve import put, say  # noqa: PLC0415 - what --help need not wait for
    from operators.dead_letter_view import summary  # noqa: PLC0415 - as above

    settings = _settings(bootstrap)
    with _readable_errors(settings):
        letters = _letters(settings)
        marks = letters.marks()
        found = letters.letters(which.wanted(_now_ms(settings)))
        shown = (filed for filed in found if all or str(filed.at) not in marks)
        count = 0
        for filed in islice(shown, limit):
            count += 1
            line = {**summary(filed), **_became(marks.get(str(filed.at)))}
            put(line) if as_json else say(_row(line))
        more = count == limit and next(shown, None) is not None
    if not as_json:
        left = "; there are more, see --limit" if more else ""
        say(f"{count} letter{'s' * (count != 1)}{left}" if count else "no dead letters")


@app.command
def show(id: str, /, *, as_json: Json = False, bootstrap: Bootstrap = None) -> None:  # noqa: A002 - the field's name
    """Show one dead letter: its whole history and its content, tokens masked."""
    from api.dlq_resolve import put, say  # noqa: PLC0415 - what --help need not wait for
    from operators.dead_letter_view import whole  # noqa: PLC0415 - as above
    from operators.dead_letters import Wanted  # noqa: PLC0415 - as above

    settings = _settings(bootstrap)
    with _readable_errors(settings):
        letters = _letters(settings)
        filed = next(letters.letters(Wanted(ids=frozenset({source_of(id)}))), None)
        if filed is None:
            raise CommandError(f"{id}: there is no such letter (any more)")
        said = {**whole(filed), **_became(letters.marks().get(str(filed.at)))}
    if as_json:
        put(said)
        return
    import yaml  # noqa: PLC0415 - what --help need not wait for

    say(yaml.safe_dump(said, sort_keys=False, allow_unicode=False, width=100).rstrip())


@app.command
def replay(
    *ids: str,
    which: Which = _EVERY,
    limit: Annotated[int | None, Parameter(help="at most so many, the oldest")] = None,
    ttl: Annotated[str, Parameter(help="a new time to live for deliveries, such as 1h")] = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
    bootstrap: Bootstrap = None,
) -> int:
    """Put dead letters back on the topics they came from, each once, with their identity.

    Deliveries go on with the next attempt and their history, and the retry policy begins anew.
    What cannot be replayed is told with its reason and stays; then the exit code is 1.
    """
    from flows.compose import wheel_of  # noqa: PLC0415 - what --help need not wait for
    from operators.dead_letters import Replay  # noqa: PLC0415 - as above

    settings = _settings(bootstrap)
    now_ms, wheel = _now_ms(settings), wheel_of(settings)
    make = Replay(
        now_ms=now_ms,
        by=_operator(),
        timer=lambda timer: wheel.record(timer, now_ms),
        ttl_s=_ttl_s(ttl),
    )
    meant = changed(which, id=(*which.id, *ids))
    return _resolve(settings, meant, limit, make, dry_run=dry_run, yes=yes, as_json=as_json)


@app.command
def drop(
    *ids: str,
    which: Which = _EVERY,
    limit: Annotated[int | None, Parameter(help="at most so many, the oldest")] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
    bootstrap: Bootstrap = None,
) -> int:
    """Give dead letters up: they are listed no more, and go with the topic's retention."""
    settings = _settings(bootstrap)
    meant = changed(which, id=(*which.id, *ids))
    return _resolve(settings, meant, limit, None, dry_run=dry_run, yes=yes, as_json=as_json)


def _resolve(
    settings: "Settings",
    which: Which,
    limit: int | None,
    replay: "Replay | None",
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    from api.dlq_resolve import Teller, ask, do, plan  # noqa: PLC0415 - what --help need not wait for
    from flows.clock import wall_ms  # noqa: PLC0415 - as above
    from flows.dead_letters import Resolver  # noqa: PLC0415 - as above

    if which.is_everything():
        raise CommandError("say which letters: their ids, or --stage and the other filters")
    verb = "drop" if replay is None else "replay"
    past = {"drop": "dropped", "replay": "replayed"}[verb]
    teller, letters = Teller(as_json=as_json), _letters(settings)
    with _readable_errors(settings):
        planned = plan(letters, which.wanted(_now_ms(settings)), limit, replay)
        for at, why in planned.refused.items():
            teller.tell(at, "refused", why=why)
        for at, why in planned.done_before.items() if which.id else ():
            teller.tell(at, "left alone", why=f"it was {why}")
        done = 0
        if dry_run:
            past = f"would be {past}"
            done = len(planned.to_do)
            for at, topic in planned.to_do.items():
                teller.tell(at, past, to=topic)
        elif planned.to_do:
            if len(planned.to_do) > 1 and not yes:
                ask(len(planned.to_do), verb)
            resolver = Resolver(
                _client(settings),
                transactional_id=f"{settings.kafka.transactional_id_prefix}.dlq",
                by=_operator(),
                wall_ms=wall_ms,
            )
            for portion in do(letters, resolver, planned, replay):
                done += len(portion)
                for filed, record in portion:
                    teller.tell(filed.at, past, to=record.topic if record else "")
        teller.sum_up(planned, past, done)
    return 1 if planned.refused else 0


def _settings(bootstrap: str | None) -> "Settings":
    from schemas.settings import BadSettingsError, load_settings  # noqa: PLC0415 - what --help need not wait for

    try:
        return load_settings(**({"kafka": {"bootstrap": bootstrap}} if bootstrap else {}))
    except BadSettingsError as error:
        raise CommandError(str(error)) from error


def _client(settings: "Settings") -> dict[str, Any]:
    return {**settings.kafka.client_options(), "log_level": 0}  # errors are told once, by us


def _letters(settings: "Settings") -> "DeadLetters":
    from flows.dead_letters import DeadLetters  # noqa: PLC0415 - what --help need not wait for

    return DeadLetters(_client(settings))


def _now_ms(settings: "Settings") -> int:
    """Give the time that policy goes by, as letters and expiries do."""
    from flows.clock import business_clock  # noqa: PLC0415 - what --help need not wait for

    return business_clock(settings.clock)()


def _operator() -> str:
    """Say who is at it, for marks and histories."""
    import getpass  # noqa: PLC0415 - what --help need not wait for
    import os  # noqa: PLC0415 - as above
    import socket  # noqa: PLC0415 - as above

    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


def _ttl_s(text: str) -> float | None:
    from schemas.duration import seconds  # noqa: PLC0415 - what --help need not wait for

    if not text:
        return None
    try:
        found = float(str(seconds(text)))
    except ValueError:
        found = 0.0
    if found <= 0:
        raise CommandError("--ttl: write a duration such as '30m' or '2h'")
    return found


def _became(mark: Any) -> dict[str, str]:
    from schemas.moments import moment  # noqa: PLC0415 - what --help need not wait for

    return {"resolved": f"{mark.action} by {mark.by} at {moment(mark.at)}"} if mark else {}


def _row(line: dict[str, Any]) -> str:
    parts = [line["id"], line["at"], line["tenant"] or "-", line["from"], line["error"]]
    if line["lines"]:
        parts.append(f"({line['lines']} lines of history)")
    if "resolved" in line:
        parts.append(f"[{line['resolved']}]")
    return "  ".join(" ".join(part.split()) for part in parts)


@contextmanager
def _readable_errors(settings: "Settings") -> Iterator[None]:
    """Give errors that are no defects as sentences."""
    from confluent_kafka import KafkaException  # noqa: PLC0415 - what --help need not wait for

    from flows.dead_letters import FencedError, UnreadError  # noqa: PLC0415 - as above

    try:
        yield
    except UnreadError as error:
        raise CommandError(str(error)) from error
    except FencedError as error:
        raise CommandError(f"{error}: what is not told above was left alone") from error
    except KafkaException as error:
        raise CommandError(f"{settings.kafka.bootstrap}: {error.args[0]}") from error
