"""Gets the real servers that tests run on: `python -m tests.servers.install`.

Apache Kafka comes through Maven, once for each content of tests/pom.xml; Redis from Debian.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sandbox.processes import StartError

POM = Path(__file__).parents[1] / "pom.xml"
INSTALL_TIMEOUT_S = 600.0


class InstallError(RuntimeError):
    """A server is missing and could not be installed; the message says what to do."""


def kafka_jars() -> Path:
    """Give the directory of Kafka's jars, copied there when missing. Raises InstallError."""
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()[:12]
    jars = _cache_dir() / f"kafka-{digest}"
    if jars.is_dir():
        return jars
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            raise InstallError(
                f"{program} is not on the PATH; a real Kafka needs Java 17 or newer and Maven"
            )
    jars.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=jars.parent, prefix="kafka-") as started:
        copied = Path(started) / "jars"
        _run("mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies",
             "-DincludeScope=runtime", f"-DoutputDirectory={copied}")  # fmt: skip
        try:
            copied.rename(jars)
        except OSError:  # another run was first
            if not jars.is_dir():
                raise
    return jars


def class_archive(jars: Path) -> Path:
    """Give where the classes that a broker loads lie ready; without it a start takes twice as long.

    Source: https://docs.oracle.com/en/java/javase/17/vm/class-data-sharing.html
    """
    return jars.with_name(f"{jars.name}.jsa")


def redis_server() -> Path:
    """Give the path of redis-server, installed from Debian when missing. Raises InstallError."""
    found = shutil.which("redis-server")
    if found is None:
        advice = "install redis-server (Debian: apt-get install redis-server)"
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            raise InstallError(f"redis-server is not on the PATH: {advice}")
        _run("apt-get", "update", "-q")
        # Only the program: no service is started, also where there is an init system.
        _run("apt-get", "install", "-q", "-y", "--no-install-recommends", "redis-server")
        found = shutil.which("redis-server")
        if found is None:
            raise InstallError(f"apt-get installed no redis-server: {advice}")
    return Path(found)


def _cache_dir() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clarion"


def _run(*command: str) -> None:
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    try:
        done = subprocess.run(  # noqa: PLW1510 - its output belongs in the error
            command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, env=quiet
        )
    except subprocess.TimeoutExpired as error:
        raise InstallError(
            f"{' '.join(command)} took more than {INSTALL_TIMEOUT_S:.0f} s"
        ) from error
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise InstallError(f"{' '.join(command)} failed with code {done.returncode}:\n{said}")


def main() -> int:
    """Install what is missing and say where it is."""
    # Not on top: it needs this module.
    from tests.servers.kafka_archive import make_class_archive  # noqa: PLC0415

    try:
        make_class_archive()
        print(f"Kafka: {kafka_jars()}\nRedis: {redis_server()}")  # noqa: T201 - a command's answer
    except (InstallError, StartError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command's answer
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
