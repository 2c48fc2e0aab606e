"""Field types that the wire contracts share: one pattern, one bound and one hint for each.

All of them are checked in pydantic's Rust core; none calls back into Python.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
)
from pydantic_core import CoreSchema, core_schema

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
"""Names that operators and producers choose; they stand in Redis keys, metrics and paths."""
ID_PATTERN = r"^[^\x00-\x20\x7f]+$"
"""Identifiers from outside: anything visible, without blanks and control characters."""
ASCII_PATTERN = r"^[\x21-\x7e]+$"
"""Values that providers take as HTTP header fields."""
LOCALE_PATTERN = r"^[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*$"
"""A BCP 47 language tag, such as en, pt-BR or zh-Hant-TW; "_" is accepted for "-"."""
WEB_URL_PATTERN = r"^https?://[^\x00-\x20\x7f]+$"
TRACEPARENT_PATTERN = r"^([0-9a-e][0-9a-f]|f[0-9a-e])-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"
"""Source: W3C Trace Context §3.2, "traceparent"."""
TIME_PATTERN = r"^2\d{3}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:?\d\d)$"
"""RFC 3339 in the years 2000 to 2999, always with an offset."""
CLOCK_PATTERN = r"^([01]\d|2[0-3]):[0-5]\d$"
COUNTRY_PATTERN = r"^[A-Z]{2}$"
APPLE_ID_PATTERN = r"^[A-Z0-9]{10}$"
PROJECT_PATTERN = r"^[a-z0-9][a-z0-9.:-]{3,62}$"
CONTACT_PATTERN = r"^(mailto:[^\s@]+@[^\s@]+|https://\S+)$"
HOST_PATTERN = r"^((\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]{2,39}\])(:[1-9][0-9]{0,4})?$"
VARIABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
VAULT_PATTERN = r"^[A-Za-z0-9_-][A-Za-z0-9_./-]*#[A-Za-z0-9_.-]+$"
EXPRESSION_PATTERN = r"^\s*\{\{.*\}\}\s*$"
OVERSIZE_PATTERN = r"^(reject|truncate: ?(title|body|subtitle|data\.\S{1,128}))$"
REDIS_URL_PATTERN = r"^(rediss?|unix)://.+"
ORIGIN_PATTERN = r"^https?://[A-Za-z0-9.-]+(:\d{1,5})?$"
"""A page's origin. Source: RFC 6454 §6.2."""
LOG_LEVEL_PATTERN = r"^(debug|info|warning|error)$"

HINTS = {
    NAME_PATTERN: "use letters, digits, '_', '.' and '-', starting with a letter or digit",
    ID_PATTERN: "use at least one character, no blanks and no control characters",
    ASCII_PATTERN: "use visible ASCII characters only",
    LOCALE_PATTERN: "use a language tag such as 'en' or 'pt-BR'",
    WEB_URL_PATTERN: "use an http:// or https:// URL without blanks",
    TRACEPARENT_PATTERN: "use W3C Trace Context form: 2-32-16-2 lower-case hex digits",
    CLOCK_PATTERN: "use a 24-hour time such as '22:00'",
    COUNTRY_PATTERN: "use a two-letter country code (ISO 3166-1), upper case",
    APPLE_ID_PATTERN: "use the 10 capital letters and digits that Apple shows",
    PROJECT_PATTERN: "use the Firebase project id, such as 'my-app-1234'",
    CONTACT_PATTERN: "use a contact as 'mailto:ops@example.com' or an https:// URL",
    HOST_PATTERN: "use a host name, or '*.example.com' for all under it, with ':port' unless 443",
    VARIABLE_PATTERN: "use letters, digits and '_', not starting with a digit",
    VAULT_PATTERN: "use path#field, such as 'clarion/acme/ios#private_key'",
    EXPRESSION_PATTERN: "use a number, or a Jinja expression such as '{{ user.unread }}'",
    OVERSIZE_PATTERN: "use 'reject' or 'truncate: body' (or title, subtitle, data.<key>)",
    REDIS_URL_PATTERN: "use a redis://, rediss:// or unix:// URL",
    ORIGIN_PATTERN: "use http:// or https://, a host and maybe a port, without a path",
    LOG_LEVEL_PATTERN: "use debug, info, warning or error",
}
"""Pattern -> what to write instead; schemas.decode puts these into error messages."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def epoch_ms(moment: datetime | None) -> int:
    """Milliseconds since the epoch, rounded down; 0 for None."""
    return 0 if moment is None else (moment - EPOCH) // _MILLISECOND


class _Rfc3339:
    """A time as RFC 3339 text with an offset, or an aware datetime in Python.

    pydantic alone would also take numbers, guessing between seconds and milliseconds, and text
    without an offset; the published schema says neither.
    """

    def __get_pydantic_core_schema__(
        self, _source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        moment = core_schema.datetime_schema(tz_constraint="aware")
        text = core_schema.chain_schema([core_schema.str_schema(pattern=TIME_PATTERN), moment])
        return core_schema.custom_error_schema(
            core_schema.json_or_python_schema(
                json_schema=text,
                python_schema=core_schema.union_schema(
                    [core_schema.datetime_schema(strict=True, tz_constraint="aware"), text]
                ),
            ),
            custom_error_type="time",
            custom_error_message=(
                "write a time with its offset, such as '2026-01-05T08:00:00Z' (RFC 3339)"
            ),
        )

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "format": "date-time", "pattern": TIME_PATTERN}


Time = Annotated[datetime, _Rfc3339()]

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=NAME_PATTERN)]
Id = Annotated[str, Field(min_length=1, max_length=128, pattern=ID_PATTERN)]
Key = Annotated[str, Field(min_length=1, max_length=256, pattern=ID_PATTERN)]
CollapseKey = Annotated[str, Field(min_length=1, max_length=64, pattern=ASCII_PATTERN)]
"""At most 64 bytes. Source: Apple, "Sending notification requests to APNs", apns-collapse-id."""
TopicName = Annotated[
    str, Field(min_length=1, max_length=58, pattern=r"^[A-Za-z0-9_.][A-Za-z0-9_.-]*$")
]
"""Of a topic that users subscribe to, or a device group."""
TOPIC_PREFIX, GROUP_PREFIX = "topic.", "group."
"""What stands before such a name in audience expressions."""
Locale = Annotated[str, Field(min_length=2, max_length=35, pattern=LOCALE_PATTERN)]
WebUrl = Annotated[str, Field(max_length=2048, pattern=WEB_URL_PATTERN)]
AppUrl = Annotated[str, Field(min_length=1, max_length=2048, pattern=ID_PATTERN)]
"""What a click opens: a web URL or an app's own scheme."""
Traceparent = Annotated[str, Field(max_length=55, pattern=TRACEPARENT_PATTERN)]
Country = Annotated[str, Field(pattern=COUNTRY_PATTERN)]


def _quoted(value: object) -> object:
    """YAML 1.1 reads an unquoted 22:00 as the number 1320."""
    if not isinstance(value, str):
        raise ValueError("write a 24-hour time in quotes, such as '22:00'")  # noqa: TRY004 - pydantic reports ValueError only
    return value


ClockTime = Annotated[str, Field(pattern=CLOCK_PATTERN), BeforeValidator(_quoted)]
TtlS = Annotated[int, Field(strict=True, ge=1, le=2_419_200)]
"""Seconds, at most 28 days. Source: Firebase, "Set the lifespan of a message"."""


@lru_cache(maxsize=1)
def _time_zones() -> frozenset[str]:
    """Read the IANA names from the tzdata package, which travels with the code."""
    return frozenset((files("tzdata") / "zones").read_text("utf-8").split())


def known_time_zone(name: str) -> str:
    """Give the name back when the IANA database has it. Raises ValueError."""
    if name not in _time_zones():
        raise ValueError("use an IANA time zone such as 'Europe/Berlin' or 'UTC'")
    return name


TimeZone = Annotated[
    str,
    Field(min_length=1, max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_+/-]*$"),
    AfterValidator(known_time_zone),
]

HoldoutPercent = Annotated[float, Field(strict=True, gt=0, le=50, allow_inf_nan=False)]
"""How many users of a hundred are left out; half at most."""
