"""Videos with a C2PA manifest, signed with a chain of certificates made for the occasion."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"


@dataclass(frozen=True)
class Authority:
    """A root that has signed a signer's certificate; PEM."""

    root: str
    chain: bytes
    key: bytes


def authority(name: str = "Example News") -> Authority:
    """Make a root and a signer, as C2PA wants them: not self-signed, for e-mail protection."""
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name, signer_name = _name(f"{name} Root"), _name(name)
    root = (
        _certificate(root_name, root_name, root_key.public_key(), is_root=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), False)
        .sign(root_key, hashes.SHA256())
    )
    signer = (
        _certificate(signer_name, root_name, key.public_key(), is_root=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), False)
        .sign(root_key, hashes.SHA256())
    )
    pem = [one.public_bytes(Encoding.PEM) for one in (signer, root)]
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Authority(root=pem[1].decode(), chain=b"".join(pem), key=private)


def signed(video: bytes, by: Authority, *, source: str = "digitalCapture", title: str = "The speech") -> bytes:
    """Return the MP4 with a manifest that says what made it."""
    manifest = {
        "claim_generator_info": [{"name": "Example Camera", "version": "2.1"}],
        "title": title,
        "assertions": [
            {
                "label": "c2pa.actions",
                "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": SOURCES + source}]},
            }
        ],
    }
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", by.chain, by.key, None))
    out = io.BytesIO()
    c2pa.Builder(json.dumps(manifest)).sign(signer, "video/mp4", io.BytesIO(video), out)
    return out.getvalue()


def broken(video: bytes) -> bytes:
    """Return the signed MP4 with a bit of its picture changed."""
    changed = bytearray(video)
    changed[changed.rfind(b"mdat") + 2000] ^= 1
    return bytes(changed)


def _name(text: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"), x509.NameAttribute(NameOID.COMMON_NAME, text)]
    )


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, is_root: bool
) -> x509.CertificateBuilder:
    usage = x509.KeyUsage(
        digital_signature=not is_root, key_cert_sign=is_root, crl_sign=is_root, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(x509.BasicConstraints(is_root, None), True)
        .add_extension(usage, True)
    )
