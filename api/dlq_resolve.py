"""Replaying and dropping dead letters from the command line: plan, ask, do, say."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec

from api.cli import CommandError
from api.terminal import safe
from flows.dead_letters import DeadLetters, Mark, Resolution, Resolver
from operators.dead_letters import Filed, RefusedError, Replay, Wanted
from schemas.moments import moment
from schemas.stream import Source
from schemas.topics import LAST_WORDS

OVERTAKEN = "a newer record of its key has taken its place"


@dataclass
class Plan:
    """What is to be done. to_do: letters by where they lie, and the topic each is bound for."""

    to_do: dict[Source, str] = field(default_factory=dict)
    refused: dict[Source, str] = field(default_factory=dict)
    done_before: dict[Source, str] = field(default_factory=dict)


def plan(letters: DeadLetters, wanted: Wanted, limit: int | None, replay: Replay | None) -> Plan:
    """Look at all letters that are meant; nothing is changed. replay: None drops them."""
    made = Plan()
    slim: list[Filed] = []
    marks = letters.marks()
    found = _unresolved(letters.letters(wanted), marks, made)
    for filed in islice(found, limit):
        try:
            record = None if replay is None else replay(filed.letter)
        except RefusedError as error:
            made.refused[filed.at] = str(error)
            continue
        made.to_do[filed.at] = "" if record is None else record.topic
        if record is not None and filed.letter.topic in LAST_WORDS:
            letter = msgspec.structs.replace(filed.letter, raw=b"", key=record.key or b"")
            slim.append(Filed(filed.at, letter))
    overtaken = letters.overtaken(slim)
    for filed in slim:
        if str(filed.at) in overtaken:
            del made.to_do[filed.at]
            made.refused[filed.at] = OVERTAKEN
    known = made.to_do.keys() | made.refused.keys() | made.done_before.keys()
    missing = wanted.ids - known if limit is None else frozenset[Source]()
    made.refused |= dict.fromkeys(missing, "there is no such letter (any more) that is meant")
    return made


def _unresolved(found: Iterable[Filed], marks: dict[str, Mark], made: Plan) -> Iterator[Filed]:
    for filed in found:
        mark = marks.get(str(filed.at))
        if mark is None:
            yield filed
        else:
            made.done_before[filed.at] = f"{mark.action} by {mark.by} at {moment(mark.at)}"


def do(
    letters: DeadLetters, resolver: Resolver, planned: Plan, replay: Replay | None
) -> Iterator[list[Resolution]]:
    """Carry a plan out; give the letters of each transaction once it is committed."""
    wanted = Wanted(ids=frozenset(planned.to_do))
    resolver.open()
    return resolver.resolve(
        Resolution(filed, None if replay is None else replay(filed.letter))
        for filed in letters.letters(wanted)
    )


def ask(count: int, verb: str) -> None:
    """Make sure that so many letters are meant. Raises CommandError when they are not."""
    if not sys.stdin.isatty():
        raise CommandError(f"{count} letters: look with --dry-run, then {verb} them with --yes")
    sys.stdout.write(f"{verb} {count} letters? [y/N] ")
    sys.stdout.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise CommandError("nothing was done")


class Teller:
    """Says what becomes of each letter: a line for people, or an object a line."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def tell(self, at: Source, action: str, *, to: str = "", why: str = "") -> None:
        """Say it of one letter."""
        if self._as_json:
            said: dict[str, Any] = {"id": str(at), "action": action, "to": to, "why": why}
            put({name: value for name, value in said.items() if value})
        else:
            say(f"{at}  {action}{f' to {to}' if to else ''}{f': {why}' if why else ''}")

    def sum_up(self, planned: Plan, verb: str, done: int) -> None:
        """Say it of all. verb: such as replayed."""
        if not self._as_json:
            alone = len(planned.to_do) - done + len(planned.done_before)
            refused = f", {len(planned.refused)} refused" if planned.refused else ""
            say(f"{done} {verb}{refused}{f', {alone} left alone' if alone else ''}")


def say(line: str) -> None:
    """Print a line of text; what could steer a terminal is replaced."""
    sys.stdout.write("\n".join(map(safe, line.split("\n"))) + "\n")


def put(line: dict[str, Any]) -> None:
    """Print an object on one line."""
    sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
