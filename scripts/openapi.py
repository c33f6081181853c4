#!/usr/bin/env python3
"""The OpenAPI document tells the truth: checks the quick start's document against the standard, then the service against its document.

    scripts/openapi.py BINARY        BINARY is the quick start, built

Starts the service on a free port with a database in a temporary folder, asks it for /openapi.json, and runs on it
  - openapi-spec-validator: the document is a valid OpenAPI 3.1 document;
  - schemathesis: thousands of fitting and unfitting requests from the document, signed in and not. No answer may be a server error,
    have a status, a media type, headers or a body that the document does not describe, or let somebody in who has no token.
The tools live in a virtual environment of their own, target/tools/openapi, at the versions of openapi-requirements.txt.
"""

import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import urllib.request

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


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    binary = pathlib.Path(sys.argv[1]).resolve()
    if not binary.is_file():
        print(f"{binary} is not there; build it first: cargo build -p quickstart", file=sys.stderr)
        return 1
    if not install():
        return 1
    with tempfile.TemporaryDirectory(prefix="app_kernel_openapi_") as folder, Service(binary, folder) as service:
        return 0 if check(service, pathlib.Path(folder)) else 1


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


class Service:
    """The quick start on a free port, stopped at the end."""

    def __init__(self, binary: pathlib.Path, folder: str):
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "PORT": "0",
            "DATABASE_URL": f"sqlite:///{folder}/app.db",
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


# Promise: R-29
def check(service: Service, folder: pathlib.Path) -> bool:
    document = folder / "openapi.json"
    document.write_text(json.dumps(service.ask("/openapi.json")))
    held = run("openapi-spec-validator", document)
    runs = [
        ("ann", ["--exclude-path-regex", ENDS_SESSIONS, "--max-examples", "300"]),
        ("bob", ["--include-path-regex", "/auth/logout", "--max-examples", "50"]),
        ("eve", ["--include-path-regex", "/auth/change-password", "--max-examples", "50"]),
    ]
    for name, selection in runs:
        token = service.new_token(name)
        held &= run(
            "schemathesis", "run", document, "--url", service.url, "--header", f"Authorization: Bearer {token}",
            "--checks", ",".join(CHECKS), "--seed", os.environ.get("CHAOS_SEED", "1"), "--no-color", *selection,
            cwd=folder,
        )
    for line in service.errors():
        print(f"the service logged an error: {line}", file=sys.stderr)
        held = False
    if held:
        print("R-29 held: the document is valid, and no answer was a server error or another than it says")
    return held


def run(tool: str, *arguments, cwd=None) -> bool:
    return subprocess.run([TOOLS / "bin" / tool, *arguments], cwd=cwd).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
