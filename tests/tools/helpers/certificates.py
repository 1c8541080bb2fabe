"""Certificates that sign themselves, by openssl."""

from helpers.commands import run


def certify(certificate, key, address="127.0.0.1", *options):
    """Writes the certificate of a server at this address, and its key."""
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=test",
        "-addext", f"subjectAltName=IP:{address}", *options, "-keyout", key, "-out", certificate)
