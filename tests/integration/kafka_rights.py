"""The rights that docs/security.md lists for each process, as access control lists of Kafka."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from schemas.pipeline import Platform
from tests.integration.security_page import PAGE

HEADER = "| process | reads | writes |\n|---|---|---|\n"
OPERATOR = "operator's commands"
WITHOUT_TRANSACTIONS = ("registry", "outcomes")
CLUSTER = "kafka-cluster"  # what Kafka calls the one resource of this kind


class Rights(NamedTuple):
    """A row of the table. topics may end in an asterisk."""

    process: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def rights() -> dict[str, Rights]:
    """Give the table's rows by process; deliver has one for each platform."""
    rows = PAGE.partition(HEADER)[2].partition("\n\n")[0].splitlines()
    found: dict[str, Rights] = {}
    for row in rows:
        name, reads, writes = (cell.strip() for cell in row.strip("|").split("|"))
        topics = [tuple(re.findall("`([^`]+)`", cell)) for cell in (reads, writes)]
        if name == "deliver of a platform":
            for platform in Platform:
                own = [_of(platform, each) for each in topics]
                found[f"deliver.{platform}"] = Rights(f"deliver.{platform}", *own)
        else:
            name = name.strip("`")
            found[name] = Rights(name, *topics)
    return found


def _of(platform: Platform, topics: Sequence[str]) -> tuple[str, ...]:
    return tuple(topic.replace("<platform>", platform) for topic in topics)


def acls(row: Rights, principal: str) -> Iterator[AclBinding]:
    """Give what the page says that a row means. principal: such as "User:clarion-route"."""

    def allow(
        kind: ResourceType, name: str, *operations: AclOperation, is_prefix: bool = False
    ) -> Iterator[AclBinding]:
        pattern = ResourcePatternType.PREFIXED if is_prefix else ResourcePatternType.LITERAL
        for operation in operations:
            yield AclBinding(
                kind, name, pattern, principal, "*", operation, AclPermissionType.ALLOW
            )

    for topics, operation in ((row.reads, AclOperation.READ), (row.writes, AclOperation.WRITE)):
        for topic in topics:
            yield from allow(
                ResourceType.TOPIC,
                topic.removesuffix("*"),
                *(operation, AclOperation.DESCRIBE),
                is_prefix=topic.endswith("*"),
            )
    name = f"clarion.{row.process}"
    match row.process:
        case "api":
            yield from allow(ResourceType.TOPIC, "*", AclOperation.DESCRIBE)
        case "clarion flows topics":
            operations = (AclOperation.CREATE, AclOperation.DESCRIBE_CONFIGS)
            yield from allow(ResourceType.BROKER, CLUSTER, *operations)
        case _:
            group, name = ("clarion", "clarion.dlq") if row.process == OPERATOR else (name, name)
            yield from allow(ResourceType.GROUP, group, AclOperation.READ, is_prefix=True)
            if row.process in WITHOUT_TRANSACTIONS:
                return
            operations = (AclOperation.WRITE, AclOperation.DESCRIBE)
            yield from allow(ResourceType.TRANSACTIONAL_ID, name, *operations, is_prefix=True)
