"""The OpenAPI document and the API agree, whatever is asked: requests made up by Schemathesis."""

import os
import re
from collections.abc import Iterator

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.web.door import Door

EXAMPLES = int(os.environ.get("CLARION_TEST_SCHEMA_EXAMPLES", "5"))
"""Of each route and mode; more find more, and take longer."""
HEADERS = {"Authorization": "Bearer test:acme:admin"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
once = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)


def faults(app: FastAPI, mode: GenerationMode) -> Iterator[str]:
    """Ask every route, EXAMPLES times each; tell which answers are none of the document's."""
    schema = schemathesis.openapi.from_asgi("/v1/openapi.json", app)
    for found in schema.get_all_operations():
        operation = found.ok()

        @once
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Case) -> None:
            case.call_and_validate(headers=HEADERS, checks=CHECKS)

        try:
            ask()
        except BaseExceptionGroup as group:
            yield f"{operation.label}: {told(group)}"
        except Unsatisfiable:
            continue  # a route without parameters has no wrong ones
        except Exception as error:  # noqa: BLE001 - all routes are looked at before it fails
            yield f"{operation.label}: {told(error)}"


def told(error: BaseException) -> str:
    """Give what a group of failures says, once, with the request that shows it."""
    inner = [told(one) for one in getattr(error, "exceptions", ())]
    if not inner:
        return f"{type(error).__name__}: {error}"
    shown = re.findall(r"curl .*", str(error))
    return "\n  ".join(dict.fromkeys([*inner, *shown]))


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_answers_are_as_documented(app: FastAPI, door: Door, mode: GenerationMode) -> None:
    """No server error; status, content type and body are in the document."""
    with door.clickhouse():
        pass  # started before the first request, which would else be 503 while it is not
    found = list(faults(app, mode))
    assert not found, "\n\n".join(found)
