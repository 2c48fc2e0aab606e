"""A throw-away certificate authority and server certificate for 127.0.0.1 and localhost."""

import datetime as dt
import ipaddress
import ssl
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_FILE = "ca.pem"
CERTIFICATE_FILE = "server.pem"
KEY_FILE = "server.key"

VALID_DAYS = 825
CLOCK_SKEW = dt.timedelta(days=1)


def make_tls(
    directory: Path | None = None,
    *,
    names: Sequence[str] = (),
    authority: "Authority | None" = None,
) -> tuple[ssl.SSLContext, bytes]:
    """Make a certificate, by a new authority or this one; give server's context and CA to trust.

    directory: also keeps ca.pem, server.pem and server.key there (the key readable by its owner
    only), for read_tls() and read_ca() in other processes. The CA's key is never kept. names:
    host names that the certificate is for, beside localhost.
    """
    authority = authority or Authority()
    ca_pem, (certificate_pem, key_pem) = authority.pem, authority.issue(names)
    if directory is None:
        with tempfile.TemporaryDirectory(prefix="clarion-tls-") as temporary:
            _write(Path(temporary), ca_pem, certificate_pem, key_pem)
            return read_tls(Path(temporary))
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory, ca_pem, certificate_pem, key_pem)
    return read_tls(directory)


def read_tls(directory: Path) -> tuple[ssl.SSLContext, bytes]:
    """Give what make_tls() left in the directory. Raises FileNotFoundError when it is not there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.load_cert_chain(directory / CERTIFICATE_FILE, directory / KEY_FILE)
    return context, read_ca(directory)


def read_ca(directory: Path) -> bytes:
    """Give the CA certificate (PEM) for clients. Raises FileNotFoundError when it is not there."""
    return (directory / CA_FILE).read_bytes()


def _write(directory: Path, ca_pem: bytes, certificate_pem: bytes, key_pem: bytes) -> None:
    key_file = directory / KEY_FILE
    key_file.touch(mode=0o600)
    key_file.write_bytes(key_pem)
    (directory / CERTIFICATE_FILE).write_bytes(certificate_pem)
    (directory / CA_FILE).write_bytes(ca_pem)


class Authority:
    """A new certificate authority; its key stays in memory. pem: its certificate."""

    def __init__(self) -> None:
        self._now = dt.datetime.now(dt.UTC)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Clarion sandbox CA")])
        certificate = (
            _certificate(self._name, self._name, self._key.public_key(), self._now)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(ca=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        self.pem = certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, names: Sequence[str] = ()) -> tuple[bytes, bytes]:
        """Give a server's new certificate and its key, both PEM; names: as in make_tls()."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        addresses = [
            *(x509.DNSName(each) for each in dict.fromkeys(["localhost", *names])),
            x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")),
            x509.IPAddress(ipaddress.IPv6Address("::1")),
        ]
        certificate = (
            _certificate(name, self._name, key.public_key(), self._now)
            .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: dt.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + dt.timedelta(days=VALID_DAYS))
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
