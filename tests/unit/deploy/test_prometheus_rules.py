import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram

from schemas import metrics
from schemas.outcomes import Reason, Status
from schemas.pipeline import Priority

TOP = Path(__file__).parents[3]
HERE = TOP / "deploy/prometheus"
SUFFIXES = {Counter: ("_total",), Gauge: ("",), Histogram: ("_bucket", "_sum", "_count")}
TARGET_LABELS = {"job", "instance", "service", "le"}
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((HERE / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]


def _series() -> dict[str, set[str]]:
    """Give every series that a flow exposes, with its labels."""
    return {
        metric._name + suffix: set(metric._labelnames)
        for metric in vars(metrics).values()
        if isinstance(metric, Counter | Gauge | Histogram)
        for suffix in SUFFIXES[type(metric)]
    }


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_rules_use_metrics_and_labels_that_exist(rule: dict[str, Any]) -> None:
    """A misspelt name would never fire."""
    known = _series()
    used = re.findall(r"\bclarion_\w+", rule["expr"])
    assert used or rule["alert"] == "ClarionNotScraped"
    assert set(used) <= set(known)
    labels = set(re.findall(r"(\w+)(?:=~?|!~?=?)\"", rule["expr"]))
    for inside in re.findall(r"by \(([^)]*)\)", rule["expr"]):
        labels |= set(inside.replace(" ", "").split(","))
    shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert labels | shown <= set().union(TARGET_LABELS, *(known[name] for name in used))


def test_rules_use_values_that_flows_give() -> None:
    """Statuses, reasons and priorities in selectors are those of the vocabulary."""
    words: dict[str, list[str]] = {
        "status": [*Status],
        "reason": [*Reason],
        "priority": [*Priority],
    }
    for rule in RULES:
        if "clarion_api_" in rule["expr"]:
            continue  # its status is HTTP's
        for label, pattern in re.findall(r"(\w+)(?:=~|!~|=)\"([^\"]+)\"", rule["expr"]):
            for alternative in pattern.split("|"):
                if label in words:
                    assert any(re.fullmatch(alternative, word) for word in words[label])


def test_rules_say_what_happened_and_how_urgent_it_is() -> None:
    """Each has a summary and one of two severities, and a line in the operators' page."""
    page = (TOP / "docs/deploy.md").read_text()
    for rule in RULES:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]
        assert rule["alert"] in page


def test_every_flow_is_scraped() -> None:
    """The targets are the API and the flows of docker-compose.yml, on the default metrics port."""
    config = yaml.safe_load((HERE / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    services = yaml.safe_load((TOP / "docker-compose.yml").read_text())["services"]
    flows = [n for n, s in services.items() if s.get("command", [])[:2] == ["flows", "run"]]
    targets = jobs["clarion"]["static_configs"][0]["targets"]
    assert sorted(targets) == sorted(["api:8080", *(f"{name}:9464" for name in flows)])
    assert config["rule_files"] == ["alerts.yml"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_rules_fire_when_they_should() -> None:
    """The rules' own tests, run by Prometheus's tool."""
    command = ["promtool", "test", "rules", "alerts.test.yml"]
    done = subprocess.run(
        command, cwd=HERE, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
