"""The demo's tenant: an airline with three apps, three kinds of messages and five languages."""

from collections.abc import Sequence
from typing import Any, Final

from sandbox.flights import NEW_YORK
from sandbox.keys import KEY_ID, PROJECT_ID, TEAM_ID, TOPIC, SandboxKeys
from sandbox.passenger_expected import MARKETING, TRANSACTIONAL
from sandbox.passenger_mix import APPS
from sandbox.passengers import TENANT
from sandbox.replay_events import FARE_SALE, FLIGHT_CANCELLED, FLIGHT_DELAYED
from schemas.pipeline import Platform

SALES_A_DAY: Final = 2
"""The cap on marketing: to one user in any 24 hours."""


def tenant_yaml(
    *,
    apns_key_file: str,
    fcm_account_file: str,
    vapid_key_file: str,
    apns_team_id: str = "SKYLINE001",
    apns_key_id: str = "SKYLINEKEY",
    apns_topic: str = "com.example.skyline",
    fcm_project_id: str = "skyline-demo",
    webpush_subject: str = "mailto:push@example.com",
    webpush_hosts: Sequence[str] = ("127.0.0.1",),
    shards: int = 16,
) -> dict[str, Any]:
    """Give the tenant's configuration, ready for yaml.safe_dump.

    *_file: where the secrets are, relative to the YAML file or absolute. shards: a power of two.
    """
    return {
        "name": TENANT,
        "shards": shards,
        "time_zone": NEW_YORK,
        "locale": "en",
        "apps": {
            APPS[Platform.APNS]: {
                "platform": Platform.APNS.value,
                "team_id": apns_team_id,
                "key_id": apns_key_id,
                "topic": apns_topic,
                "private_key": {"file": apns_key_file},
            },
            APPS[Platform.FCM]: {
                "platform": Platform.FCM.value,
                "project_id": fcm_project_id,
                "service_account": {"file": fcm_account_file},
            },
            APPS[Platform.WEBPUSH]: {
                "platform": Platform.WEBPUSH.value,
                "subject": webpush_subject,
                "private_key": {"file": vapid_key_file},
                "allowed_hosts": list(webpush_hosts),
            },
        },
        "categories": {
            "security": {"quiet_hours": "ignore", "default_ttl_s": "10m"},
            TRANSACTIONAL: {"quiet_hours": "ignore", "default_ttl_s": "1d"},
            MARKETING: {
                "quiet_hours": "defer",
                "default_ttl_s": "2d",
                "caps": [{"limit": SALES_A_DAY, "window_s": "1d"}],
            },
        },
        "templates": {
            name: {"version": 1, "texts": {locale: dict(text) for locale, text in texts.items()}}
            for name, texts in TEMPLATES.items()
        },
    }


_FARES: Final = "https://skyline.example/fares/{{dest}}"

TEMPLATES: Final[dict[str, dict[str, dict[str, str]]]] = {
    FLIGHT_DELAYED: {
        "en": {
            "title": "{{ flight }} is delayed by"
            " {{ delay_min | plural(one='# minute', other='# minutes') }}",
            "body": "{{ airline }} to {{ dest_name }} now leaves {{ origin_name }}"
            " at {{ new_time_12h }}.",
        },
        "de": {
            "title": "{{ flight }} hat"
            " {{ delay_min | plural(one='# Minute', other='# Minuten') }} Verspätung",
            "body": "{{ airline }} nach {{ dest_name }}: neuer Abflug ab {{ origin_name }}"
            " um {{ new_time }} Uhr.",
        },
        "fr": {
            "title": "{{ flight }} a"
            " {{ delay_min | plural(one='# minute', other='# minutes') }} de retard",
            "body": "{{ airline }} vers {{ dest_name }}\u00a0: nouveau départ de"
            " {{ origin_name }} à {{ new_time }}.",
        },
        "es": {
            "title": "{{ flight }} se retrasa"
            " {{ delay_min | plural(one='# minuto', other='# minutos') }}",
            "body": "{{ airline }} a {{ dest_name }}: nueva salida de {{ origin_name }}"
            " a las {{ new_time }}.",
        },
        "pt-BR": {
            "title": "{{ flight }} está com"
            " {{ delay_min | plural(one='# minuto', other='# minutos') }} de atraso",
            "body": "{{ airline }} para {{ dest_name }}: nova partida de {{ origin_name }}"
            " às {{ new_time }}.",
        },
    },
    FLIGHT_CANCELLED: {
        "en": {
            "title": "{{ flight }} to {{ dest_name }} is cancelled",
            "body": "{{ airline }} will not fly from {{ origin_name }}. Rebook at no charge.",
        },
        "de": {
            "title": "{{ flight }} nach {{ dest_name }} fällt aus",
            "body": "{{ airline }} fliegt nicht ab {{ origin_name }}. Jetzt kostenlos umbuchen.",
        },
        "fr": {
            "title": "{{ flight }} vers {{ dest_name }} est annulé",
            "body": "{{ airline }} ne partira pas de {{ origin_name }}. Modification gratuite.",
        },
        "es": {
            "title": "{{ flight }} a {{ dest_name }} ha sido cancelado",
            "body": "{{ airline }} no saldrá de {{ origin_name }}. Cambie su vuelo sin coste.",
        },
        "pt-BR": {
            "title": "{{ flight }} para {{ dest_name }} foi cancelado",
            "body": "{{ airline }} não sairá de {{ origin_name }}. Remarque sem custo.",
        },
    },
    FARE_SALE: {
        "en": {
            "title": "New York to {{ dest }} from {{ price_usd | currency('USD', 0) }}",
            "body": "Fares to {{ dest_name }} are down until tomorrow night.",
            "url": _FARES,
        },
        "de": {
            "title": "Von New York nach {{ dest }} ab {{ price_usd | currency('USD', 0) }}",
            "body": "Bis morgen Abend günstig nach {{ dest_name }}.",
            "url": f"{_FARES}?lang=de",
        },
        "fr": {
            "title": "De New York à {{ dest }} dès {{ price_usd | currency('USD', 0) }}",
            "body": "Petits prix vers {{ dest_name }} jusqu'à demain soir.",
            "url": f"{_FARES}?lang=fr",
        },
        "es": {
            "title": "De Nueva York a {{ dest }} desde {{ price_usd | currency('USD', 0) }}",
            "body": "Tarifas rebajadas a {{ dest_name }} hasta mañana por la noche.",
            "url": f"{_FARES}?lang=es",
        },
        "pt-BR": {
            "title": "De Nova York para {{ dest }} a partir de"
            " {{ price_usd | currency('USD', 0) }}",
            "body": "Tarifas menores para {{ dest_name }} até amanhã à noite.",
            "url": f"{_FARES}?lang=pt-BR",
        },
    },
}
"""Texts by template and locale. Times are local to the airport; English reads them with AM, PM.
Plurals and prices are written as the reader's language does."""


def sandbox_tenant(keys: SandboxKeys) -> dict[str, Any]:
    """Give the tenant's configuration with the sandbox's own keys."""
    return tenant_yaml(
        apns_key_file=str(keys.apns_key_file),
        fcm_account_file=str(keys.fcm_file),
        vapid_key_file=str(keys.vapid_file),
        apns_team_id=TEAM_ID,
        apns_key_id=KEY_ID,
        apns_topic=TOPIC,
        fcm_project_id=PROJECT_ID,
    )
