"""Known vulnerabilities of what is locked: `python -m tests.audit`.

pip-audit asks OSV about each package of requirements.lock. A known vulnerability fails. When OSV
cannot be reached, nothing was checked: that is said, and does not fail, so that work without a
network goes on.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

LOCK = Path(__file__).parents[1] / "requirements.lock"
TIMEOUT_S = 300.0


class Verdict(NamedTuple):
    """What pip-audit said. failed: something is known."""

    text: str
    failed: bool


def audit(lock: Path = LOCK, *, osv_url: str = "") -> Verdict:
    """Ask about every package of a lock file."""
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service=osv", "--timeout=10",
               "--no-deps", "--disable-pip", "--format=json", "--progress-spinner=off",
               f"--requirement={lock}"]  # fmt: skip
    command += [f"--osv-url={osv_url}"] if osv_url else []
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Verdict(f"not checked: no answer within {TIMEOUT_S:.0f} s", failed=False)
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return _unusable(done.stderr)
    return judged(packages)


def _unusable(stderr: str) -> Verdict:
    """Tell a network's absence from a fault of ours, such as a missing pip-audit."""
    last = (stderr.strip().splitlines() or ["it said nothing"])[-1][:300]
    away = any(word in stderr for word in ("ConnectionError", "Timeout", "ServiceError"))
    if away:
        return Verdict(f"not checked: OSV cannot be reached ({last})", failed=False)
    return Verdict(f"pip-audit failed: {last}", failed=True)


def judged(packages: list[dict[str, Any]]) -> Verdict:
    """Judge pip-audit's JSON: its list of dependencies."""
    known = [
        f"{one['name']} {one['version']}: {vuln['id']}, fixed in {_fixes(vuln)}"
        for one in packages
        for vuln in one.get("vulns", ())
    ]
    skipped = [one["name"] for one in packages if "skip_reason" in one]
    checked = len(packages) - len(skipped)
    text = f"{checked} of {len(packages)} packages checked"
    if skipped:
        text += f"; not checked: {', '.join(sorted(skipped)[:10])}"
    return Verdict("\n".join([*known, text]), failed=bool(known))


def _fixes(vuln: dict[str, Any]) -> str:
    return " or ".join(vuln.get("fix_versions") or ["no version yet"])


def main() -> int:
    """Print the verdict; 1 when something is known."""
    verdict = audit()
    print(f"known vulnerabilities: {verdict.text}")  # noqa: T201 - a command's answer
    return int(verdict.failed)


if __name__ == "__main__":
    sys.exit(main())
