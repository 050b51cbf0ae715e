"""`glat demo` for its tests: a server in this process, plain requests to it, and a headless browser."""

import json
import os
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from glat.commands.demo import Demo, _about
from glat.demo.answer import Limits
from glat.demo.server import DemoServer

CHROMIUM = Path("/usr/bin/chromium")
LIMITS = Limits(most_bytes=3_000_000, most_seconds=20.0)
_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run", "--autoplay-policy=no-user-gesture-required"),
)


@contextmanager
def serving(tagger, limits=LIMITS, source="a run", host="127.0.0.1"):
    """A server with this tagger, in a thread."""
    with DemoServer(host, 0, limits) as server:
        server.tagger, server.about = tagger, _about(Demo(Path(source)), tagger, limits)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.stopping.set()
            server.shutdown()
            thread.join()


def said(server, request, body=b""):
    """(status, headers, body) of what is answered to the bytes of a request."""
    with socket.create_connection(server.server_address[:2], timeout=60) as connection:
        connection.sendall(request + body)
        answer, deadline = b"", time.monotonic() + 60
        while more := connection.recv(1 << 16):
            answer += more
            assert time.monotonic() < deadline, answer[-200:]
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body


def request(server, line, headers=(), length=None):
    """The bytes of a request to the server, as a browser would write them."""
    host = f"Host: 127.0.0.1:{server.server_address[1]}"
    lines = [f"{line} HTTP/1.1", *([] if any(h.startswith("Host:") for h in headers) else [host]), *headers]
    return "\r\n".join([*lines, *([] if length is None else [f"Content-Length: {length}"]), "", ""]).encode()


def heard(server, sound, name="a.wav"):
    """The messages that are answered to a sound, and what follows the last one."""
    status, _, body = said(server, request(server, f"POST /hear?name={name}", length=len(sound)), sound)
    assert status == 200, body
    messages = []
    while not messages or not {"result", "error"} & messages[-1].keys():
        line, _, body = body.partition(b"\n")
        messages.append(json.loads(line))
    return messages, body


@contextmanager
def chromium(*flags):
    """A headless browser; the test is skipped, saying so, where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright, to drive a browser")
    path = Path(os.environ.get("GLAT_CHROMIUM", CHROMIUM))
    if not path.exists():
        pytest.skip(f"no browser at {path}; set GLAT_CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*_FLAGS, *flags])
        try:
            yield browser
        finally:
            browser.close()
