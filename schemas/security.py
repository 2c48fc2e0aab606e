"""Settings about secrets and transport."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from schemas.setting_fields import Group, HttpUrl, Name, TimeoutS, split_by_commas


class Insecure(StrEnum):
    """What must be named to be allowed beyond this machine; see flows/insecure."""

    KAFKA_PLAINTEXT = "kafka_plaintext"
    KAFKA_UNVERIFIED = "kafka_unverified"
    REDIS_PLAINTEXT = "redis_plaintext"
    REDIS_UNVERIFIED = "redis_unverified"
    REDIS_NO_PASSWORD = "redis_no_password"  # noqa: S105 - a name, no secret
    CLICKHOUSE_PLAINTEXT = "clickhouse_plaintext"
    CLICKHOUSE_DEFAULT_USER = "clickhouse_default_user"
    CLICKHOUSE_NO_PASSWORD = "clickhouse_no_password"  # noqa: S105 - as above
    PROVIDERS_PLAINTEXT = "providers_plaintext"
    VAULT_PLAINTEXT = "vault_plaintext"
    PUBLIC_METRICS = "public_metrics"
    MASTER_KEY = "master_key"


class SecuritySettings(Group):
    """The master key, and what may be insecure."""

    master_key: Annotated[
        SecretStr | None,
        Field(description="base64 of 32 bytes, from `clarion secrets new-key`; or the file below"),
    ] = None
    master_keys: Annotated[
        SecretStr | None,
        Field(description="older keys, by commas, newest first: what they sealed still opens"),
    ] = None
    master_key_file: Annotated[
        Path | None, Field(description="keys instead of both, one a line, newest first")
    ] = None
    insecure_allowed: Annotated[
        tuple[Insecure, ...],
        NoDecode,
        BeforeValidator(split_by_commas),
        Field(
            max_length=len(Insecure),
            description=f"allowed beyond this machine, by commas: {', '.join(Insecure)}",
        ),
    ] = ()


class VaultSettings(Group):
    """HashiCorp Vault, KV version 2, for {external: path#field}. Unset: there is none."""

    address: Annotated[HttpUrl, Field(description="such as https://vault.example.com:8200")]
    mount: Annotated[Name, Field(description="of the KV engine")] = "secret"
    namespace: Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9_./-]*$")] = ""
    token: Annotated[SecretStr | None, Field(description="or one of the two below")] = None
    token_file: Annotated[
        Path | None, Field(description="a token that somebody renews, such as the Vault Agent")
    ] = None
    kubernetes_role: Annotated[
        str, Field(max_length=200, description="log in as this role with the pod's own token")
    ] = ""
    kubernetes_token_file: Annotated[Path, Field(description="the pod's own token")] = Path(
        "/var/run/secrets/kubernetes.io/serviceaccount/token"
    )
    ca_file: Annotated[Path | None, Field(description="PEM, for a private CA")] = None
    timeout_s: Annotated[TimeoutS, Field(description="for one answer")] = 5.0
    fresh_s: Annotated[
        float, Field(ge=1, le=86_400, description="how long a secret is taken as it was read")
    ] = 60.0
