"""A gateway that keeps things, and its admin API: the same database over many lives. Standard library only."""

import json
import secrets
import urllib.error
import urllib.request

import stack

MASTER = "3f" * 32
ROLES = {"admin": "e2e-admin-", "operator": "e2e-operator-", "viewer": "e2e-viewer-"}
MODEL = "claude-sonnet-5"
PROXYLESS = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Operated(stack.Gateway):
    """`headgate serve` with a database in a folder of the test's own, a master key, and a token of each role."""

    def __init__(self, scratch, upstream, database, keys=stack.KEYS, master=MASTER, previous=(), store=None, environment=None, **options):
        self.tokens = {role: start + secrets.token_hex(16) for role, start in ROLES.items()}
        tokens = [{"name": role, "token": f"env:E2E_TOKEN_{role}", "role": role} for role in ROLES]
        auth = {"admin_failures_per_minute": 1000, "admin_tokens": tokens}
        kept = {"url": f"sqlite://{database}", **(store or {})}
        self.kept_environment = dict(environment or {})
        if master:
            self.kept_environment["HEADGATE_MASTER_KEY"] = master
        if previous:
            kept["previous_master_keys"] = [f"env:E2E_PREVIOUS_{at}" for at in range(len(previous))]
        self.kept_environment |= {f"E2E_PREVIOUS_{at}": key for at, key in enumerate(previous)}
        super().__init__(scratch, upstream, keys, **{"auth": auth, "store": kept, **options})
        self.config["server"]["allow_private_upstreams"] = True

    def environment(self):
        tokens = {f"E2E_TOKEN_{role}": token for role, token in self.tokens.items()}
        return {**super().environment(), **tokens, **self.kept_environment}

    @property
    def plane(self):
        return f"http://127.0.0.1:{self.ports[1]}"

    def ask(self, method, path, body=None, role="admin", timeout=30, headers=()):
        """Status and body of an admin request; a JSON body is parsed."""
        said = {"authorization": f"Bearer {self.tokens[role]}", "content-type": "application/json", **dict(headers)}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.plane}/admin/v1{path}", data, said, method=method)
        try:
            with PROXYLESS.open(request, timeout=timeout) as answer:
                status, text, kind = answer.status, answer.read(), answer.headers.get("content-type", "")
        except urllib.error.HTTPError as error:
            with error:
                status, text, kind = error.code, error.read(), error.headers.get("content-type", "")
        return status, json.loads(text) if kind.split(";")[0].endswith(("/json", "+json")) else text

    def expect(self, status, method, path, body=None, **how):
        found, answer = self.ask(method, path, body, **how)
        assert found == status, f"{method} {path}: {found} {answer}"
        return answer

    def everything(self, path):
        """All of a list, page by page."""
        found, after = [], ""
        while True:
            joint = "&" if "?" in path else "?"
            page = self.expect(200, "GET", f"{path}{joint}limit=500{after}")
            found += page["data"]
            if not page["has_more"]:
                return found
            after = f"&after={page['last_id']}"

    def call(self, prompt="Hello.", timeout=30, key=None, **body):
        """Status and body of one call of the data plane."""
        headers = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
        if key:
            headers["x-api-key"] = key
        body = {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": prompt}], **body}
        request = urllib.request.Request(f"{self.url}/v1/messages", json.dumps(body).encode(), headers)
        try:
            with PROXYLESS.open(request, timeout=timeout) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def metric(self, name):
        """The sum of a metric's series."""
        text = stack.fetch(f"{self.plane}/metrics")[1].decode()
        lines = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines) if lines else None

    def kill(self):
        self.process.kill()
        self.process.wait()
