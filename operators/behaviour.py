"""Behaviour as SQL over the tables of docs/analysts.md; the tenant is bound where it runs."""

from collections.abc import Sequence

from schemas.segment_definition import Behaviour, SegmentBody

EVERYBODY = "SELECT user_id FROM users_current UNION DISTINCT SELECT user_id FROM devices_current"


def sql_of(body: SegmentBody) -> str:
    """Give the query of a definition: its own SQL, or that of its behaviour."""
    return body.sql if body.sql is not None else behaviour_sql(body.behaviour or ())


def behaviour_sql(behaviours: Sequence[Behaviour]) -> str:
    """Give the users of whom all holds."""
    first, *others = map(_one, behaviours)
    if not others:
        return first
    also = " AND ".join(f"user_id IN ({other})" for other in others)
    return f"SELECT user_id FROM ({first}) WHERE {also}"  # noqa: S608 - names are quoted


def _one(one: Behaviour) -> str:
    at_least = one.at_least if one.at_least is not None else (1 if one.at_most is None else 0)
    if at_least:
        limits = [f"times >= {at_least}"]
        if one.at_most is not None:
            limits.append(f"times <= {one.at_most}")
        return _counted(one, " AND ".join(limits))
    more = _counted(one, f"times > {one.at_most}")
    return f"SELECT user_id FROM ({EVERYBODY}) WHERE user_id NOT IN ({more})"  # noqa: S608 - as above


def _counted(one: Behaviour, limits: str) -> str:
    """Give who did it so often: how many messages, or how many events."""
    table, what, name = (
        ("outcomes", "message_id", ("status", one.did))
        if one.did is not None
        else ("user_events", "event_id", ("name", one.event))
    )
    of_message = [("campaign_id", one.campaign), ("type", one.type), ("category", one.category)]
    wanted = " AND ".join(f"{column} = {_quoted(v)}" for column, v in of_message if v is not None)
    where = f"{name[0]} = {_quoted(name[1] or '')}"
    if wanted:
        # What apps report names the message only: its campaign stands in what was decided.
        where += f" AND message_id IN (SELECT message_id FROM outcomes WHERE {wanted})"  # noqa: S608 - as above
    return (
        f"SELECT user_id FROM (SELECT user_id, uniqExact({what}) AS times FROM {table}"  # noqa: S608 - as above
        f" WHERE {where} AND user_id != '' AND occurred_at > now() - INTERVAL {one.within_days} DAY"
        f" GROUP BY user_id HAVING {limits})"
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
