"""A template tried out: a message of it for one reader, as a real one would be."""

from collections.abc import Mapping
from typing import Any

from operators.template_plan import Plan
from operators.templates import USER
from operators.work import Draft
from schemas.pipeline import Notice, Platform, Priority
from schemas.template import Template
from schemas.tenant import Tenant
from state.profiles import Device, Profile

SAMPLE = "sample"


def sample_draft(
    tenant: Tenant,
    template: Template,
    variables: Mapping[str, Any],
    *,
    now_ms: int,
    priority: Priority = Priority.NORMAL,
    category: str = "",
) -> Draft:
    """Make a draft of this very version. variables: instead of the template's own examples.

    category: one of the tenant's, its first without one.
    """
    name = category or next(iter(tenant.categories))
    notice = Notice(
        message_id=SAMPLE,
        tenant=tenant.name,
        type=SAMPLE,
        category=name,
        priority=priority,
        accepted_at_ms=now_ms,
        created_at_ms=now_ms,
        template=SAMPLE,
        template_version=template.version,
        variables=dict(variables),
    )
    draft = Draft(notice, tenant, tenant.categories[name])
    draft.plan = Plan(template, tenant.locale)
    return draft


def sample_reader(template: Template, locale: str, time_zone: str = "") -> Profile:
    """Make a reader with the attributes that the template's examples give its user."""
    attributes = template.variables.get(USER)
    return Profile(
        SAMPLE,
        1,
        locale=locale,
        time_zone=time_zone,
        attributes=attributes if isinstance(attributes, dict) else {},
    )


def sample_device(platform: Platform) -> Device:
    """Make a device of a platform."""
    return Device(SAMPLE, platform, "", "", 0)
