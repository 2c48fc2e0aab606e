import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from api.cli import build
from api.cli_flows import FLOWS
from flows.config import load_tenants
from flows.health import Health, HealthServer
from flows.insecure import check_secure, insecurities
from sandbox import keys
from sandbox.tls import CA_FILE
from schemas.apps import ApnsApp, FcmApp, WebPushApp
from schemas.pipeline import Platform, Priority
from schemas.settings import PREFIX, Settings, load_settings, variables
from sinks.webpush_endpoint import endpoint_allowed

TOP = Path(__file__).parents[3]
HOST_OF_SIMULATORS = "simulators"
_DEFAULT = re.compile(r"\$\{[A-Z_]+:-([^}]*)\}")


def _filled(value: Any) -> Any:
    """Put the defaults in place of ${NAME:-default}, as compose does without an environment."""
    if isinstance(value, str):
        return _DEFAULT.sub(r"\1", value)
    if isinstance(value, list):
        return [_filled(part) for part in value]
    if isinstance(value, dict):
        return {key: _filled(part) for key, part in value.items()}
    return value


COMPOSE: dict[str, Any] = _filled(yaml.safe_load((TOP / "docker-compose.yml").read_text()))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
RUNNING = {n: s for n, s in SERVICES.items() if s.get("command", [])[:2] == ["flows", "run"]}
OURS = {n: s for n, s in SERVICES.items() if s["image"].startswith("clarion")}


def _settings(service: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in os.environ:
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    for name, value in service["environment"].items():
        monkeypatch.setenv(name, str(value))
    return load_settings()


def _served(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str, Priority]]:
    """Give (flow, platform or nothing, priority) of every process."""
    for service in RUNNING.values():
        _, _, flow, *options = service["command"]
        platform = options[0].removeprefix("--platform=") if options else ""
        for priority in _settings(service, monkeypatch).flow.priorities:
            yield flow, platform, priority


def test_every_flow_platform_and_priority_is_served_by_exactly_one_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is left unserved, and no two processes share a transactional id."""
    platforms = {flow: tuple(Platform) if flow == "deliver" else ("",) for flow in FLOWS}
    wanted = Counter((f, p, priority) for f in FLOWS for p in platforms[f] for priority in Priority)
    assert Counter(_served(monkeypatch)) == wanted


def test_urgent_and_bulk_messages_share_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that route and deliver serve critical and high, or normal and low."""
    fast = (Priority.CRITICAL, Priority.HIGH)
    for name, service in RUNNING.items():
        if service["command"][2] in {"route", "deliver"}:
            served = _settings(service, monkeypatch).flow.priorities
            assert served == (fast if name.endswith("-fast") else (Priority.NORMAL, Priority.LOW))


def test_every_process_has_a_name_of_its_own() -> None:
    """Static membership and transactions need a unique instance, the same after a restart."""
    names = Counter(s["environment"]["CLARION_KAFKA__INSTANCE"] for s in RUNNING.values())
    assert set(names.values()) == {1}
    assert all(s.get("scale", 1) == 1 and "deploy" not in s for s in RUNNING.values())


def test_every_clarion_variable_is_a_setting() -> None:
    """A misspelt one would stop the process at its start."""
    text = (TOP / "docker-compose.yml").read_text() + (TOP / "deploy/Dockerfile").read_text()
    named = set(re.findall(r"CLARION_[A-Z_]*__[A-Z_]+|CLARION_TENANTS_DIR", text))
    assert named
    assert named <= set(variables())


@pytest.mark.parametrize("name", [n for n, s in OURS.items() if "environment" in s])
def test_the_settings_of_every_process_load(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every address in them is a service of this file."""
    settings = _settings(OURS[name], monkeypatch)
    urls = [settings.redis.url, settings.clickhouse.url, f"//{settings.kafka.bootstrap}"]
    if "deliver" in name:
        provider = settings.providers
        urls += [provider.apns_production_url, provider.apns_sandbox_url, provider.fcm_url]
        assert provider.ca_file == Path("/sandbox") / CA_FILE
    assert {urlsplit(url).hostname for url in urls} <= set(SERVICES)


@pytest.mark.parametrize("name", [n for n, s in OURS.items() if "environment" in s])
def test_what_is_insecure_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process starts, and nothing is allowed that is not needed."""
    settings = _settings(OURS[name], monkeypatch)
    check_secure(settings)
    needed = {one for one, _ in insecurities(settings)}
    assert set(settings.security.insecure_allowed) == needed


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_one_that_clarion_has(name: str) -> None:
    """The command line parses, with all its options."""
    app = build()
    _command, bound, unknown, _ignored = app.parse_known_args(OURS[name]["command"])
    assert not unknown
    assert bound.arguments


def test_the_simulators_bear_the_name_that_flows_call_them() -> None:
    """Their certificate and token address are made for --host."""
    simulators = SERVICES[HOST_OF_SIMULATORS]
    assert simulators["hostname"] == HOST_OF_SIMULATORS
    assert f"--host={HOST_OF_SIMULATORS}" in simulators["command"]


def test_the_tenant_has_the_identities_that_the_simulators_know() -> None:
    """Otherwise every push would be refused."""
    apps = load_tenants(TOP / "deploy/compose/tenants")["demo"].apps
    ios, android, web = apps["ios"], apps["android"], apps["web"]
    assert isinstance(ios, ApnsApp)
    assert isinstance(android, FcmApp)
    assert isinstance(web, WebPushApp)
    assert (ios.team_id, ios.key_id, ios.topic) == (keys.TEAM_ID, keys.KEY_ID, keys.TOPIC)
    assert android.project_id == keys.PROJECT_ID
    endpoint = f"https://{HOST_OF_SIMULATORS}:8445/x"
    assert "--webpush-port=8445" in SERVICES[HOST_OF_SIMULATORS]["command"]
    assert endpoint_allowed(web, endpoint) is None
    assert web.private_network
    files = [ios.private_key.file, android.service_account.file, web.private_key.file]
    wanted = [keys.APNS_KEY_FILE, keys.FCM_FILE, keys.VAPID_FILE]
    assert files == [f"/sandbox/{name}" for name in wanted]


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"topics"}))
def test_every_lasting_service_has_a_health_check_and_is_restarted(name: str) -> None:
    """Only the service that makes the topics ends by itself."""
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_pinned_bounded_and_confined(name: str) -> None:
    """A full version, a memory limit, no capability, and no port beyond this machine."""
    service = SERVICES[name]
    assert re.search(r":v?\d+\.\d+\.\d+", service["image"])
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    if name in OURS:
        assert service["read_only"] is True
        assert service["user"] == "10001:10001"


def test_whom_a_service_waits_for_can_be_waited_for() -> None:
    """Healthy needs a health check, completed a service that ends."""
    for service in SERVICES.values():
        for other, wait in service.get("depends_on", {}).items():
            if wait["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other]
            else:
                assert (other, wait["condition"]) == ("topics", "service_completed_successfully")


def test_volumes_and_networks_are_declared() -> None:
    """Named volumes outlive containers; a misspelt one would silently be another."""
    for service in SERVICES.values():
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (
                (TOP / source).is_dir() if source.startswith(".") else source in COMPOSE["volumes"]
            )


def test_the_simulated_stack_has_no_way_out() -> None:
    """All but the API, which this machine calls, are on an internal network only."""
    assert COMPOSE["networks"]["stack"]["internal"] is True
    outside = {name for name, service in OURS.items() if service["networks"] != ["stack"]}
    assert outside == {"api"}
    assert all(port.startswith("127.0.0.1:") for port in OURS["api"]["ports"])


def test_the_health_check_of_flows_tells_sick_from_well() -> None:
    """The command of the file, run against a real health server."""
    now_s = 0.0
    health = Health("compose", lambda: 0, monotonic=lambda: now_s)
    server = HealthServer(health, list, host="127.0.0.1", port=0)
    server.start()
    test = next(iter(RUNNING.values()))["healthcheck"]["test"]
    command = [sys.executable, "-c", test[-1].replace(":9464/", f":{server.port}/")]
    try:
        well = subprocess.run(command, capture_output=True, timeout=30, check=False)
        now_s = 1_000.0
        sick = subprocess.run(command, capture_output=True, timeout=30, check=False)
    finally:
        server.stop()
    assert test[:3] == ["CMD", "python", "-c"]
    assert (well.returncode, sick.returncode) == (0, 1)
