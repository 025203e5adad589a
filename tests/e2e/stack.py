"""A simulator and gateways over it, as real processes on free loopback ports. Standard library only.

As a program it runs a command with both up: `stack.py COMMAND...` sets HEADGATE_E2E_SIMULATOR, HEADGATE_E2E_GATEWAY
and HEADGATE_E2E_KEY and exits with the command's code.
"""

import base64
import contextlib
import http.client
import json
import os
import pathlib
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

KEYS = [f"sk-ant-api03-sim-org-{org}-{number}" for org in "abc" for number in (1, 2)]
START_TIMEOUT_S = 30


def binary():
    root = pathlib.Path(__file__).resolve().parents[2]
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
    return os.environ.get("HEADGATE_BIN", str(target / "debug" / "headgate"))


def free_ports(count):
    """Ports nobody listens on now. Another program may take one before we do, so `Program` tries again with others."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def fetch(url, method="GET", body=None, timeout=10):
    """Status and body of a plain request; a refused connection is an OSError."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def until(condition, what, timeout=START_TIMEOUT_S):
    """Polls until the condition holds and returns what it gave."""
    deadline = time.monotonic() + timeout
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} within {timeout} s")
        time.sleep(0.01)


class Program:
    """A running `headgate`, stopped when the block ends; its output is shown when it does not come up."""

    def __init__(self, scratch, ready):
        self.scratch = pathlib.Path(tempfile.mkdtemp(dir=scratch))
        self.ready = ready
        self.process = None
        self.log = self.scratch / "log"

    def command(self, ports):
        raise NotImplementedError

    ports_needed = 1

    def __enter__(self):
        for attempt in range(3):
            self.ports = free_ports(self.ports_needed)
            self.url = f"http://127.0.0.1:{self.ports[0]}"
            with self.log.open("wb") as log:
                self.process = subprocess.Popen(
                    [binary(), *self.command(self.ports)],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.scratch, env=self.environment(),
                )
            try:
                until(self._answers, f"{type(self).__name__} is up")
                return self
            except (TimeoutError, ChildProcessError) as error:
                self.__exit__()
                text = self.log.read_text(errors="replace")
                if attempt == 2 or "in use" not in text:
                    raise RuntimeError(f"{error}\n{' '.join(map(str, self.process.args))}\n{text}") from None
        raise AssertionError("unreachable")

    def _answers(self):
        if self.process.poll() is not None:
            raise ChildProcessError(f"exit code {self.process.returncode}")
        try:
            return fetch(self.url + self.ready, timeout=2)[0] == 200
        except OSError:
            return False

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @staticmethod
    def environment():
        kept = ("PATH", "HOME", "LANG", "TMPDIR", "RUST_LOG", "RUST_BACKTRACE", "LLVM_PROFILE_FILE")
        return {name: os.environ[name] for name in kept if name in os.environ}


class Simulator(Program):
    """`headgate simulate`. Its control plane is under /__sim/."""

    def __init__(self, scratch, config=None):
        super().__init__(scratch, "/__sim/healthz")
        self.config = config

    def command(self, ports):
        command = ["simulate", "--listen", f"127.0.0.1:{ports[0]}"]
        if self.config is not None:
            path = self.scratch / "simulate.yaml"
            path.write_text(json.dumps(self.config))
            command += ["--config", str(path)]
        return command

    def control(self, path, method="GET", body=None):
        status, answer = fetch(f"{self.url}/__sim/{path}", method, body)
        assert status < 300, f"{method} /__sim/{path}: {status} {answer!r}"
        return json.loads(answer) if answer else None

    def faults(self, *rules):
        """Replaces the rules; see the simulator's configuration for their shape."""
        self.control("faults", "POST", list(rules))

    def reset(self):
        self.control("reset", "POST")

    def requests(self):
        """What came in, oldest first."""
        return [Recorded(each) for each in self.control("requests?bodies=base64")["requests"]]


class Recorded:
    """A request as the simulator received it; header names in lower case, repeated lines joined by commas."""

    def __init__(self, told):
        self.key, self.method, self.path, self.query = (told[name] for name in ("key", "method", "path", "query"))
        self.headers = {name.lower(): value for name, value in told["headers"].items()}
        self.body = base64.b64decode(told["body"])


class Gateway(Program):
    """`headgate serve` over a simulator, with all its keys unless said otherwise; `options` are laid over the rest."""

    ports_needed = 2

    def __init__(self, scratch, upstream, keys=KEYS, **options):
        super().__init__(scratch, "/healthz")
        names = [key.removeprefix("sk-ant-api03-sim-") for key in keys]
        self.secrets = {f"E2E_KEY_{at}": key for at, key in enumerate(keys)}
        self.config = {
            "server": {"drain_delay_s": 0, "drain_timeout_s": 1},
            "backends": [
                {
                    "name": "anthropic",
                    "provider": "anthropic",
                    "base_url": upstream,
                    "limit_groups": [{"name": group} for group in sorted({name[:-2] for name in names})],
                    "keys": [
                        {"name": name, "secret": f"env:E2E_KEY_{at}", "limit_group": name[:-2]}
                        for at, name in enumerate(names)
                    ],
                }
            ],
            **options,
        }

    def environment(self):
        return {**Program.environment(), **self.secrets}

    @property
    def admin_url(self):
        return f"http://127.0.0.1:{self.ports[1]}"

    def command(self, ports):
        listen = {"listen": f"127.0.0.1:{ports[0]}", "admin_listen": f"127.0.0.1:{ports[1]}"}
        config = {**self.config, "server": {**self.config["server"], **listen}}
        path = self.scratch / "headgate.yaml"
        path.write_text(json.dumps(config))
        return ["serve", "--config", str(path)]


class AdminGateway(Gateway):
    """A gateway that is operated while it runs: a store of its own, a master key, and a token of every role in `tokens`."""

    def __init__(self, scratch, upstream, keys=KEYS[:1], private=True, failures=100_000, **options):
        auth = {
            "admin_failures_per_minute": failures,
            "admin_tokens": [
                {"name": f"the-{role}", "token": f"env:E2E_TOKEN_{role.upper()}", "role": role} for role in ROLES
            ],
        }
        store = {"url": "sqlite://headgate.db", "master_key": "env:E2E_MASTER_KEY"}
        super().__init__(scratch, upstream, keys, **{"auth": auth, "store": store, **options})
        self.config["server"] = {**self.config["server"], "allow_private_upstreams": private}
        self.tokens = {role: f"hga_{role}_{secrets.token_hex(16)}" for role in ROLES}
        self.secrets["E2E_MASTER_KEY"] = secrets.token_hex(32)
        self.secrets.update({f"E2E_TOKEN_{role.upper()}": token for role, token in self.tokens.items()})

    def admin(self, role="admin"):
        return Admin(self.admin_url, self.tokens[role])


ROLES = ("viewer", "operator", "admin")


class Answered:
    """What the admin API answered."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def __repr__(self):
        return f"{self.status} {self.body[:600]!r}"

    @property
    def json(self):
        return json.loads(self.body)


class Admin:
    """The admin API as one token sees it; a connection a request."""

    def __init__(self, url, token):
        self.place, self.token = urllib.parse.urlsplit(url).netloc, token

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection(self.place, timeout=30)
        try:
            data = None if body is None else json.dumps(body)
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(
                method, f"/admin/v1{path}", data,
                {"authorization": f"Bearer {self.token}", "content-type": "application/json", **named},
            )
            response = connection.getresponse()
            return Answered(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
        finally:
            connection.close()

    def does(self, method, path, body=None, status=None, **headers):
        """The answer to what has to go well; `status` is any 2xx unless said."""
        answered = self.ask(method, path, body, **headers)
        fits = answered.status == status if status else answered.status < 300
        assert fits, f"{method} {path} {body}: {answered}"
        return answered.json

    def get(self, path):
        return self.does("GET", path)

    def post(self, path, body=None, status=None, **headers):
        return self.does("POST", path, body, status, **headers)

    def patch(self, path, body, **headers):
        return self.does("PATCH", path, body, **headers)

    def delete(self, path):
        return self.does("DELETE", path)


def main():
    with tempfile.TemporaryDirectory() as scratch:
        with Simulator(scratch) as simulator, Gateway(scratch, simulator.url, relay={"max_wait_ms": 50}) as gateway:
            urls = {"HEADGATE_E2E_SIMULATOR": simulator.url, "HEADGATE_E2E_GATEWAY": gateway.url}
            environment = {**os.environ, **urls, "HEADGATE_E2E_KEY": KEYS[0], "NO_PROXY": "127.0.0.1"}
            return subprocess.run(sys.argv[1:], env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
