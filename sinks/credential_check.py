"""Secrets to credentials, once they are keys of the kind that the app's provider takes."""

import json
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from schemas.apps import ApnsApp, App, FcmApp, WebPushApp
from sinks.credentials import ApnsCredential, Credential, FcmCredential, WebPushCredential

_NEEDED = ("client_email", "private_key", "token_uri")


class BadSecretError(ValueError):
    """A secret is missing or of the wrong kind; the message says what to do, without the secret."""


def credential_of(app: App, text: str) -> Credential:
    """Give an app's credential from its secret. Raises BadSecretError."""
    return _MAKERS[app.platform](app, text)


def fingerprint_of(credential: Credential) -> str:
    """Give SHA256:<base64> of the public key (DER, SubjectPublicKeyInfo), as ssh-keygen writes it.

    The same for the same key wherever it lies, and nothing of the private one.
    """
    if isinstance(credential, FcmCredential):
        key: Any = _service_key(credential.service_account)
    else:
        key = _p256_key(credential.private_key_pem, "a P-256 key")
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "SHA256:" + b64encode(sha256(public).digest()).rstrip(b"=").decode()


def token_uri_fault(credential: Credential, fcm_url: str) -> str | None:
    """Say why a service account that came through the API must not be used, or None.

    Clarion posts to its token_uri: it must be Google's, or at fcm_url, which an operator has set.
    """
    if not isinstance(credential, FcmCredential):
        return None
    uri = urlsplit(str(credential.service_account["token_uri"]))
    ours = urlsplit(fcm_url)
    if uri.scheme == "https" and uri.netloc.endswith(".googleapis.com"):
        return None
    if (uri.scheme, uri.netloc) == (ours.scheme, ours.netloc):
        return None
    return "its token_uri is not Google's, use the JSON file as Google Cloud made it"


def _p256_key(text: str, what: str) -> EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadSecretError(f"is no private key in PEM form, use {what}") from None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise BadSecretError(f"is not a P-256 key, use {what}")
    return key


def _p256(text: str, what: str) -> str:
    """Give the PEM text back when it is a P-256 private key."""
    _p256_key(text, what)
    return text


def _service_key(account: dict[str, Any]) -> RSAPrivateKey:
    try:
        key = load_pem_private_key(account["private_key"].encode(), password=None)
    except (ValueError, TypeError, AttributeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise BadSecretError(
            "its private_key is no RSA key in PEM form, use the JSON file as Google Cloud made it"
        )
    return key


def _apns(app: ApnsApp, text: str) -> ApnsCredential:
    return ApnsCredential(
        team_id=app.team_id,
        key_id=app.key_id,
        private_key_pem=_p256(text, "the .p8 file from Apple's developer site"),
        topic=app.topic,
    )


def _webpush(app: WebPushApp, text: str) -> WebPushCredential:
    return WebPushCredential(
        private_key_pem=_p256(text, "the VAPID key that the web app subscribed with"),
        subject=app.subject,
        allowed_hosts=app.allowed_hosts,
        private_network=app.private_network,
    )


def _fcm(app: FcmApp, text: str) -> FcmCredential:
    try:
        # Not strict: a key file on one line in a variable had its escaped line breaks undone.
        account = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        account = None
    if not isinstance(account, dict) or not all(account.get(name) for name in _NEEDED):
        raise BadSecretError("is no service account key, use the JSON file from Google Cloud")
    _service_key(account)
    return FcmCredential(project_id=app.project_id, service_account=account)


_MAKERS: dict[str, Callable[[Any, str], Credential]] = {
    "apns": _apns,
    "fcm": _fcm,
    "webpush": _webpush,
}
