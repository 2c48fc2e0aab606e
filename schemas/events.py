"""The event: what a producer puts on `events.<priority>` or posts to the API, version 1.

Published as schemas/v1/event.json with examples. Published examples are never edited: a change
that a reader of version 1 could not follow is a new version plus a step in schemas/upcast.py.
"""

from typing import Annotated, Any, Literal, Protocol, Self
from uuid import uuid4

from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json, to_json

from schemas.content import (
    Audience,
    DeviceRef,
    DevicesAudience,
    EventContent,
    EveryoneAudience,
    LocalizedText,
    PlatformOverrides,
    SegmentAudience,
    TemplateRef,
    UsersAudience,
    Wire,
)
from schemas.decode import (
    BadMessageError,
    check_json,
    check_nul,
    check_raw,
    details_of,
    explain,
    faults,
    refuse_crowd,
    sentences_of,
)
from schemas.fields import (
    CollapseKey,
    HoldoutPercent,
    Id,
    Key,
    Name,
    Time,
    Traceparent,
    TtlS,
    epoch_ms,
)
from schemas.gathering import EventDigest
from schemas.pipeline import Priority
from schemas.upcast import OLD_MODELS, upcast
from schemas.variants import EventVariant, Variants, check_variants

__all__ = [
    "EVENT_VERSION",
    "MAX_EVENT_BYTES",
    "Audience",
    "BadEventError",
    "DeviceRef",
    "DevicesAudience",
    "Event",
    "EventContent",
    "EventVariant",
    "EveryoneAudience",
    "LocalizedText",
    "PlatformOverrides",
    "SegmentAudience",
    "TemplateRef",
    "UsersAudience",
    "decode_event",
]

EVENT_VERSION = 1
MAX_EVENT_BYTES = 1_048_576
"""An event larger than this is refused unread: send a segment, or split the users."""
MAX_VARIABLES_BYTES = 65_536
MAX_DATA_CHARS = 16_384
"""All keys and values of `data`: every push of the event carries them, and no platform more."""
MAX_OVERRIDE_BYTES = 4_096
"""No platform's payload is larger. Source: Apple, "Generating a remote notification"."""


class BadEventError(BadMessageError):
    """The bytes are no event; the message names each field and what to do, at most 2 kB."""


def _either(first: str, second: str) -> dict[str, Any]:
    """JSON Schema: exactly one of two members is given (and is not null)."""
    given = [
        {"required": [name], "properties": {name: {"not": {"type": "null"}}}}
        for name in (first, second)
    ]
    return {"oneOf": given}


class _Words(Protocol):
    @property
    def data(self) -> dict[str, str]: ...

    @property
    def platforms(self) -> PlatformOverrides | None: ...


def _check_words(of: _Words, where: str) -> None:
    """Raise ValueError for words that no platform would take. where: before the field's name."""
    if (data := of.data) and sum(map(len, (*data, *data.values()))) > MAX_DATA_CHARS:
        raise ValueError(f"{where}data: more than {MAX_DATA_CHARS} characters in all, use fewer")
    if (overrides := of.platforms) is not None:
        check_json(overrides.apns, f"{where}platforms.apns", max_bytes=MAX_OVERRIDE_BYTES)
        check_json(overrides.fcm, f"{where}platforms.fcm", max_bytes=MAX_OVERRIDE_BYTES)
        check_json(overrides.webpush, f"{where}platforms.webpush", max_bytes=MAX_OVERRIDE_BYTES)


class Event(Wire):
    """One notification for an audience.

    id: identifies the message everywhere; required on Kafka, made up when the API gets none.
    idempotency_key: events with the same key are one (the id when absent).
    created_at: when the producer made it. send_at: not before. expires_at or ttl_s: never sent
    after; ttl_s counts from send_at, or else from when Kafka accepted the event.
    variables: for the template. variants: what users drawn by the campaign's id, or else the
    event's, see instead. digest: to be collapsed with others of its key. holdout_percent: of the
    users, drawn by the campaign's id or else the event's, who do not get it, so that its effect can
    be measured.
    sandbox: handled in full, but sent to the provider simulators.
    """

    model_config = ConfigDict(title="Event v1", json_schema_extra=_either("content", "template"))

    schema_version: Literal[1] = 1
    id: Id = Field(default_factory=lambda: str(uuid4()))
    tenant: Name
    type: Name
    category: Name
    priority: Priority = Priority.NORMAL
    audience: Annotated[Audience, Field(union_mode="left_to_right")]
    content: EventContent | None = None
    template: TemplateRef | None = None
    variables: dict[str, Any] = Field(default_factory=dict, max_length=1_000)
    idempotency_key: Key | None = None
    created_at: Time | None = None
    send_at: Time | None = None
    expires_at: Time | None = None
    ttl_s: TtlS | None = None
    collapse_key: CollapseKey | None = None
    campaign_id: Id | None = None
    holdout_percent: HoldoutPercent | None = None
    variants: Variants | None = None
    digest: EventDigest | None = None
    traceparent: Traceparent | None = None
    sandbox: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        """Check what no single field can: the one Python call on the hot path."""
        content = self.content
        if (content is None) == (self.template is None):
            raise ValueError("give exactly one of content and template")
        if content is not None and content.is_empty:
            raise ValueError("content: give at least a title, a body or data")
        if self.expires_at is not None:
            if self.ttl_s is not None:
                raise ValueError("give at most one of expires_at and ttl_s")
            if self.send_at is not None and self.expires_at <= self.send_at:
                raise ValueError("expires_at: must be later than send_at")
        if self.traceparent is not None and (
            self.traceparent[3:35] == "0" * 32 or self.traceparent[36:52] == "0" * 16
        ):
            raise ValueError("traceparent: trace id and parent id must not be all zeros")
        if self.variables:
            check_json(self.variables, "variables", max_bytes=MAX_VARIABLES_BYTES)
        _check_words(self, "")
        if self.variants:
            check_variants(self.variants)
            for one in self.variants:
                _check_words(one, f"variants.{one.name}.")
        return self

    @property
    def data(self) -> dict[str, str]:
        """What the app receives, from the content or the template reference."""
        given = self.content or self.template
        return {} if given is None else given.data

    @property
    def platforms(self) -> PlatformOverrides | None:
        """The platforms' own fields, from the content or the template reference."""
        given = self.content or self.template
        return None if given is None else given.platforms

    @property
    def dedup_key(self) -> str:
        """What makes two events one: the idempotency key, or else the id."""
        return self.idempotency_key or self.id

    @property
    def created_at_ms(self) -> int:
        """created_at in epoch milliseconds; 0 when not given."""
        return epoch_ms(self.created_at)

    @property
    def send_at_ms(self) -> int:
        """send_at in epoch milliseconds; 0 means at once."""
        return epoch_ms(self.send_at)

    def expires_at_ms(self, *, accepted_at_ms: int, default_ttl_s: int = 0) -> int:
        """When to give up, in epoch milliseconds; 0 means never.

        accepted_at_ms: when Kafka took the event. default_ttl_s: the category's, 0 for none.
        """
        if self.expires_at is not None:
            return epoch_ms(self.expires_at)
        ttl_s = self.ttl_s or default_ttl_s
        return (self.send_at_ms or accepted_at_ms) + ttl_s * 1000 if ttl_s else 0

    def to_json(self) -> bytes:
        """Encode the event as it goes to Kafka: UTF-8 JSON without the fields that are null."""
        return self.model_dump_json(exclude_none=True).encode()


def decode_event(raw: bytes | None, *, id_required: bool = True) -> Event:
    """Decode one event of any published version.

    raw: UTF-8 JSON of at most 1 MiB. id_required: False gives an event without an id a new one,
    which only the API may do: a replayed message would become another event.
    Raises BadEventError and nothing else, whatever the bytes.
    """
    try:
        checked = check_raw(raw, max_bytes=MAX_EVENT_BYTES)
        try:
            event = Event.model_validate_json(checked)
        except ValidationError as error:
            event = _of_older_version(checked, error)
        if b"\\" in checked:  # one byte is found ten times as fast as the escape itself
            check_nul(checked)
    except BadMessageError as error:
        raise BadEventError(str(error)) from None
    if id_required and "id" not in event.model_fields_set:
        raise BadEventError("id: is missing, add it (1 to 128 characters, unique)")
    return event


def _of_older_version(raw: bytes, error: ValidationError) -> Event:
    """Read what is no event of the current version. Raises BadMessageError saying why.

    Only here are the bytes parsed a second time: current events never pay for old ones.
    """
    try:
        document = from_json(raw)
    except ValueError:
        raise BadMessageError(explain(faults(Event, error))) from None
    if not isinstance(document, dict):
        raise BadMessageError("the message must be a JSON object")
    refuse_crowd(error, raw)
    version = document.get("schema_version", EVENT_VERSION)
    if version == EVENT_VERSION:
        raise BadMessageError(explain(_event_faults(document, error)))
    if type(version) is not int or version not in OLD_MODELS:
        known = ", ".join(map(str, (*OLD_MODELS, EVENT_VERSION)))
        raise BadMessageError(f"schema_version: must be one of {known}")
    model = OLD_MODELS[version]
    try:
        model.model_validate_json(raw)
        current = upcast(document, version=version, current=EVENT_VERSION)
        return Event.model_validate_json(to_json(current))
    except ValidationError as old_error:
        refuse_crowd(old_error, raw)
        sentences = faults(model, old_error)
        raise BadMessageError(f"(version {version}) {explain(sentences)}") from None


_AUDIENCES: dict[str, str] = {
    "users": "UsersAudience",
    "devices": "DevicesAudience",
    "segment": "SegmentAudience",
    "everyone": "EveryoneAudience",
    "topic": "TopicAudience",
    "group": "GroupAudience",
}


def _event_faults(document: dict[str, Any], error: ValidationError) -> list[str]:
    """Sentences for a faulty event; of the kinds of audience, only about the one meant."""
    details = details_of(error)
    others = [detail for detail in details if detail["loc"][:1] != ("audience",)]
    about = [detail for detail in details if detail["loc"][:1] == ("audience",)]
    sentences = sentences_of(Event, others)
    given = document.get("audience")
    if "audience" not in document or not about:
        return sentences_of(Event, about) + sentences
    if not isinstance(given, dict):
        return ['audience: must be an object such as {"users": ["u-1"]}', *sentences]
    kinds = [kind for kind in _AUDIENCES if kind in given]
    if len(kinds) != 1:
        return [f"audience: give exactly one of {', '.join(_AUDIENCES)}", *sentences]
    meant = _AUDIENCES[kinds[0]]
    for detail in about:
        detail["loc"] = tuple(part for part in detail["loc"] if part != meant)
    names = tuple(_AUDIENCES.values())
    mine = [detail for detail in about if not any(part in names for part in detail["loc"])]
    return sentences_of(Event, mine) + sentences
