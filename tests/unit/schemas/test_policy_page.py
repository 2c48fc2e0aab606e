"""docs/policy.md: what it shows can be written."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.events import decode_event
from schemas.hooks import HookMessage, Point, Verdict
from schemas.tenant import Tenant
from tests.unit.operators.builders import event

PAGE = (Path(__file__).parents[3] / "docs/policy.md").read_text("utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=[block.split("\n", 1)[0] for block in BLOCKS])
def test_a_tenant_may_have_what_the_page_shows(block: str) -> None:
    """Each block is a part of a valid tenant."""
    shown: dict[str, Any] = yaml.safe_load(block)
    tenant = Tenant.model_validate({"name": "acme", "categories": {"news": {}}, **shown})
    assert tenant.model_fields_set >= shown.keys()


def test_the_digest_of_an_event_is_as_the_page_shows() -> None:
    """The key, an hour and a template."""
    (shown,) = re.findall(r'`"digest": (\{.*?\})`', PAGE)
    found = decode_event(event(digest=yaml.safe_load(shown)))
    assert found.digest is not None
    assert found.digest.until == "18:00"


def test_the_hook_of_the_page_says_no_to_what_is_sold_out() -> None:
    """It runs as it stands."""
    (shown,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(shown, "docs/policy.md", "exec"), names)  # noqa: S102 - our own page
    asked = [
        HookMessage(
            point=Point.BEFORE_ROUTING, tenant="acme", message_id="m", data={"stock": stock}
        )
        for stock in "01"
    ]
    assert names["stock"](asked) == [Verdict(suppress="sold out"), None]
