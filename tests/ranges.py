"""A server on the loopback interface that gives files and ranges of them, with faults on demand."""

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Ranges(ThreadingHTTPServer):
    """`with Ranges(folder) as server:` serves the files of a folder at ``server.url``."""

    daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.url = folder, f"http://127.0.0.1:{self.server_port}"
        self.asked = []  # (path, first byte, bytes) of every GET
        self.cut = 0  # so many answers end in the middle
        self.whole = False  # give whole files whatever is asked
        self.status = None  # answer everything with it

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()

    @property
    def bytes_asked(self):
        return sum(size for _, _, size in self.asked)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def handle_one(self):
        server, path = self.server, self.server.folder / self.path.lstrip("/")
        status = server.status or (200 if path.is_file() else 404)
        data = path.read_bytes() if status == 200 else b""
        headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        part = data
        if asked and status == 200 and not server.whole:
            first, last = int(asked[1]), min(int(asked[2]), len(data) - 1)
            part, status = data[first : last + 1], 206
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        if self.command == "GET" and status < 400:
            server.asked.append((self.path, int(asked[1]) if asked else 0, len(part)))
        self.send_response(status)
        for name, text in {"Content-Length": str(len(part)), **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command == "HEAD":
            return
        if server.cut and part:
            server.cut -= 1
            part, self.close_connection = part[: len(part) // 2], True
        self.wfile.write(part)


for method in ("GET", "HEAD"):
    setattr(Handler, f"do_{method}", Handler.handle_one)
