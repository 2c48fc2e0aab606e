"""A process's settings: from the environment, CLARION_<GROUP>__<NAME>, and nowhere else.

Importing this module reads nothing; load_settings() reads the environment once.
"""

import difflib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings.exceptions import SettingsError as UnreadableError

from schemas.decode import details_of, remedy
from schemas.fields import LOG_LEVEL_PATTERN, ORIGIN_PATTERN, REDIS_URL_PATTERN
from schemas.pipeline import FAST, Priority
from schemas.security import SecuritySettings, VaultSettings
from schemas.setting_fields import Group as _Group
from schemas.setting_fields import HttpUrl as _HttpUrl
from schemas.setting_fields import Name as _Name
from schemas.setting_fields import Port as _Port
from schemas.setting_fields import TimeoutS as _TimeoutS
from schemas.setting_fields import split_by_commas

PREFIX = "CLARION_"
CLIENT_VARIABLE = "CLARION_API"
"""Where clients find the API; no setting, though it looks like the group of that name."""


class BadSettingsError(ValueError):
    """A setting is wrong; the message has one line for each, with its variable's name."""


class KafkaSettings(_Group):
    """The broker and the names that this process bears there."""

    bootstrap: Annotated[
        str, Field(min_length=1, max_length=2_000, description="host:port, several by commas")
    ] = "127.0.0.1:9092"
    options: dict[str, str] = Field(
        default_factory=dict,
        max_length=100,
        repr=False,
        description="more librdkafka options as JSON, such as security.protocol and sasl.*",
    )
    group_prefix: Annotated[_Name, Field(description="before every consumer group")] = "clarion"
    transactional_id_prefix: Annotated[
        _Name, Field(description="before every transactional id")
    ] = "clarion"
    instance: Annotated[
        _Name,
        Field(description="this process among its like, unique and the same after a restart"),
    ] = "0"

    def client_options(self) -> dict[str, str]:
        """Give the librdkafka options that every client needs."""
        return {**self.options, "bootstrap.servers": self.bootstrap}


class RedisSettings(_Group):
    """Shared state: Redis or Valkey."""

    url: Annotated[
        str,
        Field(
            max_length=500,
            pattern=REDIS_URL_PATTERN,
            repr=False,
            description="redis://, rediss:// (TLS) or unix://, with user and password if any",
        ),
    ] = "redis://127.0.0.1:6379/0"
    cluster: Annotated[bool, Field(description="the URL is a node of a Redis Cluster")] = False
    timeout_s: Annotated[_TimeoutS, Field(description="for one answer")] = 2.0
    connect_timeout_s: Annotated[_TimeoutS, Field(description="for one connection")] = 1.0
    retries: Annotated[int, Field(ge=0, le=10, description="after a lost connection")] = 2
    max_connections: Annotated[int, Field(ge=1, le=10_000, description="of this process")] = 64


class ClickHouseSettings(_Group):
    """Analytics: ClickHouse over HTTP."""

    url: Annotated[_HttpUrl, Field(description="of the HTTP interface")] = "http://127.0.0.1:8123"
    user: Annotated[str, Field(min_length=1, max_length=100)] = "default"
    password: SecretStr = SecretStr("")
    database: Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "clarion"
    connect_timeout_s: Annotated[_TimeoutS, Field(description="for one connection")] = 5.0
    query_timeout_s: Annotated[_TimeoutS, Field(description="for one query or insert")] = 60.0
    ca_file: Annotated[Path | None, Field(description="PEM, for a private CA")] = None


class FlowSettings(_Group):
    """What a flow serves and in which portions."""

    priorities: Annotated[
        tuple[Priority, ...],
        NoDecode,
        BeforeValidator(split_by_commas),
        Field(min_length=1, max_length=4, description="served by this process, by commas"),
    ] = tuple(Priority)
    epoch_ms: Annotated[
        int | None,
        Field(
            ge=5,
            le=10_000,
            description="between checkpoints; unset: 20 when only critical and high are served,"
            " else 200",
        ),
    ] = None
    batch_size: Annotated[int, Field(ge=1, le=100_000, description="messages read at once")] = 2_000
    chunk_users: Annotated[
        int, Field(ge=1, le=100_000, description="users routed at once, of a large audience")
    ] = 1_000
    in_flight: Annotated[
        int,
        Field(
            ge=1,
            le=100_000,
            description="requests to a provider under way at most; an eighth more if urgent",
        ),
    ] = 1_000

    @property
    def checkpoint_ms(self) -> int:
        """Give the time between checkpoints that applies."""
        if self.epoch_ms is not None:
            return self.epoch_ms
        return 20 if set(self.priorities) <= FAST else 200


class TimerSettings(_Group):
    """The timer wheel's shape; all processes must agree on it."""

    slots: Annotated[
        int,
        Field(
            ge=16,
            le=4_096,
            description="partitions of the timers topic: a quarter of them are far slots",
        ),
    ] = 480
    slot_s: Annotated[
        float, Field(ge=0.05, le=10_000_000, description="seconds due in one near slot")
    ] = 2.0


class ProviderSettings(_Group):
    """Where the push providers are; other URLs are for the simulators."""

    apns_production_url: _HttpUrl = "https://api.push.apple.com"
    apns_sandbox_url: _HttpUrl = "https://api.sandbox.push.apple.com"
    fcm_url: _HttpUrl = "https://fcm.googleapis.com"
    ca_file: Annotated[
        Path | None, Field(description="PEM, trusted instead of the system's certificates")
    ] = None
    connections: Annotated[int, Field(ge=1, le=1_000, description="to each provider")] = 2
    request_timeout_s: Annotated[_TimeoutS, Field(description="for one answer")] = 10.0


class ObservabilitySettings(_Group):
    """Metrics and logs."""

    metrics_host: Annotated[str, Field(min_length=1, max_length=253)] = "127.0.0.1"
    metrics_port: Annotated[_Port, Field(description="0 takes any free one")] = 9_464
    log_level: Annotated[str, Field(pattern=LOG_LEVEL_PATTERN, description="debug to error")] = (
        "info"
    )
    json_logs: Annotated[bool, Field(description="one JSON object a line; else for people")] = True


class ApiSettings(_Group):
    """The HTTP API."""

    public_url: Annotated[
        str | None,
        Field(
            max_length=300,
            pattern=ORIGIN_PATTERN,
            description="where people reach it, for links that it makes, such as"
            " https://n.example.com; when unset, as the request that made the link came in",
        ),
    ] = None
    cors_origins: Annotated[
        tuple[Annotated[str, Field(max_length=300, pattern=ORIGIN_PATTERN)], ...],
        NoDecode,
        BeforeValidator(split_by_commas),
        Field(
            max_length=100,
            description="whose pages may call it from a browser, by commas, such as"
            " https://shop.example.com",
        ),
    ] = ()


class ClockSettings(_Group):
    """A warped clock for the sandbox: a day in minutes. Unset, the clock is the machine's.

    Until wall-clock time wall_origin_ms it stands at origin_ms; then it runs `speed` times as fast.
    """

    origin_ms: Annotated[int, Field(ge=0, description="what it shows at wall_origin_ms")]
    wall_origin_ms: Annotated[int, Field(ge=0, description="real time, epoch milliseconds")]
    speed: Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)] = 1.0

    def at(self, wall_ms: int) -> int:
        """Give the time shown at a real time; both in epoch milliseconds."""
        return self.origin_ms + int(max(0, wall_ms - self.wall_origin_ms) * self.speed)


class Settings(BaseSettings):
    """All settings of a process."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    redis: RedisSettings = Field(default_factory=RedisSettings)
    clickhouse: ClickHouseSettings = Field(default_factory=ClickHouseSettings)
    flow: FlowSettings = Field(default_factory=FlowSettings)
    timers: TimerSettings = Field(default_factory=TimerSettings)
    providers: ProviderSettings = Field(default_factory=ProviderSettings)
    observability: ObservabilitySettings = Field(default_factory=ObservabilitySettings)
    security: SecuritySettings = Field(default_factory=SecuritySettings)
    vault: VaultSettings | None = None
    api: ApiSettings = Field(default_factory=ApiSettings)
    clock: ClockSettings | None = None
    tenants_dir: Annotated[Path, Field(description="one YAML file for each tenant")] = Path(
        "deploy/tenants"
    )

    @classmethod
    def settings_customise_sources(  # noqa: D102 - pydantic's own hook
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del settings_cls, dotenv_settings, file_secret_settings
        if isinstance(env_settings, EnvSettingsSource):
            # CLARION_API is the API's address for clients, and no group as JSON.
            env_settings.env_vars = {
                name: value
                for name, value in env_settings.env_vars.items()
                if name.upper() != CLIENT_VARIABLE
            }
        return init_settings, env_settings


def load_settings(**given: Any) -> Settings:
    """Read the environment. given: groups or values that win over it, such as kafka={...}.

    Raises BadSettingsError with a line for each fault. Values are never repeated in it.
    """
    faults = list(_unknown_variables(os.environ))
    try:
        settings = Settings(**given)
    except UnreadableError:
        faults = [*_not_json(os.environ), *faults]
    except ValidationError as error:
        faults = [_fault(detail) for detail in details_of(error) if not _misspelt(detail)] + faults
    if faults:
        raise BadSettingsError("\n".join(faults))
    return settings


def _fault(detail: ErrorDetails) -> str:
    path = [str(part) for part in detail["loc"][:2]]
    return f"{variable(*path)}: {remedy(Settings, detail)}"


def _misspelt(detail: ErrorDetails) -> bool:
    """Tell what _unknown_variables reports better; keywords of load_settings are not there."""
    path = [str(part) for part in detail["loc"]]
    return detail["type"] == "extra_forbidden" and variable(*path) in map(str.upper, os.environ)


def _not_json(environ: Mapping[str, str]) -> Iterable[str]:
    """Find variables for whole groups and mappings that hold no JSON object."""
    objects = {variable(name) for name in Settings.model_fields} | {variable("kafka", "options")}
    objects.discard(CLIENT_VARIABLE)
    for name, text in environ.items():
        if name.upper() in objects:
            try:
                json.loads(text)
            except ValueError:
                yield f"{name}: write a JSON object"


def variable(*path: str) -> str:
    """Give the environment variable of a setting."""
    return PREFIX + "__".join(path).upper()


def as_environment(settings: Settings) -> dict[str, str]:
    """Give the variables from which load_settings makes the same settings, for child processes.

    Secrets are in it in the clear.
    """
    found: dict[str, str] = {}
    for name, group in settings:
        if isinstance(group, _Group):
            for part, value in group:
                if value is not None:
                    found[variable(name, part)] = _text(value)
        elif group is not None:
            found[variable(name)] = _text(group)
    return found


def _text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return ",".join(value)
    return json.dumps(value) if isinstance(value, (dict, bool)) else str(value)


def _unknown_variables(names: Iterable[str]) -> Iterable[str]:
    """Find misspelt variables: those of Clarion's form, with "__", that are no setting.

    Others that begin with CLARION_ may be Kubernetes' own, such as CLARION_SERVICE_HOST.
    """
    known = set(variables())
    for name in sorted(names):
        if name.upper().startswith(PREFIX) and "__" in name and name.upper() not in known:
            close = difflib.get_close_matches(name.upper(), known, n=1)
            yield f"{name}: is no setting, " + (
                f"did you mean {close[0]}?" if close else "remove it"
            )


def variables() -> list[str]:
    """Give the names of all variables."""
    names: list[str] = []
    for name, field in Settings.model_fields.items():
        if (group := group_of(field.annotation)) is None:
            names.append(variable(name))
        else:
            names.extend(variable(name, part) for part in group.model_fields)
    return names


def group_of(annotation: Any) -> type[BaseModel] | None:
    """Give the group's model of a field of Settings, None for a single value."""
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, _Group):
            return candidate
    return None
