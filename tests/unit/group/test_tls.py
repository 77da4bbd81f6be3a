"""Pinned keys over real sockets: who comes through, and who does not."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from tls_pairs import TIMEOUT_S, connected, echo, listening

from blockrep.errors import PeerNotTrusted, RecordDamaged
from blockrep.group.certificate import check_certificate
from blockrep.group.identity import Identity, identity_from_seed, new_identity
from blockrep.group.tls import client_context, expect_peer, peer_key, server_context

ALICE, BOB, EVE = (identity_from_seed(bytes([n] * 32)) for n in (1, 2, 3))
TRUSTED = [ALICE.certificate, BOB.certificate]


def refused_by_server(server: ssl.SSLContext, client: ssl.SSLContext) -> Exception | None:
    """Connect and fail; what the server's side says about it."""
    with (
        listening(server) as (address, served),
        pytest.raises((ssl.SSLError, ConnectionError)),
        connected(address, client) as connection,
    ):
        echo(connection)
    return served.error


def test_both_sides_know_each_other() -> None:
    with (
        listening(server_context(ALICE, TRUSTED)) as (address, served),
        connected(address, client_context(BOB, ALICE.certificate)) as connection,
    ):
        expect_peer(connection, ALICE.key)
        assert echo(connection) == b"x"
        assert connection.version() == "TLSv1.3"
        assert served.connection is not None
        assert peer_key(served.connection) == BOB.key
        assert connection.session is None or not connection.session.has_ticket


@pytest.mark.parametrize("trusted", [TRUSTED, [ALICE.certificate], []])
def test_a_key_that_is_unknown_or_was_revoked(trusted: list[bytes]) -> None:
    stranger = EVE if trusted == TRUSTED else BOB
    refusal = refused_by_server(server_context(ALICE, trusted), client_context(stranger))
    assert isinstance(refusal, ssl.SSLCertVerificationError)


def test_the_clients_side_refuses_another_server() -> None:
    context = client_context(BOB, ALICE.certificate)
    with (
        listening(server_context(EVE, TRUSTED)) as (address, _),
        pytest.raises(ssl.SSLCertVerificationError),
        connected(address, context),
    ):
        pass


def test_the_key_alone_is_enough_to_refuse_another_server() -> None:
    with (
        listening(server_context(EVE, TRUSTED)) as (address, _),
        connected(address, client_context(None)) as connection,
    ):
        with pytest.raises(PeerNotTrusted, match="expected"):
            expect_peer(connection, ALICE.key)
        expect_peer(connection, EVE.key)


def test_without_a_certificate_a_client_has_no_key() -> None:
    with (
        listening(server_context(ALICE, TRUSTED)) as (address, served),
        connected(address, client_context(None)) as connection,
    ):
        assert echo(connection) == b"x"
        assert served.connection is not None
        assert peer_key(served.connection) is None
        with pytest.raises(PeerNotTrusted, match="no key"):
            expect_peer(served.connection, BOB.key)


def test_tls_1_2_is_refused() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    refusal = refused_by_server(server_context(ALICE, TRUSTED), context)
    assert isinstance(refusal, ssl.SSLError)


def test_a_server_of_tls_1_2_is_refused() -> None:
    context = server_context(ALICE, TRUSTED)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        listening(context) as (address, _),
        pytest.raises(ssl.SSLError),
        connected(address, client_context(BOB)),
    ):
        pass


def test_plain_tcp_is_refused() -> None:
    with listening(server_context(ALICE, TRUSTED)) as (address, served):
        received = b""
        with (
            socket.create_connection(address, TIMEOUT_S) as raw,
            contextlib.suppress(ConnectionError),
        ):
            raw.sendall(b"BLKRWIRE" * 8)
            while data := raw.recv(100):
                received += data
    assert isinstance(served.error, ssl.SSLError)
    assert len(received) <= 7, "more than an alert"


def test_a_member_cannot_vouch_for_another_key() -> None:
    """A certificate of Eve's key, issued by Bob: the layer of certificates may not take it."""
    refusal = refused_by_server(server_context(ALICE, TRUSTED), client_context(_issued(EVE, BOB)))
    assert isinstance(refusal, ssl.SSLCertVerificationError)


def test_a_certificate_of_another_kind_of_key() -> None:
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    now = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now.replace(year=2100))
    certificate = builder.sign(key, SHA256()).public_bytes(Encoding.DER)

    class Connection:
        def getpeercert(self, *, binary_form: bool) -> bytes:
            return certificate if binary_form else b""

    with pytest.raises(PeerNotTrusted, match="Ed25519"):
        peer_key(Connection())  # type: ignore[arg-type]


def test_no_key_is_left_in_a_file_or_a_descriptor() -> None:
    before = set(Path("/proc/self/fd").iterdir())
    server_context(ALICE, TRUSTED)
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_a_certificate_is_a_function_of_its_key() -> None:
    check_certificate(ALICE.certificate, ALICE.key)
    assert identity_from_seed(ALICE.seed) == ALICE
    parsed = x509.load_der_x509_certificate(ALICE.certificate)
    parsed.verify_directly_issued_by(parsed)
    assert parsed.not_valid_before_utc.year == 1970
    assert parsed.not_valid_after_utc.year == 9999
    with pytest.raises(RecordDamaged):
        check_certificate(ALICE.certificate, BOB.key)
    with pytest.raises(RecordDamaged):
        check_certificate(_issued(BOB, BOB).certificate, BOB.key)


@pytest.mark.parametrize("at", [0, 20, 200, 320, -1])
def test_no_byte_of_a_certificate_can_be_changed(at: int) -> None:
    changed = bytearray(ALICE.certificate)
    changed[at] ^= 1
    with pytest.raises(RecordDamaged):
        check_certificate(bytes(changed), ALICE.key)


def test_secrets_are_not_in_the_repr() -> None:
    identity = new_identity()
    assert identity.seed.hex() not in repr(identity)
    assert repr(identity.seed) not in repr(identity)


def _issued(subject: Identity, issuer: Identity) -> Identity:
    """`subject` with a certificate that `issuer` signed, and that may sign others."""
    names = [
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, who.key.hex())])
        for who in (issuer, subject)
    ]
    key = Ed25519PrivateKey.from_private_bytes(subject.seed)
    now = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(
        *names, key.public_key(), 5, now, now.replace(year=2100)
    ).add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
    signed = builder.sign(issuer.signing_key(), None)
    return Identity(subject.seed, subject.key, signed.public_bytes(Encoding.DER))
