"""The viewer's server: read-only, on this machine unless told otherwise.

A page of another site that is open in the same browser must not get at the slides. It can make the browser ask this
server, even under a name of its own that it lets point here; so a server that only this machine reaches answers only
to this machine's names. Nothing is kept in the browser's cache on disk.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
import socketserver
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from slidepipe.errors import RunError
from slidepipe.slides.handles import close_borrowed
from slidepipe.viewer.answers import Answer, answer, refuse
from slidepipe.viewer.viewed_run import ViewedRun

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
"""Address that only this machine reaches."""

_IDLE_S = 60


class ViewServer(ThreadingHTTPServer):
    """Serves one run until it is closed; use ``with``, and ``serve_forever``.

    A browser keeps a few connections open, and each has a thread here that keeps its own open slides.

    Parameters
    ----------
    run
        What to show.
    host
        Address to listen on. Others than the machine's own, such as ``0.0.0.0``, let everybody who reaches the
        machine see the slides: there is no password.
    port
        Port to listen on; 0 for any that is free.

    Raises
    ------
    RunError
        If the address or port cannot be used.
    """

    daemon_threads = True

    def __init__(self, run: ViewedRun, host: str = LOOPBACK, port: int = 0) -> None:
        self.run = run
        self.is_private = _is_loopback(host)
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise RunError(f"cannot listen on {host}, port {port}: {error}: choose another port") from error

    def server_bind(self) -> None:
        """Bind without asking the network for this machine's name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    @property
    def url(self) -> str:
        """Address to open."""
        host = f"[{self.server_name}]" if ":" in self.server_name else self.server_name
        return f"http://{host}:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: ViewServer
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S

    def handle(self) -> None:
        """Answer until the browser is gone, then close the slides of this thread."""
        try:
            with contextlib.suppress(ConnectionError):
                super().handle()
        finally:
            close_borrowed()

    def do_GET(self) -> None:
        """Answer a request."""
        self._send(self._answer())

    def do_HEAD(self) -> None:
        """Answer a request without the content."""
        self._send(self._answer())

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse in plain text what the base class does not understand, methods that would change something too."""
        self.close_connection = True
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:
            status = HTTPStatus.METHOD_NOT_ALLOWED
        self._send(refuse(status, "pages are only read here, with GET or HEAD"))

    def version_string(self) -> str:
        """Name the program; which Python it runs on is nobody's business."""
        return "slidepipe"

    def log_message(self, format: str, *args: object) -> None:
        """Log requests only where somebody wants to know."""
        logger.debug("%s " + format, self.address_string(), *args)

    def _answer(self) -> Answer:
        if self.headers.get("Content-Length") or self.headers.get("Transfer-Encoding"):
            self.close_connection = True  # what follows would be read as the next request
        if self.server.is_private and not _is_loopback(_host_name(self.headers.get("Host", ""))):
            return refuse(HTTPStatus.MISDIRECTED_REQUEST, "open the address that slidepipe view printed")
        return answer(self.server.run, self.path)

    def _send(self, reply: Answer) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.media_type)
        self.send_header("Content-Length", str(len(reply.content)))
        self.send_header("Content-Security-Policy", reply.policy)
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        if reply.status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.content)


def _host_name(header: str) -> str:
    """Name in a Host header, without the port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
