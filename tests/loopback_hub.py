"""A small Hugging Face hub on the loopback interface that can misbehave on demand.

It serves what the real client asks for: the tree of a repository, its information,
and its files with their checksums in the headers.
"""

import hashlib
import json
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_loopbackLOOPBACKloopback"
LARGE = (".safetensors", ".parquet", ".bin")  # kept in LFS, listed with their SHA-256


@dataclass
class Repository:
    """One commit of a repository: its files and who may read them."""

    kind: Literal["datasets", "models"]
    name: str
    files: dict[str, bytes]
    token: str | None = None
    gated: bool = False

    @property
    def commit(self) -> str:
        names = "".join(f"{path} {self.etag(path)}\n" for path in sorted(self.files))
        return hashlib.sha1(f"{self.name}\n{names}".encode()).hexdigest()

    def etag(self, path: str) -> str:
        content = self.files[path]
        if path.endswith(LARGE):
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def describe(self, path: str) -> dict[str, Any]:
        """Return the entry of a file or folder in the tree."""
        if path not in self.files:
            return {"type": "directory", "oid": "0" * 40, "size": 0, "path": path}
        size, etag = len(self.files[path]), self.etag(path)
        entry = {"type": "file", "oid": etag[:40], "size": size, "path": path}
        if path.endswith(LARGE):
            entry["lfs"] = {"oid": etag, "size": size, "pointerSize": 134}
        return entry

    def tree(self, folder: str, recursive: bool) -> list[dict[str, Any]]:
        prefix = f"{folder}/" if folder else ""
        paths = set()
        for path in self.files:
            if path.startswith(prefix):
                parts = path.removeprefix(prefix).split("/")
                depth = len(parts) if recursive else 1
                paths |= {prefix + "/".join(parts[: n + 1]) for n in range(depth)}
        return [self.describe(path) for path in sorted(paths)]

    def information(self) -> dict[str, Any]:
        return {
            "id": self.name,
            "sha": self.commit,
            "private": self.token is not None,
            "gated": self.gated,
            "tags": [],
            "siblings": [{"rfilename": path} for path in sorted(self.files)],
        }


@dataclass
class Fault:
    """What goes wrong with the next `times` requests whose path holds `match`."""

    kind: Literal["status", "reset", "reset_midway", "truncate", "flip", "hang"]
    match: str
    times: float = 1
    method: str = "GET"
    status: int = 503


@dataclass
class LoopbackHub:
    """The hub; a context manager that serves while the block runs."""

    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __enter__(self) -> "LoopbackHub":
        self.lock = threading.Lock()
        handler = type("Handler", (Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        return self

    def __exit__(self, *exception: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def add(self, kind: str, name: str, files: dict[str, bytes], **access: Any) -> str:
        """Publish a repository and return its commit."""
        repository = Repository(kind, name, files, **access)
        self.repositories[kind, name] = repository
        return repository.commit

    def fail(self, kind: str, match: str, times: float = 1, **details: Any) -> None:
        self.faults.append(Fault(kind, match, times, **details))

    def take_fault(self, method: str, path: str) -> str | Fault | None:
        with self.lock:
            self.requests.append(f"{method} {path}")
            for fault in self.faults:
                if fault.times and fault.match in path and fault.method == method:
                    fault.times -= 1
                    return fault
        return None

    def environment(self, home: str) -> dict[str, str]:
        """Return what points the real client here; it is read at import time."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": home,
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            "HF_HUB_DOWNLOAD_TIMEOUT": "1",
            "HF_HUB_ETAG_TIMEOUT": "1",
            "NO_PROXY": "127.0.0.1,localhost",
        }


class Handler(BaseHTTPRequestHandler):
    """Answers one client connection."""

    protocol_version = "HTTP/1.1"
    hub: LoopbackHub

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        self.fault = self.hub.take_fault(self.command, path)
        kind = self.fault.kind if self.fault else None
        if kind == "status":
            self.refuse(self.fault.status, "", "injected")
        elif kind == "reset":
            self.reset()
        elif kind == "hang":
            time.sleep(2)  # longer than the client's timeouts below
            self.close_connection = True
        else:
            self.answer(path.strip("/").split("/"), parse_qs(url.query))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def answer(self, parts: list[str], query: dict[str, list[str]]) -> None:
        is_api = parts[0] == "api"
        parts = parts[1:] if is_api else parts
        kind = parts.pop(0) if parts[0] in ("datasets", "models") else "models"
        name, rest = "/".join(parts[:2]), parts[2:]
        repository = self.hub.repositories.get((kind, name))
        if repository is None or not self.may_read(repository):
            gated = repository is not None and repository.gated
            code = "GatedRepo" if gated else "RepoNotFound"
            self.refuse(403 if gated else 401, code, "not yours or not there")
        elif len(rest) > 1 and rest[1] not in ("main", repository.commit):
            self.refuse(404, "RevisionNotFound", f"no revision {rest[1]}")
        elif not is_api:
            self.send_file(repository, "/".join(rest[2:]))
        elif rest[:1] == ["tree"]:
            recursive = query.get("recursive", [""])[0].lower() == "true"
            self.send_tree(repository.tree("/".join(rest[2:]), recursive))
        elif rest[:1] == ["paths-info"]:
            self.send_json(
                [
                    repository.describe(path)
                    for path in parse_qs(self.body.decode())["paths"]
                    if path in repository.files
                ]
            )
        else:
            self.send_json(repository.information())

    def may_read(self, repository: Repository) -> bool:
        sent = self.headers.get("Authorization")
        return repository.token is None or sent == f"Bearer {repository.token}"

    def send_tree(self, entries: list[dict[str, Any]]) -> None:
        if entries:
            self.send_json(entries)
        else:
            self.refuse(404, "EntryNotFound", "no such folder")

    def send_json(self, value: Any, status: int = 200, **headers: str) -> None:
        self.send(status, json.dumps(value).encode(), headers)

    def refuse(self, status: int, code: str, message: str, **headers: str) -> None:
        headers |= {"X-Error-Code": code, "X-Error-Message": message}
        self.send_json({"error": message}, status, **headers)

    def send_file(self, repository: Repository, path: str) -> None:
        commit = {"X-Repo-Commit": repository.commit}
        if path not in repository.files:
            self.refuse(404, "EntryNotFound", f"no file {path}", **commit)
            return
        content, etag = repository.files[path], repository.etag(path)
        headers = {**commit, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if path.endswith(LARGE):
            headers["X-Linked-Etag"] = f'"{etag}"'
            headers["X-Linked-Size"] = str(len(content))
        status, size = 200, len(content)
        if asked := self.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            content = content[int(first) : int(last) + 1 if last else None]
            end = int(first) + len(content) - 1
            headers["Content-Range"] = f"bytes {first}-{end}/{size}"
            status = 206
        self.send(status, content, headers)

    def send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        kind = self.fault.kind if self.fault else None
        if kind == "flip":
            middle = len(content) // 2
            flipped = bytes([content[middle] ^ 1])
            content = content[:middle] + flipped + content[middle + 1 :]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if kind in ("truncate", "reset_midway"):
            content = content[: len(content) // 2]
            self.close_connection = True
        with suppress(ConnectionError):  # the client gave up, or was killed
            self.wfile.write(content)
        if kind == "reset_midway":
            self.wfile.flush()
            time.sleep(0.1)  # let the client read the first half
            self.reset()

    def reset(self) -> None:
        """Close with a TCP reset instead of an orderly end."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        # The streams share the socket, which closes with the last of them.
        self.connection.close()
        self.rfile.close()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent: the tests read `requests`."""
