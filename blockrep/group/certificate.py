"""The certificate that a key has: a function of the key, so that nothing in it can lie.

The fields are those of docs/group-format.md. A reader never parses one: it builds the certificate
that the key must have, and compares.
"""

from __future__ import annotations

import datetime
import functools
import hashlib

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from blockrep.errors import RecordDamaged

MAX_CERTIFICATE_BYTES = 1024
SIGNATURE_BYTES = 64

_VALID_FROM = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_VALID_UNTIL = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)


def build_certificate(signing_key: Ed25519PrivateKey) -> bytes:
    """DER of the self-signed certificate; the same bytes every time."""
    return _signed(signing_key.public_key(), signing_key).public_bytes(Encoding.DER)


@functools.lru_cache(maxsize=256)
def check_certificate(certificate: bytes, key: bytes) -> None:
    """`RecordDamaged` unless `certificate` is the one that `key` (32 bytes) has."""
    public_key = Ed25519PublicKey.from_public_bytes(key)
    # Everything but the signature at its end is known, and that is checked as a signature.
    model = _signed(public_key, Ed25519PrivateKey.from_private_bytes(bytes(32)))
    expected = model.public_bytes(Encoding.DER)[:-SIGNATURE_BYTES]
    signature = certificate[-SIGNATURE_BYTES:]
    if certificate[:-SIGNATURE_BYTES] != expected:
        raise RecordDamaged("a certificate is not the one that its key has")
    try:
        public_key.verify(signature, model.tbs_certificate_bytes)
    except InvalidSignature as error:
        raise RecordDamaged("a certificate is not signed by its own key") from error


def _signed(public_key: Ed25519PublicKey, signing_key: Ed25519PrivateKey) -> x509.Certificate:
    key = public_key.public_bytes_raw()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, key.hex())])
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=public_key,
        serial_number=_serial(key),
        not_valid_before=_VALID_FROM,
        not_valid_after=_VALID_UNTIL,
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
    return builder.add_extension(_DIGITAL_SIGNATURE, True).sign(signing_key, None)


def _serial(key: bytes) -> int:
    digest = hashlib.sha256(b"blockrep certificate 1\0" + key).digest()[:16]
    return int.from_bytes(digest, "big") & ~(1 << 127) | 1 << 126


_DIGITAL_SIGNATURE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
