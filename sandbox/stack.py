"""The embedded stack: stores, simulators and every flow, each a child process of this one."""

import json
import os
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import yaml

from flows.setup import prepare_stores
from sandbox.broker import EmbeddedBroker
from sandbox.keys import SandboxKeys, make_keys
from sandbox.misbehave import BEHAVE_PATH, SEEN_PATH
from sandbox.processes import Child, StartError, accepts, claim_port, free_port
from sandbox.tls import CA_FILE
from sandbox.valkey import EmbeddedValkey
from schemas.pipeline import FAST, Platform, Priority
from schemas.settings import Settings, as_environment, load_settings

ASK_TIMEOUT_S = 60.0
NOT_DURABLE = (
    "The embedded broker and Valkey keep data in memory: they survive no crash. "
    "Point CLARION_KAFKA__BOOTSTRAP and CLARION_REDIS__URL to real ones for anything that matters."
)


class Server(Protocol):
    """A store that the stack starts."""

    def start(self) -> str:
        """Start it and wait until it serves. Gives its address as clients take it."""
        ...

    def stop(self) -> None:
        """End it."""
        ...


class FlowSpec(NamedTuple):
    """One flow process."""

    name: str
    platform: Platform | None
    priorities: Sequence[Priority]

    @property
    def label(self) -> str:
        """Name it among its like."""
        parts = [self.name, *([self.platform] if self.platform else [])]
        if len(self.priorities) < len(Priority):
            parts.append("fast" if set(self.priorities) <= FAST else "bulk")
        return "-".join(parts)


ALL = tuple(Priority)
FLOWS = (
    FlowSpec("registry", None, ALL),
    FlowSpec("route", None, (Priority.CRITICAL, Priority.HIGH)),
    FlowSpec("route", None, (Priority.NORMAL, Priority.LOW)),
    FlowSpec("timers", None, ALL),
    FlowSpec("campaigns", None, ALL),
    *(FlowSpec("deliver", platform, ALL) for platform in Platform),
    FlowSpec("outcomes", None, ALL),
)


@dataclass(frozen=True)
class Ports:
    """Wanted ports; 0 picks free ones."""

    kafka: int = 0
    redis: int = 0
    clickhouse: int = 0
    apns: int = 0
    fcm: int = 0
    webpush: int = 0
    api: int = 0


@dataclass
class Stack:
    """The stack in a directory. tenant: makes a tenant's YAML content from the sandbox's keys.

    kafka, redis: other servers than the embedded ones.
    """

    directory: Path
    tenant: Callable[[SandboxKeys], Mapping[str, Any]]
    ports: Ports = Ports()
    options: Mapping[str, Any] = field(default_factory=dict)
    flows: Sequence[FlowSpec] = FLOWS
    partitions: int = 4
    kafka: Server | None = None
    redis: Server | None = None

    def __post_init__(self) -> None:
        self._children: list[Child] = []
        self._flows: list[Child] = []
        self._starting: list[tuple[Child, int]] = []
        self._broker: Server = self.kafka or EmbeddedBroker(
            self.directory / "kafka", port=self.ports.kafka
        )
        self._valkey: Server = self.redis or EmbeddedValkey(
            self.directory / "redis", port=self.ports.redis
        )
        self.simulator_ports: dict[Platform, int] = {}
        self.metrics_ports: dict[str, int] = {}
        self.keys: SandboxKeys | None = None
        self.settings: Settings | None = None

    def start_stores(self) -> Settings:
        """Start broker, Valkey, ClickHouse and simulators; make topics and tables.

        Raises StartError (PortTakenError for a taken port), naming the part.
        """
        simulators = {p: claim_port(p, getattr(self.ports, p)) for p in Platform}
        clickhouse_port = claim_port("clickhouse", self.ports.clickhouse)
        bootstrap = self._broker.start()
        redis_url = self._valkey.start()
        self.simulator_ports = simulators
        urls = {p: f"https://127.0.0.1:{port}" for p, port in simulators.items()}
        self.keys = make_keys(self.directory / "keys", fcm_url=urls[Platform.FCM])
        self._write_tenant(self.keys)
        self._python(
            "clickhouse",
            clickhouse_port,
            "sandbox.clickhouse",
            *("--port", str(clickhouse_port)),
            *("--data-dir", str(self.directory / "clickhouse")),
        )
        for platform, port in simulators.items():
            self._python(
                f"simulator-{platform}",
                port,
                *("api", "sandbox", "simulators", "--dir", str(self.keys.directory)),
                *("--only", platform, f"--{platform}-port", str(port)),
            )
        for child, port in self._starting:
            child.wait_until(partial(accepts, port))
        self.settings = load_settings(
            kafka={"bootstrap": bootstrap},
            redis={"url": redis_url},
            clickhouse={"url": f"http://127.0.0.1:{clickhouse_port}"},
            providers={
                "apns_production_url": urls[Platform.APNS],
                "apns_sandbox_url": urls[Platform.APNS],
                "fcm_url": urls[Platform.FCM],
                "ca_file": self.keys.directory / CA_FILE,
            },
            security={"master_key_file": self.keys.master_key_file},
            tenants_dir=self.directory / "tenants",
            **self.options,
        )
        for _made in prepare_stores(self.settings, partitions=self.partitions, replicas=1):
            pass
        return self.settings

    def start_flows(self) -> None:
        """Start every flow and wait until all are ready. Raises StartError."""
        self.launch_flows()
        self.await_flows()

    def launch_flows(self) -> None:
        """Start every flow; await_flows() then waits."""
        for spec in self.flows:
            self.start_flow(spec)

    def start_api(self, *, workers: int = 1) -> str:
        """Start the HTTP API and wait until it answers. Returns its URL."""
        if self.settings is None:
            raise RuntimeError("start_stores() comes first")
        port = claim_port("api", self.ports.api)
        child = Child(
            "api",
            [sys.executable, "-m", "api", "api", "--port", str(port), "--workers", str(workers)],
            log=self.directory / "logs" / "api.log",
            env=self._environment(as_environment(self.settings)),
        )
        self._children.append(child)
        child.start()
        child.wait_until(partial(is_ready, port))
        return f"http://127.0.0.1:{port}"

    def await_flows(self) -> None:
        """Wait until all flows are ready. Raises StartError."""
        for child, port in zip(self._flows, self.metrics_ports.values(), strict=True):
            child.wait_until(partial(is_ready, port))

    def start_flow(self, spec: FlowSpec, *, label: str = "") -> Child:
        """Start one flow process; does not wait. label: another instance than the spec's own."""
        if self.settings is None:
            raise RuntimeError("start_stores() comes first")
        port = free_port()
        label = label or spec.label
        settings = self.settings.model_copy(
            update={
                "kafka": self.settings.kafka.model_copy(update={"instance": label}),
                "flow": self.settings.flow.model_copy(update={"priorities": spec.priorities}),
                "observability": self.settings.observability.model_copy(
                    update={"metrics_port": port}
                ),
            }
        )
        command = [sys.executable, "-m", "api", "flows", "run", spec.name]
        if spec.platform is not None:
            command += ["--platform", spec.platform]
        child = Child(
            label,
            command,
            log=self.directory / "logs" / f"{label}.log",
            env=self._environment(as_environment(settings)),
        )
        child.start()
        self._flows.append(child)
        self.metrics_ports[label] = port
        return child

    def child(self, name: str) -> Child:
        """Give a store's or simulator's process, such as "clickhouse". Raises KeyError."""
        return {child.name: child for child in self._children}[name]

    def stop_child(self, name: str) -> None:
        """End a store, a simulator or the API. Raises KeyError."""
        child = self.child(name)
        child.stop()
        self._children.remove(child)

    def command(self, *arguments: str) -> Child:
        """Start a command of the CLI with the stack's settings; the caller ends it."""
        if self.settings is None:
            raise RuntimeError("start_stores() comes first")
        name = "-".join(arguments)
        child = Child(
            name,
            [sys.executable, "-m", "api", *arguments],
            log=self.directory / "logs" / f"{name}.log",
            env=self._environment(as_environment(self.settings)),
        )
        child.start()
        return child

    def ask(self, *arguments: str) -> str:
        """Run a command of the CLI with the stack's settings to its end; give what it printed.

        Raises StartError when it does not end in time.
        """
        if self.settings is None:
            raise RuntimeError("start_stores() comes first")
        try:
            done = subprocess.run(  # noqa: S603 - our own command, no shell
                [sys.executable, "-m", "api", *arguments],
                capture_output=True,
                text=True,
                env=self._environment(as_environment(self.settings)),
                timeout=ASK_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise StartError(f"clarion {arguments[0]} took over {ASK_TIMEOUT_S} s") from error
        return done.stdout or done.stderr

    def failed(self) -> str:
        """Name a child that ended by itself, with its last words, or give an empty string."""
        for child in [*self._children, *self._flows]:
            code = child.returncode()
            if code is not None:
                return f"{child.name} ended with code {code}: {child.tail()}"
        return ""

    def lag(self) -> int:
        """Sum up what all flows say they have not read yet."""
        return sum(read_lag(port) for port in self.metrics_ports.values())

    def stats(self, platform: Platform) -> dict[str, Any]:
        """Ask a simulator what it counted."""
        return self._ask(platform, "/sandbox/stats")

    def seen(self, platform: Platform) -> dict[str, Any]:
        """Ask a simulator that remembers which messages came how often; see sandbox/misbehave."""
        return self._ask(platform, SEEN_PATH)

    def behave(self, platform: Platform, **behaviour: Any) -> dict[str, Any]:
        """Set a simulator's behaviour; gives what it counted under the one before."""
        return self._ask(platform, BEHAVE_PATH, json.dumps(behaviour).encode())

    def _ask(self, platform: Platform, path: str, body: bytes | None = None) -> dict[str, Any]:
        if self.keys is None:
            raise RuntimeError("start_stores() comes first")
        context = ssl.create_default_context(cafile=str(self.keys.directory / CA_FILE))
        url = f"https://127.0.0.1:{self.simulator_ports[platform]}{path}"
        with urllib.request.urlopen(url, body, timeout=30, context=context) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def stop_flows(self) -> None:
        """Let every flow drain and commit, then end."""
        for child in self._flows:
            child.ask_to_stop()
        for child in self._flows:
            child.stop()
        self._flows = []
        self.metrics_ports = {}

    def stop(self) -> None:
        """End everything, flows first."""
        self.stop_flows()
        for child in self._children:
            child.ask_to_stop()
        for child in self._children:
            child.stop()
        self._children = []
        self._valkey.stop()
        self._broker.stop()

    def _python(self, name: str, port: int, module: str, *arguments: str) -> None:
        child = Child(
            name,
            [sys.executable, "-m", module, *arguments],
            log=self.directory / "logs" / f"{name}.log",
            env=self._environment({}),
        )
        self._children.append(child)
        child.start()
        self._starting.append((child, port))

    def _write_tenant(self, keys: SandboxKeys) -> None:
        content = self.tenant(keys)
        path = self.directory / "tenants" / f"{content['name']}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True))

    @staticmethod
    def _environment(own: Mapping[str, str]) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("CLARION_")}
        return {**kept, **own}


def is_ready(port: int) -> bool:
    """Ask the readiness endpoint of a flow or the API."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
            return True
    except OSError:
        return False


def read_lag(port: int) -> int:
    """Ask a flow's metrics for the records that it has not read yet."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("clarion_lag_records{"):
                return int(float(line.rpartition(" ")[2]))
    return 0
