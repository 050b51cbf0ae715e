"""A server on the loopback interface that speaks what huggingface_hub asks of the hub, with faults on demand.

Files below 10 MB would be regular at the hub; here all safetensors go the way of large files (LFS), as weights do.
"""

import base64
import hashlib
import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_aSecretThatNobodyMayPrint"


class Repo:
    def __init__(self, private):
        self.private, self.gated = private, False
        self.commits = {}  # {sha: {path: bytes}}
        self.branches = {"main": self.add({".gitattributes": b"*.safetensors filter=lfs"})}

    def add(self, files):
        sha = hashlib.sha1(f"{len(self.commits)}{sorted(files)}".encode()).hexdigest()
        self.commits[sha] = files
        return sha


class Hub(ThreadingHTTPServer):
    """`with Hub() as hub:` serves at ``hub.url``; its fields may be changed while it runs."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repos, self.large = {}, {}
        self.requests = []  # "METHOD path"
        self.cut = 0  # so many downloads end in the middle
        self.status = None  # answer everything with this status
        self.writes = True  # whether the token may write

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()

    def files(self, name, revision="main"):
        repo = self.repos[name]
        return repo.commits[repo.branches[revision]]

    def put(self, name, files, private=False):
        """A repository with these files, as somebody else made it."""
        repo = self.repos[name] = Repo(private)
        repo.branches["main"] = repo.add(files)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *arguments):
        pass

    def handle_one(self):
        # What is sent is read even where it is refused, or the next request of the connection would begin with it.
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        if self.server.status:
            return self.answer(self.server.status, {"error": "out of order"})
        for method, pattern, handler in ROUTES:
            if self.command in method.split() and (found := re.fullmatch(pattern, path)):
                return handler(self, **found.groupdict())
        return self.answer(404, {"error": f"the stub knows no {self.command} {path}"})

    def answer(self, status, value=None, headers=(), data=None):
        data = json.dumps(value).encode() if data is None else data
        self.send_response(status)
        for name, text in {"Content-Length": str(len(data)), **dict(headers)}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, code, status=404):
        return self.answer(status, {"error": code}, {"X-Error-Code": code, "X-Error-Message": code})

    @property
    def known(self):
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def seen(self, name):
        """A repository that this client may see, or None after a refusal."""
        repo = self.server.repos.get(name)
        if repo is None or (repo.private and not self.known):
            self.refuse("RepoNotFound", 401 if not self.known else 404)
            return None
        if repo.gated and not self.known:
            self.refuse("GatedRepo", 403)
            return None
        return repo

    def commit_of(self, repo, revision):
        sha = repo.branches.get(revision, revision)
        if sha not in repo.commits:
            self.refuse("RevisionNotFound")
            return None
        return sha

    def may_write(self):
        if not self.known:
            self.answer(401, {"error": "Invalid username or password."})
        elif not self.server.writes:
            self.answer(403, {"error": "you don't have the rights"})
        return self.known and self.server.writes

    # What is asked

    def whoami(self):
        self.answer(200, {"type": "user", "name": "me", "auth": {"accessToken": {"role": "write"}}})

    def create(self):
        if not self.may_write():
            return
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if name in self.server.repos:
            self.answer(409, {"error": "You already created this model repo", "url": f"{self.server.url}/{name}"})
            return
        self.server.repos[name] = Repo(asked.get("private") or asked.get("visibility") == "private")
        self.answer(200, {"url": f"{self.server.url}/{name}", "name": name, "id": name})

    def validate(self):
        wrong = [] if b"license:" in self.body else [{"message": '"license" is required'}]
        self.answer(200, {"errors": wrong, "warnings": []})

    def info(self, name, revision=None):
        if (repo := self.seen(name)) and (sha := self.commit_of(repo, revision or "main")):
            siblings = [{"rfilename": path} for path in repo.commits[sha]]
            self.answer(200, {"id": name, "sha": sha, "private": repo.private, "siblings": siblings, "tags": []})

    def tree(self, name, revision):
        if (repo := self.seen(name)) and (sha := self.commit_of(repo, revision)):
            self.answer(200, [entry(path, data) for path, data in repo.commits[sha].items()])

    def branch(self, name, revision):
        if self.may_write() and (repo := self.seen(name)):
            there = revision in repo.branches
            repo.branches.setdefault(revision, repo.branches["main"])
            self.answer(409 if there else 200, {"error": "Reference already exists"} if there else {})

    def preupload(self, name, revision):
        if self.may_write():
            files = [file["path"] for file in json.loads(self.body)["files"]]
            modes = [
                {"path": p, "uploadMode": "lfs" if is_large(p) else "regular", "shouldIgnore": False} for p in files
            ]
            self.answer(200, {"files": modes})

    def batch(self, name):
        if self.may_write():
            objects = []
            for wanted in json.loads(self.body)["objects"]:
                there = wanted["oid"] in self.server.large
                upload = {} if there else {"actions": {"upload": {"href": f"{self.server.url}/large/{wanted['oid']}"}}}
                objects.append({**wanted, **upload})
            self.answer(200, {"transfer": "basic", "objects": objects})

    def upload(self, oid):
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.server.large[oid] = self.body
        self.answer(200, {})

    def commit(self, name, revision):
        if not (self.may_write() and (repo := self.seen(name)) and (sha := self.commit_of(repo, revision))):
            return
        files = dict(repo.commits[sha])
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            elif item["key"] == "deletedFile":
                del files[value["path"]]
        new = repo.branches[revision] = repo.add(files)
        self.answer(200, {"commitUrl": f"{self.server.url}/{name}/commit/{new}", "commitOid": new})

    def resolve(self, name, revision, path):
        if not ((repo := self.seen(name)) and (sha := self.commit_of(repo, revision))):
            return
        data = repo.commits[sha].get(path)
        if data is None:
            self.refuse("EntryNotFound")
            return
        headers = {"X-Repo-Commit": sha, "ETag": f'"{entry(path, data)["oid"]}"', "Accept-Ranges": "bytes"}
        if is_large(path):
            headers |= {"X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Linked-Size": str(len(data))}
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        part = data[int(start[1]) :] if start else data
        headers |= {"Content-Range": f"bytes {start[1]}-{len(data) - 1}/{len(data)}"} if start else {}
        if self.server.cut and self.command == "GET" and is_large(path):
            self.server.cut -= 1
            self.answer(206 if start else 200, headers=headers | {"Content-Length": str(len(part))}, data=part[:-9])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.answer(206 if start else 200, headers=headers, data=part)


def is_large(path):
    return path.endswith((".safetensors", ".bin", ".pth"))


def entry(path, data):
    found = {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
    if is_large(path):
        found["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return found


for method in ("GET", "HEAD", "POST", "PUT"):
    setattr(Handler, f"do_{method}", Handler.handle_one)

_NAME = r"/(?P<name>[^/]+/[^/]+)"
ROUTES = [
    ("GET", "/api/whoami-v2", Handler.whoami),
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate),
    ("GET", rf"/api/models{_NAME}", Handler.info),
    ("GET", rf"/api/models{_NAME}/revision/(?P<revision>.+)", Handler.info),
    ("GET", rf"/api/models{_NAME}/tree/(?P<revision>[^/]+)/?", Handler.tree),
    ("POST", rf"/api/models{_NAME}/branch/(?P<revision>.+)", Handler.branch),
    ("POST", rf"/api/models{_NAME}/preupload/(?P<revision>.+)", Handler.preupload),
    ("POST", rf"/api/models{_NAME}/commit/(?P<revision>.+)", Handler.commit),
    ("POST", rf"{_NAME}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", r"/large/(?P<oid>\w+)", Handler.upload),
    ("GET HEAD", rf"{_NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
]
