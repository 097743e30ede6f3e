"""Plugins that are remote services behind TLS, with a CA of their own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from mcp_service import Options, Service, serving_mcp
from remotes import remote
from serving import serving
from trees import PluginTree

from dagstack_dev.core.errors.remote import HandshakeFailed, ServerLost


def make_certificates(folder: Path) -> tuple[Path, Path]:
    """The certificate of a CA, and one that it has signed for this machine, with its key."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name, name = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in ("Our CA", "Us")
    )
    now = datetime.now(UTC)

    def certificate(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.Certificate:
        is_ca = subject == ca_name
        usage = x509.KeyUsage(
            digital_signature=not is_ca,
            key_cert_sign=is_ca,
            crl_sign=is_ca,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        address = x509.IPAddress(ip_address("127.0.0.1"))
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
        return (
            x509.CertificateBuilder(ca_name, subject, public, x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(authority, critical=False)
            .sign(ca_key, hashes.SHA256())
        )

    pem = serialization.Encoding.PEM
    ca = folder / "ca.pem"
    ca.write_bytes(certificate(ca_name, ca_key.public_key()).public_bytes(pem))
    ours = folder / "ours.pem"
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    ours.write_bytes(private + certificate(name, key.public_key()).public_bytes(pem))
    return ca, ours


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificates(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def secure(
    authority: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A server that speaks TLS."""
    folder = tmp_path_factory.mktemp("secure") / "service"
    with serving_mcp(folder, Options(certificate=authority[1])) as service:
        yield service


@pytest.fixture(autouse=True)
def no_ca_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(variable, raising=False)


async def test_the_manifest_names_the_ca_beside_it(
    tree: PluginTree, secure: Service, authority: tuple[Path, Path]
) -> None:
    manifest = remote(tree, f'mcp_http = {{ url = "{secure.url}", tls_ca_bundle = "ca.pem" }}')
    (manifest.parent / "ca.pem").write_bytes(authority[0].read_bytes())
    async with serving(tree) as live:
        assert await live.plugin("user").count() >= 1


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
async def test_the_environment_names_the_ca(
    tree: PluginTree,
    secure: Service,
    authority: tuple[Path, Path],
    variable: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, str(authority[0]))
    remote(tree, f'url = "{secure.url}"')
    async with serving(tree) as live:
        assert await live.plugin("user").count() >= 1


async def test_nothing_is_checked_where_the_manifest_says_so(
    tree: PluginTree, secure: Service
) -> None:
    remote(tree, f'mcp_http = {{ url = "{secure.url}", tls_verify = false }}')
    async with serving(tree) as live:
        assert await live.plugin("user").count() >= 1


async def test_a_certificate_that_no_ca_vouches_for_is_refused(
    tree: PluginTree, secure: Service
) -> None:
    remote(tree, f'url = "{secure.url}"')
    async with serving(tree) as live:
        error = live.status("remote", "data").error
        assert isinstance(error, HandshakeFailed)
        assert f"the certificate of {secure.url} is not trusted" in str(error)
        assert "tls_ca_bundle" in str(error)


async def test_the_wrong_scheme_is_named(
    tree: PluginTree, secure: Service, steady: Service
) -> None:
    manifest = remote(tree, f'url = "{secure.url.replace("https:", "http:")}"')
    async with serving(tree, retry_seconds=0) as live:
        error = live.status("remote", "data").error
        assert isinstance(error, ServerLost)
        assert "does it speak TLS? then write https://" in str(error)
        text = manifest.read_text(encoding="utf-8")
        written = secure.url.replace("https:", "http:")
        manifest.write_text(text.replace(written, steady.url.replace("http:", "https:")))
        await live.settle()
        assert "does not speak TLS; write http://?" in str(live.status("remote", "data").error)
