"""Throw-away certificates: an authority, and what it signs for one address."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LIFE = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Files:
    """Where the authority's certificate, a server's certificate and its key are (PEM)."""

    authority: Path
    certificate: Path
    key: Path


def make(folder: Path, address: str = "127.0.0.1", hosts: Sequence[str] = ()) -> Files:
    """A fresh authority, and a server's certificate for this address and these host names."""
    files = Files(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _signed("Throw-away CA", authority_key.public_key(), "Throw-away CA", authority_key)
    ours: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(address)), *map(_named, hosts)]
    names = x509.SubjectAlternativeName(ours)
    server = _signed(address, server_key.public_key(), "Throw-away CA", authority_key, names)
    files.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    files.certificate.write_bytes(server.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    files.key.write_bytes(server_key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return files


def _named(host: str) -> x509.GeneralName:
    is_address = host.replace(".", "").isdecimal()
    return x509.IPAddress(ipaddress.ip_address(host)) if is_address else x509.DNSName(host)


def _signed(
    subject: str,
    key: ec.EllipticCurvePublicKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    names: x509.SubjectAlternativeName | None = None,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - LIFE)
        .not_valid_after(now + LIFE)
        .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), critical=True)
    )
    if names is None:
        usage = x509.KeyUsage(*(name in {"digital", "cert_sign", "crl_sign"} for name in _USAGES))
        builder = builder.add_extension(usage, critical=True)
    else:
        builder = builder.add_extension(names, critical=False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
        builder = builder.add_extension(authority, critical=False)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False).sign(issuer_key, hashes.SHA256())


_USAGES = ("digital", "commitment", "key", "data", "agreement", "cert_sign", "crl_sign", "encipher", "decipher")
