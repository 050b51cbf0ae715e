"""The server of the page: its files, and two requests, `/hear` and `/table`.

It keeps nothing: a sound is read into memory, heard, and let go with its answer. Nothing of it is written or logged.
"""

import errno
import ipaddress
import json
import re
import select
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from io import BytesIO
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qs

from ..errors import UserError
from ..files import to_json_text
from ..tagging.tagger import Tagger
from .answer import Limits, answer
from .table import table
from .turns import Turns

SEATS = 4  # one sound is heard, three wait
_MOST_CONNECTIONS = 64
_MOST_TABLE_BYTES = 32 << 20
_CHUNK_BYTES = 1 << 20
_IDLE_SECONDS = 30  # without a byte, after which a connection is closed
_UPLOAD_SECONDS = 600
_DRAIN_SECONDS = 10
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Gone(Exception):  # noqa: N818 - no error: whoever asked does not wait any more, or the server ends
    pass


class DemoServer(ThreadingHTTPServer):
    """Listens as soon as it is made; serves once it has been given its model.

    Args:
        host, port: where to listen; port 0: any free one.
        limits: of the sounds that are taken.

    Raises:
        UserError: the address is taken, or is none of this machine.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(self, host: str, port: int, limits: Limits) -> None:
        self.host, self.limits = host, limits
        self.turns = Turns(SEATS)
        self.stopping = threading.Event()
        self.tagger: Tagger | None = None
        self.about: dict[str, Any] = {}
        self.page = _page()
        self._connections = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        if not 0 <= port <= 65_535:
            raise UserError(f"--port is {port}; give 1 to 65535, or 0 for any free one")
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self.address_family, address = found[0][0], found[0][4]
            super().__init__(address[:2], _Handler)  # type: ignore[arg-type]
        except PermissionError:
            raise UserError(f"port {port} needs an administrator's rights; give --port 1024 or above") from None
        except (OSError, UnicodeError) as error:  # the second of a name that cannot be one
            if not isinstance(error, OSError) or error.errno != errno.EADDRINUSE:
                raise UserError(f"--host {host} is no address of this machine ({error}); leave it out") from None
            raise UserError(
                f"port {port} of {host} is taken, perhaps by another glat demo; give --port 0 for any free one"
            ) from None

    @property
    def url(self) -> str:
        """Where the page is."""
        host = socket.gethostname() if self.host in ("0.0.0.0", "::") else self.host
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.server_address[1]}/"

    def server_bind(self) -> None:
        """Bind without asking a name server what this machine is called, as HTTPServer does."""
        TCPServer.server_bind(self)

    def is_ours(self, host: str) -> bool:
        """Whether a Host header names this machine.

        A page of somebody else's that has its own name point here (DNS rebinding) comes with that name.
        """
        name = re.sub(r":\d{1,5}$", "", host).lower()
        with suppress(ValueError):
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
            return True
        return name in {"localhost", self.host.lower(), *(() if self.is_local() else (socket.gethostname().lower(),))}

    def is_local(self) -> bool:
        """Whether only this machine reaches the page."""
        return ipaddress.ip_address(str(self.server_address[0]).partition("%")[0]).is_loopback

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, unless there are too many."""
        if not self._connections.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what failed, unless it is the connection."""
        if not isinstance(sys.exc_info()[1], OSError | Gone):
            traceback.print_exc()


def _page() -> dict[str, tuple[str, bytes]]:
    """Every file of the page by its address, which is all that can be asked for: {path: (type, bytes)}."""
    found = {}
    for file in files(__package__).joinpath("page").iterdir():
        suffix = file.name[file.name.rfind(".") :]
        if suffix in _TYPES:
            found[f"/{file.name}"] = (f"{_TYPES[suffix]}; charset=utf-8", file.read_bytes())
    found["/"] = found.pop("/page.html")
    return found


class _Handler(BaseHTTPRequestHandler):
    server: DemoServer
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS

    def version_string(self) -> str:
        """What the header Server says."""
        return "glat"

    def do_GET(self) -> None:
        """A file of the page, or what the page is told of the model."""
        if not self._is_allowed():
            return
        path = self.path.partition("?")[0]
        if path == "/about":
            self._send(HTTPStatus.OK, "application/json", to_json_text(self.server.about).encode())
        elif path in self.server.page:
            self._send(HTTPStatus.OK, *self.server.page[path])
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here; the page is at /")

    def do_HEAD(self) -> None:
        """As GET, without what it sends."""
        self.do_GET()

    def do_POST(self) -> None:
        """A sound to hear, or events to write as a table."""
        if not self._is_allowed():
            return
        path, _, query = self.path.partition("?")
        work = {"/hear": self._hear, "/table": self._table}.get(path)
        if work is None:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here; the page is at /")
            return
        lengths = self.headers.get_all("Content-Length", [])
        if "Transfer-Encoding" in self.headers or len(lengths) != 1 or not re.fullmatch(r"\d{1,15}", lengths[0], re.A):
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "the length of what is sent has to be said")
            return
        work(int(lengths[0]), parse_qs(query))

    def _is_allowed(self) -> bool:
        """Whether the request is of our own page; others are refused here."""
        self.close_connection = True  # one request a connection: a browser waits for no more than that on this machine
        hosts, origin = self.headers.get_all("Host", []), self.headers.get("Origin")
        if len(hosts) != 1 or not self.server.is_ours(hosts[0]):
            self._refuse(HTTPStatus.FORBIDDEN, f"this address is none of glat demo's; open {self.server.url}")
            return False
        elsewhere = self.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none")
        opens = self.command != "POST" and self.headers.get("Sec-Fetch-Mode") == "navigate"  # a link that is followed
        if (elsewhere and not opens) or origin not in (None, f"http://{hosts[0]}"):
            self._refuse(HTTPStatus.FORBIDDEN, "another page may not use this one")
            return False
        return True

    def _hear(self, length: int, query: dict[str, list[str]]) -> None:
        limits = self.server.limits
        if length > limits.most_bytes:
            most = f"{limits.most_bytes / 1e6:g} MB"
            self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the file has {length / 1e6:.1f} MB, and this page takes up to {most}; start glat demo with a larger "
                "--max-mb, or use glat tag",
            )
            return
        with self.server.turns.seat() as seated:
            if not seated:
                said = f"{SEATS} sounds are being heard or wait; try again in a moment"
                self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, said)
                return
            sound = self._body(length)
            self._head(HTTPStatus.OK, "application/octet-stream", None)
            try:
                for piece in self._answer(query.get("name", ["sound"])[0], sound):
                    self.wfile.write(piece)
            except (UserError, MemoryError) as error:
                said = str(error) if isinstance(error, UserError) else "there is not enough memory for this sound"
                self._line({"error": said})
            except (Gone, OSError):
                raise
            except Exception:
                self._line({"error": "glat failed, which is a fault of its own; the terminal says where"})
                raise

    def _answer(self, name: str, sound: BytesIO) -> Iterator[bytes]:
        assert self.server.tagger is not None
        with self.server.turns.turn(lambda before: self._line({"waiting": before})):
            done = answer(
                self.server.tagger,
                name,
                sound,
                self.server.limits,
                lambda heard, of: self._line({"heard": heard, "of": of}),
            )
        return done.pieces()

    def _table(self, length: int, query: dict[str, list[str]]) -> None:
        if length > _MOST_TABLE_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "these are too many events; raise the threshold")
            return
        assert self.server.tagger is not None
        try:
            tagger = self.server.tagger
            text = table(json.loads(self._body(length).getvalue()), tagger.classes, tagger.events_by)
        except (ValueError, OverflowError, RecursionError):
            self._refuse(HTTPStatus.BAD_REQUEST, "this is no table of events")
            return
        self._send(HTTPStatus.OK, "text/plain; charset=utf-8", text.encode())

    def _body(self, length: int) -> BytesIO:
        """What the request holds, in memory."""
        body, left, until = BytesIO(), length, time.monotonic() + _UPLOAD_SECONDS
        while left:
            chunk = self.rfile.read1(min(left, _CHUNK_BYTES))
            if not chunk or time.monotonic() > until or self.server.stopping.is_set():
                raise Gone
            left -= len(chunk)
            body.write(chunk)
        body.seek(0)
        return body

    def _line(self, message: dict[str, Any]) -> None:
        """Tell the page how far the work is; Gone where nobody reads it any more."""
        if self.server.stopping.is_set() or self._is_closed():
            raise Gone
        self.wfile.write(to_json_text(message).encode() + b"\n")

    def _is_closed(self) -> bool:
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def _refuse(self, status: HTTPStatus, error: str) -> None:
        """Answer with one sentence. What is still sent is read and dropped: else the browser shows no answer."""
        self._send(status, "application/json", to_json_text({"error": error}).encode())
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1)
            until = time.monotonic() + _DRAIN_SECONDS
            while self.command == "POST" and time.monotonic() < until and self.rfile.read1(_CHUNK_BYTES):
                pass

    def _send(self, status: HTTPStatus, kind: str, data: bytes) -> None:
        self._head(status, kind, len(data))
        if self.command != "HEAD":
            self.wfile.write(data)

    def _head(self, status: HTTPStatus, kind: str, length: int | None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()

    def end_headers(self) -> None:
        """Add what every answer says: nothing may be kept, framed or loaded from elsewhere."""
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *values: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing: addresses hold names of files."""
