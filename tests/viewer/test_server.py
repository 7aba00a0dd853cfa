"""The viewer on a socket."""

import http.client
import socket
import threading
from collections.abc import Mapping
from urllib.request import urlopen

import pytest

from slidepipe.errors import RunError
from slidepipe.viewer.server import ViewServer
from slidepipe.viewer.viewed_run import ViewedRun


def _ask(
    server: ViewServer, method: str, target: str, headers: Mapping[str, str] = {}, body: bytes | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    try:
        connection.request(method, target, body, dict(headers))
        reply = connection.getresponse()
        return reply, reply.read()
    finally:
        connection.close()


def test_only_this_machine_is_listened_to(server: ViewServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.server_port}/"
    with urlopen(server.url) as page:
        assert page.status == 200


def test_every_answer_forbids_what_no_page_needs(server: ViewServer) -> None:
    for target in ("/", "/slides/tumor%201/", "/static/viewer.js", "/nothing"):
        reply, _ = _ask(server, "GET", target)
        policy = reply.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; ")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["Referrer-Policy"] == "no-referrer"
        assert reply.headers["Server"] == "slidepipe"


def test_the_report_keeps_its_own_policy(server: ViewServer) -> None:
    reply, _ = _ask(server, "GET", "/report.html")
    assert "script-src" not in reply.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in reply.headers["Content-Security-Policy"]


def test_head_tells_the_length_and_sends_nothing(server: ViewServer) -> None:
    full, content = _ask(server, "GET", "/")
    reply, nothing = _ask(server, "HEAD", "/")
    assert reply.status == 200
    assert nothing == b""
    assert reply.headers["Content-Length"] == full.headers["Content-Length"] == str(len(content))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"])
def test_nothing_can_be_changed(server: ViewServer, method: str) -> None:
    reply, content = _ask(server, method, "/", body=b"x=1")
    assert reply.status == 405
    assert reply.headers["Allow"] == "GET, HEAD"
    assert reply.headers["Connection"] == "close"
    assert b"<" not in content


@pytest.mark.parametrize(
    "target", ["/../../../../etc/passwd", "/static/%2e%2e/%2e%2e/server.py", "/slides/%2e%2e/"]
)
def test_what_is_outside_stays_outside(server: ViewServer, target: str) -> None:
    assert _ask(server, "GET", target)[0].status == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", ""]
)
def test_a_foreign_name_that_points_here_gets_nothing(server: ViewServer, host: str) -> None:
    reply, content = _ask(server, "GET", "/", {"Host": host})
    assert reply.status == 421
    assert b"tumor" not in content


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "127.0.0.1", "[::1]:8000", "LOCALHOST"])
def test_this_machines_names_are_known_also_through_a_forwarded_port(server: ViewServer, host: str) -> None:
    assert _ask(server, "GET", "/", {"Host": host})[0].status == 200


def test_who_is_told_to_listen_to_others_answers_to_any_name(run: ViewedRun) -> None:
    with ViewServer(run, "0.0.0.0") as server:
        assert not server.is_private
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            assert _ask(server, "GET", "/", {"Host": "workstation.example"})[0].status == 200
        finally:
            server.shutdown()
            thread.join()


def test_a_request_with_a_body_does_not_smuggle_another(server: ViewServer) -> None:
    smuggled = b"GET /report.html HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as client:
        head = f"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(smuggled)}\r\n\r\n"
        client.sendall(head.encode() + smuggled)
        received = b""
        try:
            while part := client.recv(65536):
                received += part
        except ConnectionResetError:
            pass
    assert received.count(b"HTTP/1.1 200") <= 1
    assert b"the report" not in received


def test_nonsense_and_a_client_that_leaves_do_no_harm(
    server: ViewServer, capfd: pytest.CaptureFixture[str]
) -> None:
    for nonsense in (
        b"\x00\xff\xfe\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /slides/tumor%201/ HT",
    ):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as client:
            client.sendall(nonsense)
    assert _ask(server, "GET", "/")[0].status == 200
    assert "Traceback" not in capfd.readouterr().err


def test_several_squares_at_once_are_the_same_as_one_by_one(server: ViewServer) -> None:
    targets = [
        f"/slides/tumor%201/image_files/11/{column}_{row}.jpeg" for column in range(3) for row in range(3)
    ]
    single = [_ask(server, "GET", target)[1] for target in targets]
    together: dict[str, bytes] = {}

    def fetch(target: str) -> None:
        together[target] = _ask(server, "GET", target)[1]

    threads = [threading.Thread(target=fetch, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[target] for target in targets] == single
    assert all(content.startswith(b"\xff\xd8") for content in single)


def test_a_port_that_is_taken_is_told(server: ViewServer, run: ViewedRun) -> None:
    with pytest.raises(RunError, match="choose another port"):
        ViewServer(run, port=server.server_port)
    with pytest.raises(RunError, match="cannot listen"):
        ViewServer(run, port=70_000)
