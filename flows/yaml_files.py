"""YAML files read strictly: no repeated keys, no aliases, bounded in size and depth."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

MAX_FILE_BYTES = 1_048_576
MAX_DEPTH = 20


class BadYamlError(ValueError):
    """The file cannot be read; the message says where in it and what to do."""


class _StrictLoader(yaml.SafeLoader):
    """YAML's plain types. Its own default keeps the last of repeated keys without a word."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node unless it is an alias or nested too deep."""
        if self.check_event(yaml.AliasEvent):
            raise BadYamlError(f"line {self.line + 1}: write the value out instead of an alias (*)")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise BadYamlError(f"line {self.line + 1}: nest at most {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        """Construct a mapping whose keys differ."""
        seen: set[str] = set()
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise BadYamlError(f"line {line}: use plain text as a key")
            if key.value in seen:
                raise BadYamlError(f"line {line}: {key.value[:60]!r} is there twice, keep one")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Read one file. Raises BadYamlError, whatever is in it or however it cannot be read."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BadYamlError(f"cannot be read: {error.strerror}") from None
    if len(raw) > MAX_FILE_BYTES:
        raise BadYamlError(f"has more than {MAX_FILE_BYTES} bytes: make it smaller")
    try:
        return yaml.load(raw, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader made stricter
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise BadYamlError(f"{line}not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, BadYamlError):
            raise
        raise BadYamlError(f"not YAML: {str(error).splitlines()[0][:200]}") from None
