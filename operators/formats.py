"""Numbers, money, dates and plurals as a language writes them (Unicode CLDR, by babel).

Each takes the value first and the Setting second. The same input always gives the same text: there
is no clock, and a time comes with its offset. Raises FormatError for what cannot be written.
"""

from collections.abc import Callable
from copy import copy
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final, Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_datetime, format_time
from babel.numbers import format_currency, format_decimal, format_percent

from schemas.fields import known_time_zone

MAX_DIGITS: Final = 20
"""Before the decimal point, as 64-bit integers have; with those after it, decimal keeps 28."""
MAX_FRACTION_DIGITS: Final = 6
MAX_NUMBER_CHARS: Final = 100
MAX_TAG_CHARS: Final = 35
_ENGLISH: Final = Locale("en")
_KEPT: Final = 1_024
_PLAIN_DATE: Final = len("2026-01-05")

Style = Literal["short", "medium", "long", "full"]
_STYLES: Final = get_args(Style)


class FormatError(ValueError):
    """A value cannot be written that way; the text says what to give instead."""


class Setting(NamedTuple):
    """How a text is written. zone: for times, which come in UTC or with an offset."""

    locale: Locale = _ENGLISH
    zone: tzinfo = UTC


PLAIN: Final = Setting()
"""For texts in which nothing depends on it."""


@lru_cache(maxsize=_KEPT)
def locale_of(tag: str) -> Locale | None:
    """Give CLDR's locale of a language tag, its language's when the region is unknown, or None."""
    parts = tag[:MAX_TAG_CHARS].replace("_", "-").split("-")
    while parts:
        try:
            return Locale.parse("-".join(parts), sep="-")
        except (UnknownLocaleError, ValueError, TypeError):
            parts.pop()
    return None


@lru_cache(maxsize=_KEPT)
def zone_of(name: str) -> tzinfo | None:
    """Give a time zone by its IANA name, None when there is none."""
    try:
        return ZoneInfo(known_time_zone(name))
    except (ValueError, OSError):
        return None


def number(value: object, setting: Setting, digits: int | None = None) -> str:
    """1234.5 is 1,234.5 in English, 1.234,5 in German. digits: after the decimal point."""
    amount = _amount(value, "number")
    if digits is None:
        return format_decimal(amount, locale=setting.locale)
    _check_digits(digits, "number")
    pattern = "#,##0" + ("." + "0" * digits if digits else "")
    return format_decimal(amount, format=pattern, locale=setting.locale)


def currency(value: object, setting: Setting, code: str, digits: int | None = None) -> str:
    """19.9 EUR is €19.90 in English, 19,90 € in German.

    code: ISO 4217. digits: after the decimal point, else as the currency has.
    """
    if not (isinstance(code, str) and len(code) == 3 and code.isascii() and code.isupper()):
        raise FormatError("currency: give an ISO 4217 code such as 'EUR'")
    amount = _amount(value, "currency")
    if digits is None:
        return format_currency(amount, code, locale=setting.locale)
    _check_digits(digits, "currency")
    pattern = copy(setting.locale.currency_formats["standard"])
    pattern.frac_prec = (digits, digits)
    return format_currency(
        amount, code, format=pattern, locale=setting.locale, currency_digits=False
    )


def percent(value: object, setting: Setting) -> str:
    """0.25 is 25% in English, 25 % in German."""
    return format_percent(_amount(value, "percent"), locale=setting.locale)


def plural(value: object, setting: Setting, *, other: str, **forms: str) -> str:
    """Give the form for this number by CLDR's rules: zero, one, two, few, many or other.

    `#` in a form becomes the number. A form that is not given is `other`.
    """
    amount = _amount(value, "plural")
    unknown = forms.keys() - {"zero", "one", "two", "few", "many"}
    if unknown:
        raise FormatError("plural: the forms are zero, one, two, few, many and other")
    form = forms.get(setting.locale.plural_form(amount), other)
    if not isinstance(form, str):
        raise FormatError("plural: every form is a text")
    return form.replace("#", number(amount, setting)) if "#" in form else form


def in_words_date(value: object, setting: Setting, style: Style = "medium", zone: str = "") -> str:
    """2026-01-05T08:00Z is Jan 5, 2026. A date alone is taken as it is, in no zone."""
    _check_style(style, "date")
    if isinstance(value, str) and len(value) == _PLAIN_DATE:
        try:
            day = date.fromisoformat(value)
        except ValueError:
            raise FormatError("date: write a date such as '2026-01-05'") from None
        return format_date(day, style, locale=setting.locale)
    moment = _moment(value, "date").astimezone(_zone(zone, setting))
    return format_date(moment.date(), style, locale=setting.locale)


def in_words_time(value: object, setting: Setting, style: Style = "short", zone: str = "") -> str:
    """2026-01-05T08:00Z is 9:00 AM in Berlin, 09:00 in German."""
    _check_style(style, "time")
    where = _zone(zone, setting)
    moment = _moment(value, "time").astimezone(where)
    return format_time(moment, style, tzinfo=where, locale=setting.locale)


def in_words_datetime(
    value: object, setting: Setting, style: Style = "medium", zone: str = ""
) -> str:
    """Give day and time together."""
    _check_style(style, "datetime")
    moment = _moment(value, "datetime")
    return format_datetime(moment, style, tzinfo=_zone(zone, setting), locale=setting.locale)


FILTERS: Final[dict[str, Callable[..., str]]] = {
    "number": number,
    "currency": currency,
    "percent": percent,
    "plural": plural,
    "date": in_words_date,
    "time": in_words_time,
    "datetime": in_words_datetime,
}
"""By their names in templates."""
ZONED: Final = frozenset({"date", "time", "datetime"})
"""Those whose text depends on the reader's time zone."""


def _amount(value: object, what: str) -> Decimal:
    """Give an exact number. Text may be one, as JSON numbers lose digits."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        raise FormatError(f"{what}: give a number, not {type(value).__name__}")
    text = str(value)
    if len(text) > MAX_NUMBER_CHARS:
        raise FormatError(f"{what}: the number is out of range")
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise FormatError(f"{what}: give a number, not another text") from None
    if not amount.is_finite() or not -MAX_DIGITS <= amount.adjusted() < MAX_DIGITS:
        raise FormatError(f"{what}: the number is out of range")
    return amount


def _check_digits(digits: object, what: str) -> None:
    if type(digits) is not int or not 0 <= digits <= MAX_FRACTION_DIGITS:
        raise FormatError(f"{what}: digits is a whole number from 0 to {MAX_FRACTION_DIGITS}")


def _moment(value: object, what: str) -> datetime:
    hint = f"{what}: write a time with its offset, such as '2026-01-05T08:00:00Z'"
    if not isinstance(value, str):
        raise FormatError(hint)
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise FormatError(hint)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise FormatError(hint) from None


def _zone(name: str, setting: Setting) -> tzinfo:
    if not name:
        return setting.zone
    found = zone_of(name) if isinstance(name, str) else None
    if found is None:
        raise FormatError("use an IANA time zone such as 'Europe/Berlin' or 'UTC'")
    return found


def _check_style(style: object, what: str) -> None:
    if style not in _STYLES:
        raise FormatError(f"{what}: the styles are {', '.join(_STYLES)}")
