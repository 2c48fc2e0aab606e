"""The archive of a broker's classes, made from one short run of a broker."""

import os
import tempfile
from pathlib import Path

from tests.servers.apache_kafka import ApacheKafka
from tests.servers.install import class_archive, kafka_jars


def make_class_archive() -> None:
    """Make the archive unless it is there. Raises StartError, InstallError."""
    archive = class_archive(kafka_jars())
    if archive.exists():
        return
    made = archive.with_suffix(f".{os.getpid()}")
    with tempfile.TemporaryDirectory(prefix="clarion-kafka-") as directory:
        # A JVM that ends by itself writes what it has loaded.
        kafka = ApacheKafka(Path(directory), jvm=[f"-XX:ArchiveClassesAtExit={made}"])
        try:
            kafka.start()
            kafka.stop(0)
        finally:
            kafka.stop()
    # Without the file this Java keeps no archives, and brokers start without.
    if made.exists():
        made.rename(archive)
