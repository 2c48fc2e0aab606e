"""Events that an airline would send about its flights and fares, and a few that it got wrong."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from sandbox.flights import MINUTE_MS, Airport, Flight, local_time
from sandbox.passenger_expected import MARKETING, TRANSACTIONAL
from sandbox.passenger_people import segment_of
from sandbox.passenger_records import rfc3339
from schemas.pipeline import Priority
from schemas.stream import Record
from schemas.topics import EVENTS

FLIGHT_DELAYED: Final = "flight_delayed"
FLIGHT_CANCELLED: Final = "flight_cancelled"
FARE_SALE: Final = "fare_sale"
"""Types of events, and the names of their templates."""

HOUR_S: Final = 3_600
DELAY_TTL_S: Final = 6 * HOUR_S
CANCELLED_TTL_S: Final = 24 * HOUR_S
SALE_TTL_S: Final = 48 * HOUR_S
SALE_PLATFORMS: Final = {
    "apns": {"aps": {"thread-id": "fares", "interruption-level": "passive"}},
    "fcm": {"android": {"notification": {"channelId": "offers"}}},
    "webpush": {"urgency": "very-low", "payload": {"tag": "fares"}},
}
_encode = msgspec.json.Encoder().encode


class Sale(NamedTuple):
    """A fare sale. day: ISO date. starts_at_ms: UTC. price_usd: of the cheapest seat."""

    dest: str
    day: str
    starts_at_ms: int
    price_usd: int

    @property
    def campaign_id(self) -> str:
        """Give the name of the campaign, which is the event's id too."""
        return f"sale-{self.dest}-{self.day}"


class EventWriter:
    """Writes events for one tenant.

    shift_ms: between a flight's time and the replay's. Texts name the flight's own local time.
    """

    def __init__(
        self,
        *,
        tenant: str,
        shift_ms: int,
        airports: Mapping[str, Airport],
        airlines: Mapping[str, str],
    ) -> None:
        self._tenant = tenant
        self._shift_ms = shift_ms
        self._airports = airports
        self._airlines = airlines

    def delayed(self, flight: Flight, users: list[str]) -> Record:
        """Tell a late flight's passengers when it leaves."""
        delay_min = flight.dep_delay_min or 0
        leaves_at_ms = flight.scheduled_at_ms + delay_min * MINUTE_MS
        leaves = local_time(leaves_at_ms, self._airports[flight.origin].tz)
        hour, minute = leaves.hour, leaves.minute
        event = self._about(flight, FLIGHT_DELAYED, users)
        event["priority"] = Priority.HIGH
        event["ttl_s"] = DELAY_TTL_S
        event["variables"] |= {
            "delay_min": delay_min,
            "new_time": f"{hour:02}:{minute:02}",
            "new_time_12h": f"{hour % 12 or 12}:{minute:02} {'AM' if hour < 12 else 'PM'}",
        }
        return Record(EVENTS[Priority.HIGH], flight.flight_id.encode(), _encode(event))

    def cancelled(self, flight: Flight, users: list[str]) -> Record:
        """Tell a cancelled flight's passengers, at once and at any hour."""
        event = self._about(flight, FLIGHT_CANCELLED, users)
        event["priority"] = Priority.CRITICAL
        event["ttl_s"] = CANCELLED_TTL_S
        event["collapse_key"] = flight.flight_id
        return Record(EVENTS[Priority.CRITICAL], flight.flight_id.encode(), _encode(event))

    def sale(self, sale: Sale) -> Record:
        """Offer a destination to those who want to go there."""
        name = self._airports[sale.dest].name
        event = {
            "schema_version": 1,
            "id": sale.campaign_id,
            "tenant": self._tenant,
            "type": FARE_SALE,
            "category": MARKETING,
            "priority": Priority.LOW,
            "audience": {"segment": segment_of(sale.dest)},
            "template": {
                "name": FARE_SALE,
                "data": {"dest": sale.dest, "screen": "fares"},
                "platforms": SALE_PLATFORMS,
            },
            "variables": {"dest": sale.dest, "dest_name": name, "price_usd": sale.price_usd},
            "idempotency_key": sale.campaign_id,
            "created_at": rfc3339(sale.starts_at_ms + self._shift_ms),
            "ttl_s": SALE_TTL_S,
            "campaign_id": sale.campaign_id,
        }
        return Record(EVENTS[Priority.LOW], sale.campaign_id.encode(), _encode(event))

    def _about(self, flight: Flight, kind: str, users: list[str]) -> dict[str, Any]:
        """Give what all events about a flight say. Keyed by flight, they stay in order."""
        event_id = f"{kind}-{flight.flight_id}"
        return {
            "schema_version": 1,
            "id": event_id,
            "tenant": self._tenant,
            "type": kind,
            "category": TRANSACTIONAL,
            "audience": {"users": users},
            "template": {"name": kind, "data": {"flight_id": flight.flight_id, "screen": "trip"}},
            "variables": {
                "flight": f"{flight.carrier} {flight.number}",
                "airline": self._airlines.get(flight.carrier, flight.carrier),
                "origin": flight.origin,
                "origin_name": self._airports[flight.origin].name,
                "dest": flight.dest,
                "dest_name": self._airports[flight.dest].name,
            },
            "idempotency_key": event_id,
            "created_at": rfc3339(flight.scheduled_at_ms + self._shift_ms),
        }


def _cut(event: dict[str, Any]) -> bytes:
    encoded = _encode(event)
    return encoded[: len(encoded) // 2]


def _user_as_text(event: dict[str, Any]) -> bytes:
    return _encode(event | {"audience": {"users": "u0000001"}})


def _no_tenant(event: dict[str, Any]) -> bytes:
    return _encode({name: value for name, value in event.items() if name != "tenant"})


def _misspelt(event: dict[str, Any]) -> bytes:
    return _encode(event | {"prioritty": "high"})


def _latin_1(event: dict[str, Any]) -> bytes:
    return _encode(event | {"variables": {"city": "?"}}).replace(b'"?"', b'"S\xe3o Paulo"')


def _local_time_only(event: dict[str, Any]) -> bytes:
    return _encode(event | {"created_at": "2013-06-01 18:00"})


MISTAKES: Final = {
    "cut_off": _cut,
    "wrong_type": _user_as_text,
    "missing_field": _no_tenant,
    "unknown_field": _misspelt,
    "not_utf8": _latin_1,
    "no_time_zone": _local_time_only,
}
"""Ways to get an event wrong, each as producers do it."""


def malformed(record: Record, mistake: str) -> Record:
    """Write a sound event's record again with a mistake in it, under an id of its own."""
    event = msgspec.json.decode(record.value or b"{}")
    event_id = f"bad-{event['id']}"
    event |= {"id": event_id, "idempotency_key": event_id}
    return Record(record.topic, record.key, MISTAKES[mistake](event))
