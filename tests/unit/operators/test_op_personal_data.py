"""personal_data: what looks like an address, a phone number or a card, and what does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.personal_data import personal_data_in
from tests.unit.operators.builders import UNTIMED

EMAIL, PHONE, CARD = "an e-mail address", "a phone number", "a payment card number"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Write to jane.doe+x@mail.example.com", [EMAIL]),
        ("jürgen@exämple.de", [EMAIL]),
        ("Call +49 30 901820", [PHONE]),
        ("Call (030) 9018-2000", [PHONE]),
        ("Call 0171/1234567", [PHONE]),
        ("Call (555) 010-9999 or 555-010-9999", [PHONE]),
        ("+1 (555) 010-9999", [PHONE]),
        ("Card 4111 1111 1111 1111", [CARD]),
        ("Card 4111-1111-1111-1111.", [CARD]),
        ("378282246310005", [CARD]),
        ("a@b.example, +4930901820, 4111111111111111", [EMAIL, CARD, PHONE]),
        ("Card 4111 1111 1111 1112", []),
        ("Order 1234567890", []),
        ("Parcel 2026-01-05 08:00:00", []),
        ("1,234,567.89 EUR for 3 of 500", []),
        ("@jane, see https://x.example/a@b", []),
        ("0000000000000000", []),
        ("Your code is 482 913", []),
        ("{{ user.email }}", []),
        ("", []),
    ],
)
def test_what_is_found(text: str, found: list[str]) -> None:
    """By how it is written and, for cards, by its check digit."""
    assert list(personal_data_in(text)) == found


@UNTIMED
@given(st.lists(st.integers(0, 9), min_size=12, max_size=18).filter(any))
def test_every_number_with_a_right_check_digit_is_a_card(digits: list[int]) -> None:
    """Of 13 to 19 digits; the sum is Luhn's."""
    doubled = [2 * d for d in digits[::-1][::2]]
    total = sum(d - 9 if d > 9 else d for d in doubled) + sum(digits[::-1][1::2])
    number = "".join(map(str, [*digits, -total % 10]))
    assert CARD in list(personal_data_in(f"No. {number}"))


@UNTIMED
@given(st.text(alphabet="0 1.-()+@a", max_size=400))
def test_what_is_found_is_found_in_a_longer_text_too(text: str) -> None:
    """Whatever it is made of: what stands around it, on lines of their own, hides nothing."""
    found = set(personal_data_in(text))
    assert found <= set(personal_data_in(f"Dear user,\n\n{text}\n\nBye."))
