import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from flows.health import Health, HealthServer

TOP = Path(__file__).parents[3]
DOCKERFILE = (TOP / "deploy/Dockerfile").read_text()
_PIN = re.compile(r"^([a-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)


def _pins(path: str) -> dict[str, str]:
    return dict(_PIN.findall((TOP / path).read_text()))


def _stage(name: str) -> str:
    """Give the text of one stage."""
    return re.split(r"^FROM ", DOCKERFILE.split(f" AS {name}\n")[1], flags=re.MULTILINE)[0]


def test_the_image_holds_what_the_tests_ran_with() -> None:
    """The image's locks are subsets of the lock that everything is tested with."""
    tested = _pins("requirements.lock").items()
    assert _pins("deploy/requirements.lock").items() <= tested
    assert _pins("deploy/requirements-sandbox.lock").items() <= tested


def test_the_locks_are_up_to_date() -> None:
    """Every dependency that pyproject.toml names is in the image's lock, in a fitting version."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    pins = _pins("deploy/requirements.lock")
    for requirement in project["dependencies"]:
        found = re.match(r"([a-z0-9-]+)(?:\[[a-z0-9]+\])?([=>]=)([0-9.]+)$", requirement)
        assert found
        name, relation, version = found.groups()
        if relation == "==":
            assert pins[name] == version
        else:
            assert _numbers(pins[name]) >= _numbers(version)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def test_every_download_is_checked_by_hash() -> None:
    """Each pin of each lock has hashes, and pip is told to insist on them."""
    for name in ("requirements", "requirements-sandbox", "requirements-build"):
        text = (TOP / f"deploy/{name}.lock").read_text()
        for entry in re.split(r"\n(?=[a-z])", text.strip()):
            assert "--hash=sha256:" in entry
    for install in re.findall(r"pip [^&]*-r [^&]*", DOCKERFILE.replace("\\\n", " ")):
        assert "--require-hashes" in install


def test_the_image_runs_as_nobody_in_particular_and_hears_sigterm() -> None:
    """A numeric user other than root, no shell between the signal and the process."""
    base = _stage("base")
    assert "USER 10001:10001" in base
    assert "STOPSIGNAL SIGTERM" in base
    assert 'ENTRYPOINT ["clarion"]' in base
    for name in ("runtime", "sandbox"):
        assert "RUN" not in _stage(name)
        assert "USER" not in _stage(name)


def test_base_images_are_pinned() -> None:
    """One base, with its full version."""
    pinned = re.search(
        r"^ARG PYTHON_IMAGE=python:(\d+\.\d+\.\d+)-slim-\w+", DOCKERFILE, re.MULTILINE
    )
    assert pinned
    foreign = set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) - {"build", "base"}
    assert foreign == {"${PYTHON_IMAGE}"}


def test_the_builder_is_sent_all_packages_and_no_secret() -> None:
    """The ignore file lets in what the wheel is made of, and nothing by default."""
    lines = (TOP / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    project = tomllib.loads((TOP / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], "pyproject.toml", project["project"]["readme"], "deploy"}
    assert {rule[1:] for rule in rules if rule.startswith("!")} == needed
    assert {"**/.env*", "**/*.pem", "**/*.p8", "**/*.key", "deploy/tenants"} <= set(rules)


def test_the_images_health_check_tells_sick_from_well() -> None:
    """It asks the port that the settings name; run here against a real health server."""
    now_s = 0.0
    health = Health("image", lambda: 0, monotonic=lambda: now_s)
    server = HealthServer(health, list, host="127.0.0.1", port=0)
    server.start()
    command = json.loads(re.findall(r"CMD (\[.*\])", _stage("runtime"))[0])
    environment = {**os.environ, "CLARION_OBSERVABILITY__METRICS_PORT": str(server.port)}

    def check() -> int:
        command_here = [sys.executable, *command[1:]]
        return subprocess.run(
            command_here, env=environment, capture_output=True, timeout=30, check=False
        ).returncode

    try:
        well = check()
        now_s = 1_000.0
        sick = check()
    finally:
        server.stop()
    assert (well, sick) == (0, 1)
