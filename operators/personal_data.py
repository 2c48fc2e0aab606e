"""Personal data in text that people see: e-mail addresses, phone numbers, payment cards."""

import re
from collections.abc import Iterator
from typing import Final

MIN_PHONE_DIGITS: Final = 9
MAX_PHONE_DIGITS: Final = 15
"""Source: ITU-T E.164."""

_EMAIL = re.compile(r"[\w.%+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})*\.[A-Za-z]{2,24}")
# Runs of digits as people write them; what each run is, its digits tell.
_DIGITS = re.compile(r"(?<![\w.,])(?:\+|\(\+?)?\d(?:[ ()/.-]{0,2}\d){8,18}(?![\w])")
_CARD_LENGTHS = range(13, 20)
_NORTH_AMERICAN = re.compile(r"\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}")
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def personal_data_in(text: str) -> Iterator[str]:
    """Give what kinds of personal data a text seems to show, each once. O(length).

    A run of digits is a card when its check digit is right (ISO/IEC 7812-1), and a phone number
    when it is written like one: with a + or a leading 0, or as (555) 010-9999. Order numbers and
    amounts are neither.
    """
    if _EMAIL.search(text):
        yield "an e-mail address"
    kinds = {_kind(found.group()) for found in _DIGITS.finditer(text)}
    yield from sorted(kinds - {""})


def _kind(run: str) -> str:
    digits = re.sub(r"\D", "", run)
    if len(digits) in _CARD_LENGTHS and _is_luhn(digits) and set(digits) != {"0"}:
        return "a payment card number"
    if not MIN_PHONE_DIGITS <= len(digits) <= MAX_PHONE_DIGITS or _ISO_DATE.match(run):
        return ""
    is_dialled = run.startswith(("+", "(+", "0", "(0")) or _NORTH_AMERICAN.fullmatch(run)
    return "a phone number" if is_dialled else ""


def _is_luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
