import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest

from sandbox.fcm import Account, FcmSimulator, dead_token, live_token, make_service_account
from sandbox.fcm_oauth import GOOGLE_AUDIENCE, GRANT_TYPE
from sandbox.fcm_tokens import is_well_formed, scenario_of, scenario_token
from sandbox.http_server import Connection, Request, Response

PROJECT = "acme-shop"
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
SEND = f"/v1/projects/{PROJECT}/messages:send"
NOW_S = time.time()


@pytest.fixture(scope="module")
def keys() -> tuple[dict[str, Any], str]:
    return make_service_account(PROJECT, "http://127.0.0.1/token")


@pytest.fixture
def simulator(keys: tuple[dict[str, Any], str]) -> FcmSimulator:
    return FcmSimulator([Account.of(*keys)], now=lambda: NOW_S)


def ask(
    simulator: FcmSimulator, path: str, body: bytes, *, method: str = "POST", **headers: str
) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return simulator.handle(Request(method, path, named, body, "2", Connection("2")))


def mint(simulator: FcmSimulator, keys: tuple[dict[str, Any], str], **changes: Any) -> Response:
    account = keys[0]
    claims = {
        "iss": account["client_email"],
        "aud": GOOGLE_AUDIENCE,
        "scope": SCOPE,
        "iat": int(NOW_S),
        "exp": int(NOW_S) + 3600,
    }
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    assertion = jwt.encode(claims, account["private_key"], algorithm="RS256")
    form = urlencode({"grant_type": GRANT_TYPE, "assertion": assertion})
    return ask(simulator, "/token", form.encode())


def bearer(simulator: FcmSimulator, keys: tuple[dict[str, Any], str], **changes: Any) -> str:
    return "Bearer " + str(json.loads(mint(simulator, keys, **changes).body)["access_token"])


def send(
    simulator: FcmSimulator, authorization: str, message: object, *, path: str = SEND
) -> tuple[int, dict[str, Any]]:
    body = json.dumps({"message": message}).encode()
    headers = {"authorization": authorization, "content_type": "application/json"}
    response = ask(simulator, path, body, **headers)
    return response.status, json.loads(response.body)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"iss": "nobody@example.com"}, "invalid_grant"),
        ({"aud": "https://example.com/"}, "invalid_grant"),
        ({"exp": int(NOW_S) + 3601}, "invalid_grant"),
        ({"iat": int(NOW_S) - 7200, "exp": int(NOW_S) - 3600}, "invalid_grant"),
        ({"iat": int(NOW_S) + 600}, "invalid_grant"),
        ({"exp": None}, "invalid_grant"),
        ({"scope": ""}, "invalid_scope"),
    ],
)
def test_a_wrong_assertion_gets_no_token(
    simulator: FcmSimulator,
    keys: tuple[dict[str, Any], str],
    changes: dict[str, Any],
    problem: str,
) -> None:
    """Issuer, audience, times and scope are checked."""
    response = mint(simulator, keys, **changes)
    assert (response.status, json.loads(response.body)["error"]) == (400, problem)


def test_another_key_gets_no_token(
    simulator: FcmSimulator, keys: tuple[dict[str, Any], str]
) -> None:
    """The signature is checked against the account's public key, and only RS256 counts."""
    other, _ = make_service_account(PROJECT, "http://127.0.0.1/token")
    assert mint(simulator, (other, keys[1])).status == 400
    unsigned = jwt.encode({"iss": keys[0]["client_email"]}, "", algorithm="none")
    form = urlencode({"grant_type": GRANT_TYPE, "assertion": unsigned}).encode()
    assert ask(simulator, "/token", form).status == 400
    assert ask(simulator, "/token", b"grant_type=password").status == 400


def test_access_tokens_are_checked(
    simulator: FcmSimulator, keys: tuple[dict[str, Any], str]
) -> None:
    """A missing, unknown or narrow token and another's project are refused without an FcmError."""
    message = {"token": live_token(1)}
    for authorization in ("", "Bearer ya29.unknown", "Basic x"):
        status, body = send(simulator, authorization, message)
        assert (status, body["error"]["status"]) == (401, "UNAUTHENTICATED")
    narrow = bearer(simulator, keys, scope="https://www.googleapis.com/auth/datastore")
    assert send(simulator, narrow, message)[0] == 403
    wide = bearer(simulator, keys, scope="https://www.googleapis.com/auth/cloud-platform")
    assert send(simulator, wide, message)[0] == 200
    assert send(simulator, wide, message, path="/v1/projects/x/messages:send")[0] == 404
    assert simulator.rejected == {"UNAUTHENTICATED": 3, "PERMISSION_DENIED": 1, "NOT_FOUND": 1}


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"token": live_token(1), "titel": "x"}, "message"),
        ({"token": live_token(1), "data": {"a": 12}}, "message.data[0].value"),
        ({"token": live_token(1), "android": {"ttl": "5"}}, "message.android.ttl"),
        ({"token": live_token(1), "android": {"ttl": "2419201s"}}, "message.android.ttl"),
        ({"token": live_token(1), "android": {"priority": "TOP"}}, "message.android.priority"),
        ({"token": live_token(1), "topic": "news"}, "message.topic"),
        ({"token": 5}, "message.token"),
    ],
)
def test_a_wrong_field_is_named(
    simulator: FcmSimulator,
    keys: tuple[dict[str, Any], str],
    message: dict[str, Any],
    field: str,
) -> None:
    """400 carries a BadRequest with the field, as Google's parser words it."""
    status, body = send(simulator, bearer(simulator, keys), message)
    detail = body["error"]["details"][0]
    assert (status, detail["@type"]) == (400, "type.googleapis.com/google.rpc.BadRequest")
    assert detail["fieldViolations"][0]["field"] == field
    assert simulator.accepted == 0


@pytest.mark.parametrize(
    "message",
    [
        {"notification": {"title": "T"}},
        {"token": "short"},
        {"token": live_token(1), "data": {"gcm.x": "y"}},
        {"token": live_token(1), "data": {"k": "x" * 4096}},
        {"topic": "bad topic"},
        {"topic": "news", "data": {"k": "x" * 2048}},
    ],
)
def test_what_the_schema_cannot_say_is_refused_by_fcms_code(
    simulator: FcmSimulator, keys: tuple[dict[str, Any], str], message: dict[str, Any]
) -> None:
    """No target, a malformed token, reserved keys and sizes answer with an FcmError."""
    status, body = send(simulator, bearer(simulator, keys), message)
    assert (status, body["error"]["details"][0]["errorCode"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    "target", [{"topic": "news"}, {"condition": "'a' in topics"}, {"fid": "f" * 22}]
)
def test_other_targets_are_accepted(
    simulator: FcmSimulator, keys: tuple[dict[str, Any], str], target: dict[str, Any]
) -> None:
    """Topic, condition and installation id are targets too."""
    assert send(simulator, bearer(simulator, keys), target)[0] == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"message": null}', b'{"x": 1}'])
def test_any_body_is_survived(
    simulator: FcmSimulator, keys: tuple[dict[str, Any], str], body: bytes
) -> None:
    """What is no request at all is a 400."""
    headers = {"authorization": bearer(simulator, keys), "content_type": "application/json"}
    assert ask(simulator, SEND, body, **headers).status == 400


def test_unknown_paths_are_html(simulator: FcmSimulator) -> None:
    """A wrong path never reaches the API: the front end answers, without JSON."""
    response = ask(simulator, "/fcm/send", b"")
    assert (response.status, response.body[:9]) == (404, b"<!DOCTYPE")
    assert ask(simulator, SEND, b"", method="GET").status == 404


def test_tokens_say_their_scenario() -> None:
    """Sandbox tokens are well-formed, distinct by seed and the same in every process."""
    tokens = {scenario_token("UNREGISTERED", seed) for seed in range(100)}
    assert len(tokens) == 100
    assert all(is_well_formed(token) for token in tokens)
    assert {scenario_of(token) for token in tokens} == {"UNREGISTERED"}
    assert dead_token(7) in tokens
    assert scenario_of("e" * 22 + ":APA91b" + "x" * 134) == "LIVE"


def test_a_kept_service_account_key_is_used_again(tmp_path: Path) -> None:
    """The directory keeps the key, readable by its owner only; the token URI is the caller's."""
    first, public = make_service_account(PROJECT, "http://a/token", tmp_path)
    second, same_public = make_service_account(PROJECT, "http://b/token", tmp_path)
    assert (first["private_key"], public) == (second["private_key"], same_public)
    assert (first["token_uri"], second["token_uri"]) == ("http://a/token", "http://b/token")
    [kept] = tmp_path.iterdir()
    assert kept.stat().st_mode & 0o077 == 0
