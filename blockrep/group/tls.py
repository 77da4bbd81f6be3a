"""TLS 1.3 between members: keys are pinned, there is no authority.

The trust boundary of every connection is `peer_key`: whoever accepts a connection looks that key up
in the group document, whoever connects compares it. The certificates that a server trusts only keep
strangers out before a single byte of theirs is read.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from blockrep.errors import PeerNotTrusted
from blockrep.group.identity import Identity


def server_context(identity: Identity, trusted: Iterable[bytes]) -> ssl.SSLContext:
    """For the side that accepts; `trusted` are DER certificates of members and recovery identities.

    A client without a certificate comes through, with no `peer_key`: it may do nothing but join.
    Made anew when the members change. There are no tickets, hence no resumption: a session that was
    opened before a revocation cannot be opened again after it.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0
    _trust(context, trusted)
    _load_key(context, identity)
    return context


def client_context(
    identity: Identity | None, expected_certificate: bytes | None = None
) -> ssl.SSLContext:
    """For the side that connects; without an identity only a join is possible.

    With `expected_certificate` (DER) the handshake fails for every other server. Where only the key
    is known (a join), or nothing (a recovery), it still proves that the server has the key of its
    certificate; then `expect_peer` follows at once, or what is received is proven afterwards.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if expected_certificate is None:
        context.verify_mode = ssl.CERT_NONE
    else:
        context.verify_mode = ssl.CERT_REQUIRED
        _trust(context, [expected_certificate])
    if identity is not None:
        _load_key(context, identity)
    return context


def peer_key(connection: ssl.SSLSocket) -> bytes | None:
    """The Ed25519 key (32 bytes) of the other side; None where it showed no certificate.

    `PeerNotTrusted` for a certificate with another kind of key.
    """
    certificate = connection.getpeercert(binary_form=True)
    if not certificate:
        return None
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except Exception as error:  # of whatever kind the parser finds in a stranger's bytes
        raise PeerNotTrusted("the other side has a certificate that cannot be read") from error
    if not isinstance(key, Ed25519PublicKey):
        raise PeerNotTrusted("the other side has a certificate without an Ed25519 key")
    return key.public_bytes_raw()


def expect_peer(connection: ssl.SSLSocket, expected_key: bytes) -> None:
    """`PeerNotTrusted` unless the other side has this key. Called before anything is sent."""
    found = peer_key(connection)
    if found != expected_key:
        text = "no key" if found is None else f"the key {found.hex()[:16]}…"
        raise PeerNotTrusted(f"the other side has {text}, expected is {expected_key.hex()[:16]}…")


def _context(protocol: ssl._SSLMethod) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_COMPRESSION
    return context


def _trust(context: ssl.SSLContext, trusted: Iterable[bytes]) -> None:
    certificates = b"".join(dict.fromkeys(trusted))
    if certificates:
        context.load_verify_locations(cadata=certificates)


def _load_key(context: ssl.SSLContext, identity: Identity) -> None:
    """`ssl` takes keys from files only: this one is in memory and gone when it has been read."""
    fd = os.memfd_create("blockrep key", os.MFD_CLOEXEC)
    try:
        os.fchmod(fd, 0o600)
        _write_all(fd, _pem(identity))
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _pem(identity: Identity) -> bytes:
    key = identity.signing_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key + ssl.DER_cert_to_PEM_cert(identity.certificate).encode()


def _write_all(fd: int, data: bytes) -> None:
    done = 0
    while done < len(data):
        done += os.write(fd, data[done:])
