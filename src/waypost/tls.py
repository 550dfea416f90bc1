"""What TLS towards next hops demands of either side: the contexts of Python's `ssl`, by policy.

Owns their making. Promises: only `verify` looks at certificates, and it always does; a file that
cannot be used is a `BadTlsFile` in words.
"""

from __future__ import annotations

import ssl

from waypost.route import Tls, TlsPolicy


class BadTlsFile(ValueError):  # it reads as what it says
    """A certificate or key cannot be used; the message names the file."""


def make_context(tls: Tls) -> ssl.SSLContext:
    """The context for connections to a next hop. Reads the files it names. Raises BadTlsFile."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.policy is TlsPolicy.VERIFY:
        _trust(context, tls.ca_file)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.policy is TlsPolicy.OPPORTUNISTIC:
        # No limit, not even Debian's: a host of which we demanded better would get the mail in
        # plaintext instead, and the oldest TLS is better than none (RFC 7435 section 3).
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    else:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.client_cert is not None:
        _identify(context, tls.client_cert, tls.client_key)
    return context


def _trust(context: ssl.SSLContext, ca_file: str | None) -> None:
    if ca_file is None:
        context.load_default_certs()
        return
    try:
        context.load_verify_locations(ca_file)
    except ssl.SSLError:
        raise BadTlsFile(f"{ca_file} holds no certificate (PEM is wanted)") from None
    except OSError as error:
        raise BadTlsFile(f"{ca_file}: {error.strerror}") from None


def _identify(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    files = cert if key is None else f"{cert} with {key}"
    try:
        context.load_cert_chain(cert, key, password=_no_passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            text = f"{files}: the key is not that of the certificate"
        else:
            text = f"{files}: a certificate and its private key are wanted (PEM)"
        raise BadTlsFile(text) from None
    except OSError as error:
        raise BadTlsFile(f"{files}: {error.strerror}") from None


def _no_passphrase() -> str:
    # Else OpenSSL asks for it at the terminal.
    raise BadTlsFile("the private key of the client certificate has a passphrase; take it off")
