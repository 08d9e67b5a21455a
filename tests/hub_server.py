"""A hub on this machine: as much of the protocol as `huggingface_hub` needs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

MAIN = "main"


@dataclass
class Repo:
    """One model.

    Attributes:
        folder: Its files.
        revisions: Commit by name of branch or tag.
        gated: Whether its files are for those who asked.
    """

    folder: Path
    revisions: dict[str, str] = field(default_factory=lambda: {MAIN: "a" * 40})
    gated: bool = False

    def commit(self, name: str) -> str | None:
        known = {**self.revisions, **{c: c for c in self.revisions.values()}}
        return known.get(name)

    def files(self) -> list[str]:
        found = (p for p in self.folder.rglob("*") if p.is_file())
        return sorted(p.relative_to(self.folder).as_posix() for p in found)


@dataclass
class Hub:
    """A running server.

    Attributes:
        endpoint: Its address.
        repos: The models it has.
        requests: What was asked, method and path.
    """

    endpoint: str
    repos: dict[str, Repo]
    requests: list[str]

    def fetched(self) -> set[str]:
        """Names of the files whose content was sent."""
        marks = (line for line in self.requests if line.startswith("GET "))
        return {
            line.partition("/resolve/")[2].partition("/")[2]
            for line in marks
            if "/resolve/" in line
        }


def _etag(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing on the terminal."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        api = path.startswith("/api/models/")
        parts = path.removeprefix("/api/models/").strip("/").split("/")
        repo = self.hub.repos.get("/".join(parts[:2]))
        rest = parts[2:]
        if repo is None:
            # The hub says so, too, of what one may not see.
            return self._error(401, "RepoNotFound")
        name = MAIN
        if rest[:1] in (["revision"], ["tree"], ["resolve"]):
            name = "/".join(rest[1:4] if rest[1:2] == ["refs"] else rest[1:2])
        commit = repo.commit(name)
        if commit is None:
            return self._error(404, "RevisionNotFound")
        if api and rest[:1] == ["tree"]:
            entries = [
                {
                    "type": "file",
                    "path": file,
                    "size": (repo.folder / file).stat().st_size,
                    "oid": _etag(repo.folder / file)[:40],
                }
                for file in repo.files()
            ]
            return self._json(entries)
        if api:
            siblings = [{"rfilename": file} for file in repo.files()]
            about = {"id": "/".join(parts[:2]), "sha": commit, "siblings": siblings}
            return self._json({**about, "private": False, "gated": repo.gated})
        if repo.gated:
            return self._error(403, "GatedRepo")
        start = 4 if name.startswith("refs/") else 2
        file = repo.folder / "/".join(rest[start:])
        if not file.is_file():
            return self._error(404, "EntryNotFound")
        return self._file(file, commit, body)

    def _file(self, file: Path, commit: str, body: bool) -> None:
        content = file.read_bytes()
        self.send_response(200)
        self.send_header("ETag", f'"{_etag(file)}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _json(self, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _error(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def serving(repos: dict[str, Repo]) -> Iterator[Hub]:
    """A hub with these models, on a port of its own."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.hub = hub = Hub(f"http://127.0.0.1:{server.server_port}", repos, [])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
