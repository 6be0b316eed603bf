"""nginx and Caddy, as Debian installs them, with the configurations of docs/proxy on free ports of this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.many.servers import Server, listens
from tests.stack import free_port

CONFIGURATIONS = Path(__file__).resolve().parents[2] / "docs" / "proxy"
HOST = "localhost"


class Proxy(Server):
    """In front of the web server at `upstream`, with TLS for `HOST` and a certificate that is made for it."""

    program = package = ""

    def __init__(self, upstream: int) -> None:
        found = shutil.which(self.program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if found is None:
            pytest.skip(f"{self.program} is not installed here (Debian's package is {self.package})")
        super().__init__(self.program)
        self.http_port = free_port()
        self.url = f"https://{HOST}:{self.port}"
        self.certificate, self.key = self.folder / "certificate.pem", self.folder / "key.pem"
        self._make_certificate()
        self.configure(found, upstream)

    def configure(self, program: str, upstream: int) -> None:
        """Write its files and start it."""
        raise NotImplementedError

    def _make_certificate(self) -> None:
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        self.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))


class Nginx(Proxy):
    program, package = "nginx", "nginx-light"

    def configure(self, program: str, upstream: int) -> None:
        site = adapted(
            "nginx.conf",
            {
                "server 127.0.0.1:8000;": f"server 127.0.0.1:{upstream};",
                "listen [::]:80;": "",
                "listen [::]:443 ssl http2;": "",
                "listen 80;": f"listen 127.0.0.1:{self.http_port};",
                "listen 443 ssl http2;": f"listen 127.0.0.1:{self.port} ssl http2;",
                "/etc/ssl/videos.example.org.pem": str(self.certificate),
                "/etc/ssl/videos.example.org.key": str(self.key),
                "videos.example.org": HOST,
            },
        )
        kept = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = "".join(f"{name}_temp_path {self.folder}/{name};\n" for name in kept)
        user = "user root;" if os.getuid() == 0 else ""
        main = f"daemon off; {user} pid {self.folder}/pid; worker_processes 1; events {{}}\n"
        file = self.folder / "nginx.conf"
        file.write_text(f"{main}http {{ access_log off;\n{paths}{site}}}\n")
        self.start([program, "-e", "stderr", "-p", str(self.folder), "-c", str(file)], ready=lambda: listens(self.port))


class Caddy(Proxy):
    program = package = "caddy"

    def configure(self, program: str, upstream: int) -> None:
        ports = f"http_port {self.http_port}\n\thttps_port {self.port}\n\tdefault_bind 127.0.0.1"
        file = self.folder / "Caddyfile"
        file.write_text(
            adapted(
                "Caddyfile",
                {
                    "\n\tservers {": f"\n\tadmin off\n\t{ports}\n\tservers {{\n\t\tprotocols h1 h2",
                    "\nvideos.example.org {": f"\n{HOST} {{\n\ttls {self.certificate} {self.key}",
                    "127.0.0.1:8000": f"127.0.0.1:{upstream}",
                },
            )
        )
        self.start(
            [program, "run", "--adapter", "caddyfile", "--config", str(file)],
            ready=lambda: listens(self.port),
            environment={"HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder)},
        )


def adapted(name: str, changes: Mapping[str, str]) -> str:
    """The configuration for this machine: other ports, another name and certificate, and nothing else."""
    text = (CONFIGURATIONS / name).read_text()
    for written, here in changes.items():
        assert written in text, written
        text = text.replace(written, here)
    return text
