"""Settings: what the environment gives, and how faults are told."""

import os

import pytest

from schemas.pipeline import Priority
from schemas.settings import (
    PREFIX,
    BadSettingsError,
    ClockSettings,
    FlowSettings,
    as_environment,
    load_settings,
    variables,
)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


def test_nothing_set_means_this_machine() -> None:
    """Without a variable everything is on the loopback interface."""
    settings = load_settings()
    assert settings.kafka.client_options() == {"bootstrap.servers": "127.0.0.1:9092"}
    assert settings.clock is None


def test_variables_are_read_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """load_settings reads the environment of that moment."""
    monkeypatch.setenv("CLARION_KAFKA__BOOTSTRAP", "k1:9092")
    monkeypatch.setenv("CLARION_KAFKA__OPTIONS", '{"security.protocol": "SASL_SSL"}')
    monkeypatch.setenv("CLARION_FLOW__PRIORITIES", "critical, high")
    settings = load_settings()
    assert settings.kafka.client_options() == {
        "bootstrap.servers": "k1:9092",
        "security.protocol": "SASL_SSL",
    }
    assert settings.flow.priorities == (Priority.CRITICAL, Priority.HIGH)


def test_given_values_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox overrides single values and keeps the others."""
    monkeypatch.setenv("CLARION_KAFKA__BOOTSTRAP", "k1:9092")
    monkeypatch.setenv("CLARION_KAFKA__INSTANCE", "7")
    settings = load_settings(kafka={"bootstrap": "k2:9092"})
    assert (settings.kafka.bootstrap, settings.kafka.instance) == ("k2:9092", "7")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("KAFKA__BOOTSRAP", "x", "is no setting, did you mean CLARION_KAFKA__BOOTSTRAP?"),
        ("KAFKA__OPTIONS", "{bad", "write a JSON object"),
        ("KAFKA", "x", "write a JSON object"),
        ("FLOW__PRIORITIES", "critical,hgh", "must be 'critical', 'high', 'normal' or 'low'"),
        ("FLOW__PRIORITIES", "[", "write names with commas between"),
        ("FLOW__EPOCH_MS", "1", "must be greater than or equal to 5"),
        ("REDIS__URL", "localhost", "use a redis://, rediss:// or unix:// URL"),
        ("REDIS__TIMEOUT_S", "-1", "must be greater than 0"),
        ("OBSERVABILITY__LOG_LEVEL", "loud", "use debug, info, warning or error"),
        ("PROVIDERS__FCM_URL", "fcm", "use an http:// or https:// URL"),
    ],
)
def test_fault_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    """A process does not start on a setting that it cannot use, or that is misspelt."""
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(BadSettingsError) as caught:
        load_settings()
    assert f"CLARION_{name}: {expected}" in str(caught.value)


def test_all_faults_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line for each, without the values."""
    monkeypatch.setenv("CLARION_REDIS__URL", "s3cret")
    monkeypatch.setenv("CLARION_CLICKHOUSE__DATABASE", "a b")
    monkeypatch.setenv("CLARION_CLICKHOUS__USER", "x")
    with pytest.raises(BadSettingsError) as caught:
        load_settings()
    assert len(str(caught.value).splitlines()) == 3
    assert "s3cret" not in str(caught.value)


def test_misspelt_keyword_is_told() -> None:
    """load_settings(kafka={"boot": ...}) is no silent default."""
    with pytest.raises(BadSettingsError, match="CLARION_KAFKA__BOOT: is no field here"):
        load_settings(kafka={"boot": "x"})


def test_kubernetes_own_variables_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Service named clarion makes CLARION_SERVICE_HOST; that stops nothing."""
    monkeypatch.setenv("CLARION_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("CLARION_PORT_80_TCP_ADDR", "10.0.0.1")
    assert load_settings() == load_settings()


def test_environment_carries_settings_to_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """What as_environment writes, load_settings reads back the same."""
    settings = load_settings(
        kafka={"options": {"sasl.password": "p"}},
        clickhouse={"password": "geheim"},
        flow={"priorities": ["low"], "epoch_ms": 50},
        clock={"origin_ms": 1, "wall_origin_ms": 2, "speed": 60.0},
        providers={"ca_file": "/tmp/ca.pem"},  # noqa: S108 - never opened
    )
    for name, value in as_environment(settings).items():
        assert name in variables()
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


def test_secrets_do_not_show() -> None:
    """Passwords stay out of repr, and so out of logs."""
    settings = load_settings(
        kafka={"options": {"sasl.password": "geheim"}},
        clickhouse={"password": "geheim"},
        redis={"url": "redis://:geheim@h:1/0"},
    )
    assert "geheim" not in repr(settings)


@pytest.mark.parametrize(
    ("priorities", "epoch_ms", "expected"),
    [(("critical", "high"), None, 20), (("high", "low"), None, 200), (("low",), 30, 30)],
)
def test_checkpoints_follow_the_priorities(
    priorities: tuple[str, ...], epoch_ms: int | None, expected: int
) -> None:
    """Fast priorities commit every 20 ms, others every 200, unless said otherwise."""
    settings = FlowSettings.model_validate({"priorities": priorities, "epoch_ms": epoch_ms})
    assert settings.checkpoint_ms == expected


def test_warped_clock_runs_at_its_speed() -> None:
    """Ten real seconds at speed 60 are ten minutes."""
    clock = ClockSettings(origin_ms=1_000_000, wall_origin_ms=5_000, speed=60)
    assert clock.at(5_000) == 1_000_000
    assert clock.at(15_000) == 1_600_000
