#!/usr/bin/env python3
"""The OpenAPI document tells the truth: checks the quick start's document against the standard, then the service against its document.

    scripts/openapi.py BINARY [DATABASE..]    BINARY is the quick start, built; DATABASE is sqlite, postgres or mysql, all where none is named

Starts the service on a free port with a fresh database, on each in turn, asks it for /openapi.json, and runs on it
  - openapi-spec-validator: the document is a valid OpenAPI 3.1 document;
  - schemathesis: thousands of fitting and unfitting requests from the document, signed in and not. No answer may be a server error,
    have a status, a media type, headers or a body that the document does not describe, or let somebody in who has no token.
PostgreSQL and MySQL are those of TEST_POSTGRES_URL and TEST_MYSQL_URL, whose users may create databases. With CHAOS_SCALE, all databases get as
many requests, 20,000 or more together; else SQLite gets most of them, and the servers a share.
The tools live in a virtual environment of their own, target/tools/openapi, at the versions of openapi-requirements.txt.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "scripts" / "openapi-requirements.txt"
TOOLS = ROOT / "target" / "tools" / "openapi"
PASSWORD = "correct horse battery"
# A schema can't say all that makes an address one, so a refusal of fitting data is no failure.
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "use_after_free",
    "ensure_resource_availability",
    "ignored_auth",
]
# These end the session that the other requests are signed in by.
ENDS_SESSIONS = "/auth/(logout|change-password)"


# How many examples of each operation: SQLite's statements are where most of the way is the same, the servers' where it is not.
EXAMPLES = {"sqlite": 300, "postgres": 30, "mysql": 30}
SERVERS = {"postgres": "TEST_POSTGRES_URL", "mysql": "TEST_MYSQL_URL"}
IS_LONG = "CHAOS_SCALE" in os.environ
SEED = os.environ.get("CHAOS_SEED", "1")
# What a long run asks for on all databases together.
MANY_REQUESTS = 20_000


def main() -> int:
    databases = sys.argv[2:] or list(EXAMPLES)
    if len(sys.argv) < 2 or not set(databases) <= set(EXAMPLES):
        print(__doc__, file=sys.stderr)
        return 2
    binary = pathlib.Path(sys.argv[1]).resolve()
    if not binary.is_file():
        print(f"{binary} is not there; build it first: cargo build -p quickstart", file=sys.stderr)
        return 1
    if not install():
        return 1
    held, requests = True, 0
    for database in databases:
        print(f"--> {database}", flush=True)
        with tempfile.TemporaryDirectory(prefix="app_kernel_openapi_") as folder, fresh(database, folder) as url:
            with Service(binary, folder, url) as service:
                checked = check(service, pathlib.Path(folder), 300 if IS_LONG else EXAMPLES[database])
        held &= checked.held
        requests += checked.requests
        if checked.held:
            print(f"R-29 held: {database}, {checked.requests} requests, the document is valid, 0 server errors, 0 undocumented, seed {SEED}")
    if IS_LONG and set(databases) == set(EXAMPLES) and requests < MANY_REQUESTS:
        print(f"{requests} requests are less than {MANY_REQUESTS}", file=sys.stderr)
        held = False
    return 0 if held else 1


def install() -> bool:
    """Makes the virtual environment, once for each list of versions."""
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    stamp = TOOLS / "installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return True
    print(f"installing schemathesis and openapi-spec-validator into {TOOLS.relative_to(ROOT)}, once", flush=True)
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", TOOLS], capture_output=True, text=True)
    if made.returncode != 0:
        print(made.stdout + made.stderr, file=sys.stderr)
        print("python3 can't make a virtual environment; on Debian: apt-get install python3-venv", file=sys.stderr)
        return False
    pip = [TOOLS / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", REQUIREMENTS]
    if subprocess.run(pip).returncode != 0:
        print("the checks of the OpenAPI document need PyPI once, to install the versions of "
              f"{REQUIREMENTS.relative_to(ROOT)}; it was not reachable, or has them no more", file=sys.stderr)
        return False
    stamp.write_text(wanted)
    return True


@contextlib.contextmanager
def fresh(database: str, folder: str):
    """The address of a database that is gone afterwards."""
    if database == "sqlite":
        yield f"sqlite:///{folder}/app.db"
        return
    server = os.environ.get(SERVERS[database]) or sys.exit(f"{SERVERS[database]} is not set; it names a {database} server")
    name = f"app_kernel_openapi_{os.getpid()}"
    administer(database, server, f"CREATE DATABASE {name}")
    try:
        yield urllib.parse.urlsplit(server)._replace(path=f"/{name}").geturl()
    finally:
        administer(database, server, f"DROP DATABASE {name}")


# Drivers in Python alone, so that a server is enough and none of its clients is needed; they live where the other tools do.
ADMINISTER = """
import sys, urllib.parse
database, server, statement = sys.argv[1:]
url = urllib.parse.urlsplit(server)
who = dict(host=url.hostname, port=url.port, user=urllib.parse.unquote(url.username or ""), password=urllib.parse.unquote(url.password or ""))
if database == "postgres":
    import pg8000.dbapi
    connection = pg8000.dbapi.connect(database=url.path.strip("/") or "postgres", **who)
    connection.autocommit = True # PostgreSQL makes databases outside of transactions only
else:
    import pymysql
    connection = pymysql.connect(**who)
connection.cursor().execute(statement)
"""


def administer(database: str, server: str, statement: str):
    subprocess.run([TOOLS / "bin" / "python", "-c", ADMINISTER, database, server, statement], check=True)


class Service:
    """The quick start on a free port, stopped at the end."""

    def __init__(self, binary: pathlib.Path, folder: str, url: str):
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "PORT": "0",
            "DATABASE_URL": url,
            "JWT_SECRET": "a secret of the checks, long enough for all",
            "LOG_FORMAT": "json",
            "LOG_LEVEL": "info,app_kernel::request=warn",
        }
        self.log_path = pathlib.Path(folder) / "log"
        with self.log_path.open("w") as log:
            self.process = subprocess.Popen([binary], cwd=folder, env=environment, stdout=log, stderr=log)

    def __enter__(self):
        self.url = self.wait_for_address()
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def wait_for_address(self) -> str:
        while self.process.poll() is None:
            found = re.search(r"listening on (http://[0-9.:]+)", self.log_path.read_text())
            if found:
                return found[1]
            try:
                self.process.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                pass
        raise SystemExit(f"the service did not start:\n{self.log_path.read_text()}")

    def ask(self, path: str, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def new_token(self, name: str) -> str:
        who = {"email": f"{name}@example.com", "password": PASSWORD}
        self.ask("/api/v1/auth/register", who)
        return self.ask("/api/v1/auth/login", who)["access_token"]

    def errors(self) -> list[str]:
        return [line for line in self.log_path.read_text().splitlines() if '"level":"ERROR"' in line.replace(" ", "")]


class Checked(NamedTuple):
    """What came of it."""

    held: bool
    requests: int


# Promise: R-29
def check(service: Service, folder: pathlib.Path, examples: int) -> Checked:
    document = folder / "openapi.json"
    document.write_text(json.dumps(service.ask("/openapi.json")))
    held, requests = run("openapi-spec-validator", document)
    runs = [
        ("ann", ["--exclude-path-regex", ENDS_SESSIONS, "--max-examples", str(examples)]),
        ("bob", ["--include-path-regex", "/auth/logout", "--max-examples", "50"]),
        ("eve", ["--include-path-regex", "/auth/change-password", "--max-examples", "50"]),
    ]
    for name, selection in runs:
        token = service.new_token(name)
        passed, sent = run(
            "schemathesis", "run", document, "--url", service.url, "--header", f"Authorization: Bearer {token}",
            "--checks", ",".join(CHECKS), "--seed", SEED, "--no-color", *selection,
            cwd=folder,
        )
        held &= passed
        requests += sent
    for line in service.errors():
        print(f"the service logged an error: {line}", file=sys.stderr)
        held = False
    return Checked(held, requests)


def run(tool: str, *arguments, cwd=None) -> tuple[bool, int]:
    """Whether it found nothing, and how many requests it says to have made."""
    requests = 0
    with subprocess.Popen([TOOLS / "bin" / tool, *arguments], cwd=cwd, stdout=subprocess.PIPE, text=True) as running:
        for line in running.stdout:
            print(line, end="", flush=True)
            if generated := re.match(r"\s*(\d+) generated", line):
                requests += int(generated[1])
    return running.returncode == 0, requests


if __name__ == "__main__":
    sys.exit(main())
