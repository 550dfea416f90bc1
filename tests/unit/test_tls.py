"""The contexts of TLS by policy, and what is said about files that cannot be used."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from tests.certificates import authority
from waypost.route import Tls, TlsPolicy
from waypost.tls import BadTlsFile, make_context


@pytest.mark.parametrize("policy", [TlsPolicy.REQUIRE, TlsPolicy.VERIFY])
def test_who_demands_tls_demands_a_good_one(policy: TlsPolicy) -> None:
    assert make_context(Tls(policy)).minimum_version == ssl.TLSVersion.TLSv1_2


def test_only_verify_looks_at_certificates() -> None:
    checks = {policy: make_context(Tls(policy)) for policy in TlsPolicy}
    assert {
        policy
        for policy, context in checks.items()
        if context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
    } == {TlsPolicy.VERIFY}


def test_a_ca_file_replaces_the_authorities_of_the_system(tmp_path: Path) -> None:
    ca_file = authority().write_ca(tmp_path)
    context = make_context(Tls(TlsPolicy.VERIFY, ca_file=str(ca_file)))
    assert len(context.get_ca_certs()) == 1


def test_certificate_and_key_may_be_in_one_file(tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    authority().ca.issue_cert("mx.mydomain.net").private_key_and_cert_chain_pem.write_to_path(both)
    make_context(Tls(TlsPolicy.REQUIRE, client_cert=str(both)))


def refusal(tls: Tls) -> str:
    with pytest.raises(BadTlsFile) as caught:
        make_context(tls)
    return str(caught.value)


def test_what_is_no_authority(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    for path, told in [
        (empty, "holds no certificate (PEM is wanted)"),
        (tmp_path, ": Is a directory"),
        (tmp_path / "none", ": No such file or directory"),
    ]:
        said = refusal(Tls(TlsPolicy.VERIFY, ca_file=str(path)))
        assert said == f"{path}{told if told.startswith(':') else f' {told}'}"


def test_what_is_no_client_certificate(tmp_path: Path) -> None:
    cert, key = authority().write_client_cert(tmp_path)
    other, none = tmp_path / "other", tmp_path / "none"
    trustme.CA().private_key_pem.write_to_path(other)
    wanted = ": a certificate and its private key are wanted (PEM)"
    for files, told in [
        ((cert, None), wanted),
        ((key, cert), wanted),
        ((cert, other), ": the key is not that of the certificate"),
        ((none, key), ": No such file or directory"),
        ((cert, none), ": No such file or directory"),
    ]:
        first, second = files
        key_file = None if second is None else str(second)
        tls = Tls(TlsPolicy.REQUIRE, client_cert=str(first), client_key=key_file)
        named = f"{first}" if second is None else f"{first} with {second}"
        assert refusal(tls) == named + told


def test_nobody_is_asked_for_a_passphrase(tmp_path: Path) -> None:
    cert, key = authority().write_client_cert(tmp_path)
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    told = refusal(Tls(TlsPolicy.REQUIRE, client_cert=str(cert), client_key=str(key)))
    assert told == "the private key of the client certificate has a passphrase; take it off"
