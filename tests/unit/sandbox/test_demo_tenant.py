from pathlib import Path

import msgspec
import pytest
import yaml

from flows.config import load_tenants
from operators.formats import Setting, locale_of
from operators.templates import CompiledText
from sandbox.demo_tenant import TEMPLATES, tenant_yaml
from sandbox.fcm_checks import check_meaning, check_schema
from sandbox.fcm_tokens import live_token
from sandbox.flights import airports, destination_counts, load_flights
from sandbox.passengers import MARKETING, TENANT, Population
from sandbox.replay import events
from schemas.events import Event, decode_event
from schemas.outcomes import Status
from schemas.pipeline import Content, Delivery, Platform
from schemas.tenant import Tenant
from sinks.apns_payload import Payload, build_payload
from sinks.fcm_message import FcmMessages
from sinks.webpush_payload import Built, WebPushPayloads

LOCALES = {"en", "de", "fr", "es", "pt-BR"}


def raw_tenant(shards: int = 16) -> dict[str, object]:
    return tenant_yaml(
        apns_key_file="secrets/apns.p8",
        fcm_account_file="secrets/fcm.json",
        vapid_key_file="secrets/vapid.pem",
        shards=shards,
    )


@pytest.fixture(scope="module")
def samples() -> dict[str, Event]:
    """Give one event of each type."""
    flights = load_flights(days=1)
    population = Population(
        seed=1,
        users=100,
        airports=airports(),
        destinations=destination_counts(flights),
        webpush_origin="https://127.0.0.1:8443",
    )
    found: dict[str, Event] = {}
    for _, record in events(flights, population, shift_ms=0, seed=1, malformed_share=0):
        event = decode_event(record.value)
        found.setdefault(event.type, event)
    return found


def test_the_tenant_is_valid() -> None:
    """As the schema of tenants says, with the three apps that devices name."""
    tenant = Tenant.model_validate(raw_tenant(shards=4))
    assert (tenant.name, tenant.shards) == (TENANT, 4)
    assert {name: app.platform for name, app in tenant.apps.items()} == {
        "ios": "apns",
        "android": "fcm",
        "web": "webpush",
    }
    cap = tenant.categories[MARKETING].caps[0]
    assert (cap.limit, cap.window_s) == (2, 86_400)
    night = {name: category.quiet_hours for name, category in tenant.categories.items()}
    assert night == {"security": "ignore", "transactional": "ignore", "marketing": "defer"}


def test_it_can_be_written_as_yaml_and_loaded(tmp_path: Path) -> None:
    """The loader refuses aliases, so nothing is shared; secrets are found beside the file."""
    (tmp_path / "skyline.yaml").write_text(yaml.safe_dump(raw_tenant()), encoding="utf-8")
    tenant = load_tenants(tmp_path)[TENANT]
    assert tenant.templates.keys() == TEMPLATES.keys()
    assert tenant.locale == "en"


def test_the_replays_events_fit_the_tenant(samples: dict[str, Event]) -> None:
    """Category and template of every type of event are configured."""
    tenant = Tenant.model_validate(raw_tenant())
    assert samples.keys() == TEMPLATES.keys()
    for event in samples.values():
        assert event.tenant == tenant.name
        assert event.category in tenant.categories
        assert event.template is not None
        template = tenant.template(event.template.name)
        assert template is not None
        assert template.texts.keys() == LOCALES


@pytest.mark.parametrize("locale", sorted(LOCALES))
@pytest.mark.parametrize("kind", TEMPLATES)
def test_every_text_renders_and_every_provider_takes_it(
    samples: dict[str, Event], kind: str, locale: str
) -> None:
    """No variable is missing, and the overrides are ones that the sinks and providers know."""
    event = samples[kind]
    found = locale_of(locale)
    assert found is not None
    text = {
        name: CompiledText(source).render(event.variables, Setting(found))
        for name, source in TEMPLATES[kind][locale].items()
    }
    assert text["title"]
    assert "{" not in "".join(text.values())
    assert event.template is not None
    apns = build_payload(packed(event, text, Platform.APNS))
    assert isinstance(apns, Payload)
    assert msgspec.json.decode(apns.body)["aps"]["alert"]["title"] == text["title"]
    web = WebPushPayloads().build(packed(event, text, Platform.WEBPUSH))
    assert isinstance(web, Built)
    request = fcm_request(event, packed(event, text, Platform.FCM))
    assert check_schema(request) is None
    assert check_meaning(request["message"]) is None


def packed(event: Event, text: dict[str, str], platform: Platform) -> bytes:
    override = getattr(event.platforms, platform.value) if event.platforms else {}
    content = Content(
        title=text["title"],
        body=text["body"],
        url=text.get("url", ""),
        data=event.data,
        override=override,
    )
    return msgspec.msgpack.encode(content)


def fcm_request(event: Event, content: bytes) -> dict[str, dict[str, object]]:
    delivery = Delivery(
        delivery_id="0190b5c1-7f3e-8c1a-9d2e-2f6a1b3c4d5e",
        message_id=event.id,
        tenant=event.tenant,
        app="android",
        user_id="u0000001",
        device_id="u0000001-1",
        platform=Platform.FCM,
        priority=event.priority,
        category=event.category,
        type=event.type,
        token=live_token(1),
        content=content,
        accepted_at_ms=1_000,
        created_at_ms=1_000,
        registered_at_ms=1,
        expires_at_ms=100_000,
        collapse_key=event.collapse_key or "",
    )
    body = FcmMessages().build(delivery, now_ms=2_000)
    assert isinstance(body, bytes), getattr(body, "status", Status.REJECTED)
    request: dict[str, dict[str, object]] = msgspec.json.decode(body)
    return request
