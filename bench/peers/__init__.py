"""Services of other frameworks that answer the requests of bench/server: how each is built, filled and started, and a token that it takes.

Each is written as its framework's own documentation advises, in a folder here, with the versions pinned there. Their databases are their own,
beside the kernel's, with the same rows.
"""
import base64
import hashlib
import hmac
import json
import os
import pathlib
import subprocess
import sys
import time
import venv

HERE = pathlib.Path(__file__).resolve().parent
TMP = pathlib.Path(os.environ.get("TMPDIR", "/tmp"))
SECRET = "benchmark-" * 5
# A worker process for each core, as FastAPI's documentation on deployment advises.
WORKERS = 2


class FastApi:
    """FastAPI, SQLAlchemy and asyncpg or aiosqlite, on uvicorn with two workers."""

    databases = {"sqlite": "sqlite+aiosqlite:///{data}/fastapi.db", "postgres": "postgresql+asyncpg://limit@127.0.0.1:{pg}/fastapi"}
    folder = HERE / "fastapi"
    tools = TMP / "app_kernel_bench_fastapi"

    def build(self):
        wanted, stamp = (self.folder / "requirements.txt").read_text(), self.tools / "installed"
        if stamp.exists() and stamp.read_text() == wanted:
            return
        if sys.version_info < (3, 11):
            sys.exit("the service on FastAPI needs Python 3.11 or later")
        venv.create(self.tools, clear=True, with_pip=True)
        pip = [self.tools / "bin/pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--requirement", self.folder / "requirements.txt"], check=True)
        stamp.write_text(wanted)

    def environment(self, url, port, pool):
        # The pool is that of each worker.
        own = {"DATABASE_URL": url, "JWT_SECRET": SECRET, "POOL_SIZE": str(pool // WORKERS), "PYTHONDONTWRITEBYTECODE": "1"}
        return {**os.environ, **own}

    def fill(self, rows):
        return [[self.tools / "bin/python", "seed.py", str(rows)]]

    def serve(self, port):
        return [self.tools / "bin/uvicorn", "main:app", "--port", str(port), "--workers", str(WORKERS)]

    def token(self):
        return token({"alg": "HS256", "typ": "JWT"}, {"sub": "bench", "exp": int(time.time()) + 86_400}, SECRET.encode(), hashlib.sha256)


class Loco:
    """Loco with SeaORM, built for release."""

    databases = {"sqlite": "sqlite://{data}/loco.db?mode=rwc", "postgres": "postgres://limit@127.0.0.1:{pg}/loco"}
    folder = HERE / "loco"
    target = pathlib.Path(os.environ.get("LOCO_TARGET", TMP / "app_kernel_bench_loco"))
    secret = base64.b64encode(SECRET.encode()).decode()

    def build(self):
        environment = {**os.environ, "CARGO_TARGET_DIR": str(self.target)}
        subprocess.run(["cargo", "build", "--quiet", "--locked", "--release"], cwd=self.folder, env=environment, check=True)

    def environment(self, url, port, pool):
        own = {"DATABASE_URL": url, "JWT_SECRET": self.secret, "PORT": str(port), "DB_MAX_CONNECTIONS": str(pool), "LOCO_ENV": "production"}
        return {**os.environ, **own}

    def fill(self, rows):
        return [[self.target / "release/loco_peer", *words] for words in (("db", "migrate"), ("task", "seed", f"rows:{rows}"))]

    def serve(self, port):
        return [self.target / "release/loco_peer", "start", "--no-banner"]

    def token(self):
        return token({"alg": "HS512", "typ": "JWT"}, {"pid": "bench", "exp": int(time.time()) + 86_400}, SECRET.encode(), hashlib.sha512)


PEERS = {"fastapi": FastApi(), "loco": Loco()}


def token(head, claims, key, digest):
    """A JSON Web Token, as the service's own sign-in would give it."""
    encoded = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")  # noqa: E731
    signed = b".".join(encoded(json.dumps(part).encode()) for part in (head, claims))
    return (signed + b"." + encoded(hmac.new(key, signed, digest).digest())).decode()
