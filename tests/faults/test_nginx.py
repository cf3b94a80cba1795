"""The lines for nginx in docs/reliability.md, run as they stand there, in front of one site."""

from __future__ import annotations

import datetime
import json
import re
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from openrouter_app.conf import Settings
from openrouter_app.testing import Gate
from project.children import ROOT, Child, running
from project.listening import free_port
from tests.faults.bed import Bed
from tests.followers import until

PROGRAM = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
needs_nginx = pytest.mark.skipif(PROGRAM is None, reason="nginx is not installed: apt-get install nginx")
TEXT = (ROOT / "docs" / "reliability.md").read_text()
[LINES] = re.findall(r"^```nginx\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
AROUND = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream app {{ server 127.0.0.1:{site}; }}
    server {{
        listen 127.0.0.1:{port}{tls};
{lines}
    }}
}}
"""
TLS = " ssl; ssl_certificate {folder}/certificate.pem; ssl_certificate_key {folder}/key.pem"


class Nginx(Child):
    """In front of a site, with the lines of the docs and what must stand around them."""

    def __init__(self, folder: Path, site: int, *, tls: bool = False) -> None:
        assert PROGRAM
        self.folder = folder
        self.port = free_port()
        self.address = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        folder.mkdir()
        config = folder / "nginx.conf"
        given = TLS.format(folder=folder) if tls else ""
        config.write_text(AROUND.format(folder=folder, site=site, port=self.port, tls=given, lines=LINES))
        super().__init__([PROGRAM, "-p", str(folder), "-e", "stderr", "-c", str(config)], log=folder / "log")

    def is_listening(self) -> bool:
        assert self.is_running, self.said()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@asynccontextmanager
async def in_front(site: int, folder: Path, *, tls: bool = False) -> AsyncIterator[Nginx]:
    nginx = Nginx(folder / "nginx", site, tls=tls)
    if tls:
        certify(nginx.folder)
    with running(nginx):
        await until(nginx.is_listening)
        yield nginx


def certify(folder: Path) -> None:
    """A key and a certificate that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "certificate.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, *plain))


async def greeting(nginx: Nginx, origin: str) -> str:
    """What a page from this origin is told first. Raises `InvalidStatus` where it is refused."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    address = nginx.address.replace("http", "ws", 1) + "/ws/openrouter/"
    is_secure = address.startswith("wss")
    async with connect(address, origin=origin, proxy=None, ssl=trusting if is_secure else None) as page:
        return json.loads(await page.recv())["type"]


@needs_nginx
async def test_answer_comes_through_while_it_is_written(bed: Bed, tmp_path):
    gate, end = Gate(), Gate()
    bed.provider.reply("one ", gate, "two ", end, "three", delay=0)
    site = await bed.site()
    async with in_front(site.port, tmp_path) as nginx:
        page = await bed.page(site, through=nginx)
        run = await page.start()
        await page.says(run, "one ")
        gate.open()
        await page.says(run, "one two ")
        assert page.status(run) == "running"
        end.open()
        assert (await page.ended(run))["output"] == "one two three"
        assert page.connections == 1
        await bed.check()


@needs_nginx
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_only_pages_of_its_own_address_are_let_in(bed: Bed, tmp_path, tls):
    site = await bed.site()
    async with in_front(site.port, tmp_path, tls=tls) as nginx:
        assert await greeting(nginx, nginx.address) == "hello"
        other_port = nginx.address.replace(str(nginx.port), "1")
        other_scheme = f"http{'' if tls else 's'}://127.0.0.1:{nginx.port}"
        for origin in ("https://evil.example", other_port, other_scheme, site.address):
            with pytest.raises(InvalidStatus) as caught:
                await greeting(nginx, origin)
            assert caught.value.response.status_code == 403, origin


def test_nginx_waits_longer_than_pages_and_server_are_silent():
    [seconds] = re.findall(r"proxy_read_timeout (\d+)s;", LINES)
    assert int(seconds) > 2 * Settings().HEARTBEAT
    assert int(seconds) > 2 * uvicorn.Config("").ws_ping_interval
