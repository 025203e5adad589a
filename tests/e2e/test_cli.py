"""The commands that operate a gateway, as an operator runs them: the real program on both sides, over the simulator and
a store in a file."""

import concurrent.futures
import contextlib
import csv
import decimal
import io
import json
import os
import pathlib
import pty
import re
import select
import shlex
import sqlite3
import subprocess
import termios
import threading
import time
import unicodedata
import urllib.error
import urllib.request

import pytest

import stack

TOKEN = "an-admin-token-that-is-long-enough"
MODEL = "claude-sonnet-4-5"


class Operated(stack.Gateway):
    """A gateway with a store and an admin token, and the commands that operate it."""

    def __init__(self, scratch, upstream, keys=stack.KEYS[:1], **options):
        server = {"drain_delay_s": 0, "drain_timeout_s": 1, "allow_private_upstreams": True}
        super().__init__(scratch, upstream, keys=keys, server=server, **options)
        self.more = {}

    def environment(self):
        return {**super().environment(), "HEADGATE_ADMIN_TOKEN": TOKEN, "HEADGATE_MASTER_KEY": "5a" * 32, **self.more}

    def restart(self):
        """The same process again, on the same ports."""
        self.__exit__()
        with self.log.open("ab") as log:
            command = [stack.binary(), *self.command(self.ports)]
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.scratch, env=self.environment()
            )
        stack.until(self._answers, "the gateway is up again")

    def variables(self, **more):
        own = {"HEADGATE_ADMIN_URL": f"http://127.0.0.1:{self.ports[1]}", "HEADGATE_ADMIN_TOKEN": TOKEN}
        variables = {**stack.Program.environment(), **own, **more}
        return {name: value for name, value in variables.items() if value is not None}

    def run(self, *arguments, given=None, **variables):
        """What a command comes to: `.returncode`, `.stdout`, `.stderr`."""
        return subprocess.run(
            [stack.binary(), *arguments], input=given or "", text=True, capture_output=True, timeout=60, env=self.variables(**variables)
        )

    def ok(self, *arguments, **options):
        """Standard output of a command that must succeed."""
        done = self.run(*arguments, **options)
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def json(self, *arguments, **options):
        return json.loads(self.ok(*arguments, "--json", **options))

    def rows(self, *arguments, **options):
        """A table as a list of dictionaries, by the columns that its headings begin."""
        return rows(self.ok(*arguments, **options))

    def call(self, key="any", model=MODEL, **body):
        """Status and answer of a request."""
        body = {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": "Hello."}], **body}
        headers = {"content-type": "application/json", "anthropic-version": "2023-06-01", "x-api-key": key}
        request = urllib.request.Request(f"{self.url}/v1/messages", json.dumps(body).encode(), headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


@contextlib.contextmanager
def followed(gateway, *arguments):
    """`headgate events`, ended with the block."""
    command = [stack.binary(), "events", *arguments]
    with subprocess.Popen(command, env=gateway.variables(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as following:
        try:
            yield following
        finally:
            following.terminate()


def rows(table):
    heading, *lines = table.splitlines()
    starts = [match.start() for match in re.finditer(r"\S+", heading)]
    cut = lambda line: [line[a:b].strip() for a, b in zip(starts, [*starts[1:], None])]
    return [dict(zip(cut(heading), cut(line))) for line in lines]


@pytest.fixture
def operated(scratch, simulator):
    with Operated(scratch, simulator.url) as gateway:
        yield gateway


def by_name(items):
    return {item["name"]: item for item in items}


def test_a_key_is_added_watched_rested_rotated_and_removed(operated):
    add = ["keys", "add", "b", "--backend", "anthropic", "--group", "org-a", "--weight", "2", "--secret-stdin"]
    tried = operated.run(*add, "--dry-run", given=stack.KEYS[2])
    assert tried.returncode == 0 and "dry run: nothing was changed" in tried.stderr
    assert [row["NAME"] for row in operated.rows("keys", "list")] == ["org-a-1"]
    assert operated.rows(*add, given=f"  {stack.KEYS[2]}\n")[0]["SECRET"] == stack.KEYS[2][-4:]
    second, first = operated.rows("keys", "list")
    assert (first["SOURCE"], second["NAME"], second["GROUP"], second["WEIGHT"], second["STATE"]) == ("file", "b", "org-a", "2", "ready")
    assert stack.KEYS[2] not in operated.ok("keys", "show", "b") + operated.ok("keys", "list", "--json")

    key = operated.json("keys", "show", "b")
    assert (key["source"], key["revision"], key["secret"]["kind"]) == ("store", 1, "secret")
    assert operated.run("keys", "set", "b", "--weight", "3", "--if-match", "7").returncode == 1
    assert operated.json("keys", "set", "b", "--weight", "3", "--no-group", "--if-match", "1")["group"] == "b"
    for verb, state in [("disable", "disabled"), ("enable", "ready"), ("drain", "drained"), ("enable", "ready")]:
        assert operated.json("keys", verb, "b")["state"] == state
    assert operated.rows("keys", "drain", "b", "--wait", "--timeout", "5s")[0]["STATE"] == "drained"
    operated.ok("keys", "enable", "b")
    parked = operated.rows("keys", "park", "b", "--for", "1h30m", "--reason", "Wartung – 你好")[0]
    assert parked["STATE"] == "parked" and parked["PARKS"] in ("operator (1h29m)", "operator (1h30m)"), parked
    assert "Wartung – 你好" in operated.ok("keys", "show", "b")
    assert [row["NAME"] for row in operated.rows("keys", "list", "--state", "parked")] == ["b"]
    assert operated.json("keys", "list", "--backend", "elsewhere")["data"] == []
    assert operated.rows("keys", "unpark", "b")[0]["PARKS"] == "-"

    assert operated.json("keys", "test", "b", "--model", MODEL)["model_reachable"] is True
    rotated = operated.json("keys", "rotate", "b", "--wait", "--secret-env", "NEW", NEW="sk-ant-api03-no-such-key")
    assert rotated["secret"]["last4"] == "-key" and rotated["retiring_in_flight"] == 0
    failing = operated.run("keys", "test", "b")
    assert failing.returncode == 1 and re.search(r"authenticates +false", failing.stdout)

    refused = operated.run("keys", "remove", "b")
    assert refused.returncode == 2 and "--yes" in refused.stderr
    assert operated.ok("keys", "remove", "b", "--yes") == "key b removed\n"
    assert operated.run("keys", "show", "b").returncode == 1
    told = operated.rows("audit", "--kind", "key", "--id", "b")
    assert [row["ACTION"] for row in told][::-1][:3] == ["key.create", "key.update", "key.disable"]
    assert all(row["ID"] == "b" and row["ACTOR"] == "ops" for row in told)
    assert [row for row in told if "weight: 2 -> 3" in row["CHANGE"]]
    assert len(operated.json("audit", "--limit", "2")["data"]) == 2 < len(operated.json("audit", "--all")["data"])


def test_what_files_made_is_changed_there_but_can_be_rested(operated):
    for change in (["set", "org-a-1", "--weight", "2"], ["remove", "org-a-1", "--yes"], ["rotate", "org-a-1", "--secret-env", "NEW"]):
        done = operated.run("keys", *change, NEW=stack.KEYS[1])
        assert done.returncode == 1 and "files" in done.stderr
    assert operated.json("keys", "disable", "org-a-1")["state"] == "disabled"
    assert operated.call()[0] == 503
    assert operated.json("keys", "enable", "org-a-1")["state"] == "ready"
    assert operated.call()[0] == 200


def test_backends_groups_and_routes_come_and_go(operated, scratch, simulator):
    operated.ok("backends", "add", "second", "--provider", "anthropic", "--base-url", simulator.url)
    extra = scratch / "backend.yaml"
    extra.write_text(f"name: third\nprovider: anthropic\nbase_url: {simulator.url}/v9\nheaders: {{ x-team: blue }}\n")
    operated.ok("backends", "add", "--file", str(extra))
    assert "blue" not in operated.ok("backends", "show", "third")
    assert operated.json("backends", "set", "third", "--base-url", simulator.url)["revision"] == 2
    assert operated.rows("backends", "breaker", "third", "open")[0]["BREAKERS"] == "open"
    assert operated.rows("backends", "breaker", "third", "auto")[0]["BREAKERS"] == "closed"
    limit = "claude-sonnet-*:rpm=4000,input_tpm=2000000"
    operated.ok("groups", "add", "g", "--backend", "second", "--limit", limit, "--usd-per-month", "10")
    operated.ok("keys", "add", "c", "--backend", "second", "--group", "g", "--secret-env", "S", S=stack.KEYS[4])
    assert operated.json("groups", "show", "second:g")["limits"][0]["rpm"] == 4000
    assert operated.json("groups", "set", "g", "--usd-per-day", "2.5")["usd_per_day"] == 2.5
    operated.ok("groups", "unpark", "second:g")
    made = operated.json("routes", "add", "--model", "modèle-*", "--target", f"second={MODEL}@1", "--target", "anthropic@2")
    assert operated.call(model="modèle-7")[0] == 200
    listed = operated.rows("routes", "list")[0]
    assert (listed["ID"], listed["MODEL"], listed["TARGETS"]) == (made["id"], "modèle-*", f"second={MODEL}@1, anthropic@2")
    assert operated.json("routes", "set", made["id"], "--spill-after-ms", "50")["spill_after_ms"] == 50
    needed = operated.run("backends", "remove", "second", "--yes")
    for resource in (["routes", made["id"]], ["keys", "c"], ["groups", "second:g"], ["backends", "third"]):
        operated.ok(resource[0], "remove", resource[1], "--yes")
    if needed.returncode:
        operated.ok("backends", "remove", "second", "--yes")
    assert [row["NAME"] for row in operated.rows("backends", "list")] == ["anthropic"]
    assert operated.run("routes", "add", "--model", "x").returncode == 2


def test_a_tenants_key_is_printed_once_and_alone(operated, scratch):
    made = operated.run("tenants", "add", "acme", "--model", "claude-*", "--rpm", "600", "--usd-per-month", "1000")
    assert re.fullmatch(r"hgc_[0-9A-Za-z]{49}\n", made.stdout) and "this once" in made.stderr
    first = made.stdout.strip()
    assert operated.call(first)[0] == 200 and operated.call("another")[0] == 401
    listed = operated.rows("tenants", "list")[0]
    assert (listed["NAME"], listed["MODELS"], listed["RPM"], listed["USD/MONTH"]) == ("acme", "claude-*", "600", "1000")
    second = operated.json("tenants", "rotate", "acme")["key"]
    assert operated.call(first)[0] == 401 and operated.call(second)[0] == 200
    assert operated.json("tenants", "set", "acme", "--rpm", "5")["limits"] == {"rpm": 5, "usd_per_month": 1000}
    own = scratch / "own.key"
    own.write_text("a-key-of-the-tenants-own-choice\n")
    operated.ok("tenants", "add", "own", "--key-file", str(own))
    assert operated.call("a-key-of-the-tenants-own-choice")[0] == 200
    everything = operated.ok("tenants", "list", "--json") + operated.ok("tenants", "show", "acme") + operated.ok("export")
    assert not [each for each in (first, second, "a-key-of-the-tenants-own-choice") if each in everything]
    operated.ok("tenants", "remove", "own", "--yes")
    assert operated.call("a-key-of-the-tenants-own-choice")[0] == 401


def test_tokens_may_do_what_their_role_says(operated):
    viewer = operated.ok("tokens", "add", "graphs", "--role", "viewer").strip()
    operator = operated.ok("tokens", "add", "night", "--role", "operator").strip()
    assert re.fullmatch(r"hga_[0-9A-Za-z]{49}", viewer)
    assert operated.run("keys", "list", HEADGATE_ADMIN_TOKEN=viewer).returncode == 0
    assert operated.run("keys", "disable", "org-a-1", HEADGATE_ADMIN_TOKEN=viewer).returncode == 77
    assert operated.run("keys", "disable", "org-a-1", HEADGATE_ADMIN_TOKEN=operator).returncode == 0
    assert operated.run("tenants", "add", "a", HEADGATE_ADMIN_TOKEN=operator).returncode == 77
    fresh = operated.ok("tokens", "rotate", "graphs").strip()
    assert operated.run("keys", "list", HEADGATE_ADMIN_TOKEN=viewer).returncode == 77
    assert operated.run("keys", "list", HEADGATE_ADMIN_TOKEN=fresh).returncode == 0
    assert [(row["NAME"], row["ROLE"]) for row in operated.rows("tokens", "list")] == [("graphs", "viewer"), ("night", "operator"), ("ops", "admin")]
    operated.ok("tokens", "remove", "night", "--yes")
    assert operated.run("keys", "list", HEADGATE_ADMIN_TOKEN=operator).returncode == 77


def test_exit_codes_say_whose_turn_it_is(operated, scratch):
    codes = lambda *arguments, **variables: operated.run(*arguments, **variables).returncode
    assert codes("keys", "list") == 0
    assert codes("keys", "show", "nobody") == 1
    assert codes("keys", "add", "x", "--backend", "anthropic", "--secret", "sk-ant-1") == 2
    assert codes("keys", "add", "x", "sk-ant-1", "--backend", "anthropic") == 2
    assert codes("keys", "set", "org-a-1") == 2
    assert codes("keys", "list", HEADGATE_ADMIN_URL="http://127.0.0.1:1") == 69
    assert codes("keys", "list", HEADGATE_ADMIN_TOKEN=None) == codes("keys", "list", HEADGATE_ADMIN_TOKEN="wrong") == 77
    token = scratch / "token"
    token.write_text(f"{TOKEN}\n")
    assert codes("status", "--token-file", str(token), HEADGATE_ADMIN_TOKEN=None) == 0
    assert codes("status", "--token-file", str(scratch / "missing")) == 1
    told = operated.json("status")
    assert told["readiness"] == "ready" and told["store"]["state"] == "open"
    assert operated.json("reload")["outcome"] == "applied"
    (operated.scratch / "headgate.yaml").write_text("backends: 7")
    rejected = operated.run("reload")
    assert rejected.returncode == 1 and "rejected" in rejected.stdout


def prompted(gateway, arguments, typed):
    """What is on the terminal of a command whose prompt is answered, and its exit code."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(stack.binary(), [stack.binary(), *arguments], gateway.variables())
    shown, deadline, answered = b"", time.monotonic() + 30, False
    while time.monotonic() < deadline:
        try:
            shown += os.read(terminal, 4096) if select.select([terminal], [], [], 0.1)[0] else b""
        except OSError:
            break
        # As a person does, who types after the prompt: by then nothing is shown any more.
        if not answered and shown.rstrip().endswith(b":") and not termios.tcgetattr(terminal)[3] & termios.ECHO:
            os.write(terminal, typed.encode() + b"\n")
            answered = True
    os.close(terminal)
    return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_secret_comes_unseen_from_prompt_input_file_or_variable(operated, scratch):
    shown, code = prompted(operated, ["keys", "add", "typed", "--backend", "anthropic"], stack.KEYS[1])
    assert code == 0 and "not shown" in shown and stack.KEYS[1] not in shown
    # A terminal that does not know its width gets the table as it is in a pipe.
    assert re.search(r"NAME +BACKEND .*\r\ntyped +anthropic ", shown)
    operated.ok("keys", "add", "input", "--backend", "anthropic", "--secret-stdin", given=stack.KEYS[2])
    (scratch / "secret").write_text(f"{stack.KEYS[3]}\r\n")
    operated.ok("keys", "add", "file", "--backend", "anthropic", "--secret-file", str(scratch / "secret"))
    operated.ok("keys", "add", "variable", "--backend", "anthropic", "--secret-env", "MINE", MINE=stack.KEYS[4])
    for name in ("typed", "input", "file", "variable"):
        assert operated.json("keys", "test", name)["authenticates"] is True, name
    for flags, given in [([], ""), (["--secret-stdin"], " \n"), (["--secret-stdin"], "canary\x07"), (["--secret-env", "canary-value"], ""), (["--secret-env", "UNSET"], "")]:
        done = operated.run("keys", "add", "none", "--backend", "anthropic", *flags, given=given)
        assert done.returncode in (1, 2) and "canary" not in done.stdout + done.stderr, flags
    help_of_all = "".join(operated.ok("keys", verb, "--help") for verb in ("add", "rotate", "import"))
    assert not re.search(r"--(secret|key|token)[ =]<", help_of_all)


def test_no_secret_stands_in_a_process_list(operated):
    with followed(operated, "--json") as following:
        stack.until(lambda: operated.run("keys", "disable", "org-a-1").returncode == 0 and select.select([following.stdout], [], [], 0.2)[0], "an event")
        with open(f"/proc/{following.pid}/cmdline", "rb") as line:
            assert TOKEN.encode() not in line.read()
    with open(f"/proc/{operated.process.pid}/cmdline", "rb") as line:
        assert TOKEN.encode() not in line.read()


def test_five_hundred_keys_are_imported_and_serve_within_a_second(scratch):
    names = [f"many-{number:03}" for number in range(500)]
    secrets = {name: f"sk-ant-api03-sim-{name}" for name in names}
    many = {"name": "many", "limits": [{"models": "*"}], "keys": [{"name": name, "secret": secret} for name, secret in secrets.items()]}
    organizations = [{"name": "org-a", "limits": [{"models": "*"}], "keys": [{"name": "org-a-1", "secret": stack.KEYS[0]}]}, many]
    with stack.Simulator(scratch, {"organizations": organizations}) as simulator, Operated(scratch, simulator.url) as operated:
        file = scratch / "keys.txt"
        file.write_text("# from the safe\n" + "".join(f"{name}={secret}\n" for name, secret in secrets.items()))
        tried = operated.run("keys", "import", "--backend", "anthropic", "--file", str(file), "--dry-run")
        assert tried.returncode == 0 and len(operated.json("keys", "list")["data"]) == 1
        done = operated.run("keys", "import", "--backend", "anthropic", "--file", str(file))
        imported = time.monotonic()
        assert done.returncode == 0 and "500 created" in done.stderr, done.stderr[-500:]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            assert {status for status, _ in pool.map(lambda _: operated.call(), range(40))} == {200}
        assert time.monotonic() - imported < 5
        assert len({request.key for request in simulator.requests()} & set(names)) > 20
        assert [row["STATUS"] for row in rows(done.stdout)] == ["created"] * 500
        assert {key["state"] for key in operated.json("keys", "list")["data"]} == {"ready"}

        again = operated.json("keys", "import", "--backend", "anthropic", "--from-env", "MANY", MANY=None, **{f"MANY_{at}": secret for at, secret in enumerate(list(secrets.values())[:3])})
        assert [result["status"] for result in again["results"]] == ["created"] * 3
        file.write_text(f"many-000={secrets['many-000']}\nmany-001=sk-ant-api03-other\norg-a-1={stack.KEYS[0]}\n")
        mixed = operated.run("keys", "import", "--backend", "anthropic", "--file", str(file))
        assert mixed.returncode == 1
        assert [row["STATUS"] for row in rows(mixed.stdout)] == ["unchanged", "conflict", "conflict"]
        assert not any(secret in done.stdout + mixed.stdout + mixed.stderr for secret in secrets.values())


def test_one_variable_of_five_hundred_keys_is_imported_twice_with_no_change(operated):
    joined = ",".join(f"sk-ant-api03-made-up-{number}" for number in range(500))
    first = operated.json("keys", "import", "--backend", "anthropic", "--from-env", "SPARE", SPARE=joined)
    again = operated.json("keys", "import", "--backend", "anthropic", "--from-env", "SPARE", SPARE=joined)
    assert [{result["status"] for result in each["results"]} for each in (first, again)] == [{"created"}, {"unchanged"}]
    assert len(again["results"]) == 500 and len(operated.json("keys", "list")["data"]) == 501


def test_an_export_is_a_configuration_file_without_its_secrets(operated, scratch, simulator):
    operated.ok("keys", "add", "b-1", "--backend", "anthropic", "--secret-stdin", given=stack.KEYS[2])
    operated.ok("backends", "add", "second", "--provider", "anthropic", "--base-url", simulator.url)
    operated.ok("keys", "add", "c-1", "--backend", "second", "--secret-stdin", given=stack.KEYS[4])
    operated.ok("routes", "add", "--model", "other-*", "--target", f"second={MODEL}")
    operated.ok("routes", "add", "--model", "*", "--target", "anthropic")
    key = operated.ok("tenants", "add", "acme", "--model", "*").strip()
    exported = operated.ok("export")
    assert not [secret for secret in (*stack.KEYS, key, TOKEN, "5a" * 32) if secret in exported + operated.ok("keys", "export")]
    assert "env:HEADGATE_KEY_B_1_SECRET" in operated.ok("keys", "export", "--format", "json")
    file = scratch / "export.yaml"
    file.write_text(exported)

    class Fresh(Operated):
        def command(self, ports):
            listen = {"listen": f"127.0.0.1:{ports[0]}", "admin_listen": f"127.0.0.1:{ports[1]}"}
            self.more |= {f"HEADGATE__SERVER__{name.upper()}": address for name, address in listen.items()}
            return ["serve", "--config", str(file)]

    fresh = Fresh(scratch, simulator.url)
    fresh.command([0, 0])
    missing = subprocess.run([stack.binary(), "check", "--config", str(file)], env=fresh.environment(), capture_output=True, text=True)
    assert missing.returncode == 78 and "env:HEADGATE_KEY_B_1_SECRET is not set" in missing.stderr
    fresh.more = {"HEADGATE_KEY_B_1_SECRET": stack.KEYS[2], "HEADGATE_KEY_C_1_SECRET": stack.KEYS[4]}
    with fresh:
        assert fresh.call(key)[0] == 200 and fresh.call(key, model="other-1")[0] == 200
        assert fresh.call("wrong")[0] == 401
        assert {name: each["source"] for name, each in by_name(fresh.json("keys", "list")["data"]).items()} == dict.fromkeys(["org-a-1", "b-1", "c-1"], "file")


LONG = "All of the house's rules, one after the other, in one long text. " * 200
MARKED = [
    {"type": "text", "text": LONG, "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    {"type": "text", "text": f"And more: {LONG}", "cache_control": {"type": "ephemeral"}},
]
PRICES = {"input_tokens": "3", "output_tokens": "15", "cache_read_tokens": "0.3", "cache_write_5m_tokens": "3.75", "cache_write_1h_tokens": "6"}


def tokens(usage):
    written = usage["cache_creation"]
    return {
        "input_tokens": usage["input_tokens"],
        "output_tokens": usage["output_tokens"],
        "cache_read_tokens": usage["cache_read_input_tokens"],
        "cache_write_5m_tokens": written["ephemeral_5m_input_tokens"],
        "cache_write_1h_tokens": written["ephemeral_1h_input_tokens"],
    }


def nano_dollars(usage):
    return sum(int(decimal.Decimal(PRICES[name]) * 1000 * count) for name, count in usage.items())


def test_usage_is_shown_to_the_nano_dollar_in_every_form(operated, scratch):
    acme, other = (operated.ok("tenants", "add", name).strip() for name in ("acme", "other"))
    asked = [operated.call(acme, system=MARKED), operated.call(acme, system=MARKED), operated.call(other), operated.call(acme, model="claude-unheard-of")]
    assert [status for status, _ in asked] == [200] * 4
    wrote, read, plain, unpriced = (tokens(answer["usage"]) for _, answer in asked)
    assert wrote["cache_write_1h_tokens"] > 1000 and wrote["cache_write_5m_tokens"] > 1000 and read["cache_read_tokens"] > 2000
    expected = {("acme", MODEL): nano_dollars(wrote) + nano_dollars(read), ("other", MODEL): nano_dollars(plain), ("acme", "claude-unheard-of"): 0}
    by = lambda: {(row["tenant"], row["model"]): row for row in operated.json("usage", "--by", "tenant,model", "--last", "24h")["data"]}
    stack.until(lambda: sum(row["requests"] for row in by().values()) == 4, "the usage is written")
    found = by()
    assert {where: row["cost_nano_usd"] for where, row in found.items()} == expected
    assert {where: row["unpriced"] for where, row in found.items()} == {where: int(where[1] != MODEL) for where in expected}
    assert all(round(row["cost_usd"] * 1e9) == row["cost_nano_usd"] for row in found.values())
    sums = {name: wrote[name] + read[name] for name in wrote}
    assert {name: found["acme", MODEL][name] for name in sums} == sums

    table = {(row["TENANT"], row["MODEL"]): row for row in operated.rows("usage", "--by", "tenant,model", "--last", "24h")}
    for where, nano in expected.items():
        assert decimal.Decimal(table[where]["COST-USD"]) == decimal.Decimal(nano) / 10**9
        assert table[where]["UNPRICED"] == str(int(where[1] != MODEL))
    sheet = list(csv.DictReader(io.StringIO(operated.ok("usage", "--by", "tenant,model", "--csv"))))
    assert {(row["tenant"], row["model"]): int(row["cost_nano_usd"]) for row in sheet} == expected
    assert operated.rows("usage", "--by", "day", "--tenant", "acme")[0]["REQUESTS"] == "3"

    records = [json.loads(line) for line in operated.ok("usage", "export", "--format", "jsonl").splitlines()]
    assert [record["tenant"] for record in records] == ["acme", "acme", "other", "acme"]
    assert [record["cost_nano_usd"] for record in records] == [*map(nano_dollars, (wrote, read, plain)), None]
    assert {name: records[1][name] for name in read} == read
    output = scratch / "usage.csv"
    operated.ok("usage", "export", "--format", "csv", "--tenant", "acme", "--output", str(output))
    assert len(list(csv.DictReader(output.open()))) == 3
    assert operated.run("usage", "--by", "moon").returncode == 1
    assert operated.run("usage", "--last", "soon").returncode == 2


def test_events_are_followed_over_a_restart(operated):
    with followed(operated, "--json", "--kind", "key,change") as following:
        lines = []
        threading.Thread(target=lambda: lines.extend(map(json.loads, following.stdout)), daemon=True).start()
        stack.until(lambda: operated.ok("keys", "disable", "org-a-1") and lines, "the first event")
        assert lines[-1]["event"] == "key" and lines[-1]["data"]["state"] == "disabled"
        operated.restart()
        # More than came before the restart, at once: none of them is taken for one that is known.
        for name in "abc":
            operated.ok("tenants", "add", name)
        of_tenants = lambda: [line["data"] for line in lines if line["event"] == "change"]
        stack.until(lambda: len(of_tenants()) == 3, "the events of the new process")
        assert [(each["action"], each["id"], each["by"]) for each in of_tenants()] == [("tenant.create", name, "ops") for name in "abc"]


def test_events_for_people_are_a_line_each(operated):
    with followed(operated) as following:
        stack.until(lambda: operated.ok("keys", "park", "org-a-1", "--for", "5s") and select.select([following.stdout], [], [], 0.2)[0], "an event")
        line = following.stdout.readline()
    assert re.match(r"\d{4}-\d\d-\d\dT\S+Z park +.*key=org-a-1.* reason=operator", line), line


@pytest.mark.parametrize("shell, check", [("bash", ["bash", "-c", "source {} && complete -p headgate"]), ("zsh", ["zsh", "-f", "-c", "autoload -U compinit && compinit -D && source {}"]), ("fish", ["fish", "--no-config", "-c", "source {} && complete -C 'headgate key' | string match -q 'keys*'"])])
def test_completions_are_taken_by_the_shell(shell, check, scratch):
    script = scratch / f"completions.{shell}"
    printed = subprocess.run([stack.binary(), "completions", shell], capture_output=True, text=True, check=True).stdout
    assert all(name in printed for name in ("tenants", "rotate", "secret-stdin"))
    script.write_text(printed)
    done = subprocess.run([word.format(script) for word in check], capture_output=True, text=True, env={**os.environ, "HOME": str(scratch)}, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_a_reader_who_has_enough_is_no_failure(operated):
    joined = ",".join(f"sk-ant-api03-made-up-{number}" for number in range(900))
    operated.ok("keys", "import", "--backend", "anthropic", "--from-env", "SPARE", SPARE=joined)
    for arguments in ("keys list", "keys list --json", "export", "audit --all", "completions bash"):
        piped = subprocess.run(["bash", "-o", "pipefail", "-c", f'"$0" {arguments} | head -n 1', stack.binary()], env=operated.variables(), capture_output=True, text=True, timeout=60)
        assert (piped.returncode, piped.stderr) == (0, ""), arguments
        assert piped.stdout


def test_long_and_foreign_names_do_not_break_a_table(operated):
    longest = "k" * 64
    operated.ok("keys", "add", longest, "--backend", "anthropic", "--secret-stdin", given=stack.KEYS[2])
    for model in ("模型-*", "é" * 30, "e\u0301-*", "plain"):
        operated.ok("routes", "add", "--model", model, "--target", "anthropic")
    assert operated.rows("keys", "show", longest) is not None
    assert {row["NAME"] for row in operated.rows("keys", "list")} == {longest, "org-a-1"}
    wide = lambda letter: 0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
    lines = operated.ok("routes", "list").splitlines()
    ends = {sum(map(wide, line[: line.index(word)])) for line, word in zip(lines, ["TARGETS"] + ["anthropic"] * 5)}
    assert len(ends) == 1, lines
    hostile = operated.run("keys", "show", "\x1b[2J\u202e")
    assert hostile.returncode == 1 and "\x1b" not in hostile.stderr + hostile.stdout


def test_a_new_master_key_seals_what_the_old_one_sealed(operated):
    keys = [operated.scratch / f"master-key-{number}" for number in range(3)]
    for number, key in enumerate(keys):
        key.write_text(f"{number}a" * 32)

    def sealed_with(key, *previous):
        operated.config["store"] = {"master_key": f"file:{key}", "previous_master_keys": [f"file:{each}" for each in previous]}
        operated.command(operated.ports)
        assert operated.json("reload")["outcome"] == "applied"

    sealed_with(keys[0])
    operated.ok("keys", "add", "b", "--backend", "anthropic", "--secret-stdin", given=stack.KEYS[2])
    sealed_with(keys[1], keys[0])
    assert operated.json("keys", "test", "b")["authenticates"] is True
    assert operated.json("keys", "reseal") == {"resealed": 1, "undecryptable": 0}
    sealed_with(keys[1])
    operated.restart()
    assert operated.json("keys", "test", "b")["authenticates"] is True
    sealed_with(keys[2])
    operated.restart()
    lost = operated.rows("keys", "list")[0]
    assert (lost["NAME"], lost["STATE"], lost["SOURCE"]) == ("b", "undecryptable", "store, not in force")
    assert operated.call()[0] == 200 and re.search(r"undecryptable +key/b", operated.ok("status"))
    operated.ok("keys", "rotate", "b", "--secret-stdin", given=stack.KEYS[2])
    assert operated.json("keys", "show", "b")["state"] == "ready"


def documented():
    """The commands of the documents that operate a gateway, up to what a shell makes of them."""
    root = pathlib.Path(__file__).resolve().parents[2]
    for document in (root / "README.md", root / "docs" / "operate.md"):
        for block in re.findall(r"^```sh\n(.*?)^```", document.read_text(), re.M | re.S):
            for command in re.findall(r"(?:^|[&|] +)headgate ([a-z].*?)(?=$| +[#>|&])", block, re.M):
                if command.split()[0] not in ("serve", "demo", "simulate", "check"):
                    yield command


def test_the_commands_of_the_documents_are_commands(operated):
    operated.ok("keys", "add", "org-a-3", "--backend", "anthropic", "--secret-stdin", given=stack.KEYS[1])
    commands = list(documented())
    assert len(commands) > 20, commands
    for command in commands:
        if command.startswith("events"):
            with followed(operated, *shlex.split(command)[1:]) as following:
                assert not select.select([following.stdout], [], [], 0.2)[0]
                continue
        done = operated.run(*shlex.split(command))
        # Without a terminal nobody is asked for a secret; a file of the document's is not there, nor is all it names.
        asked = "no secret was given" in done.stderr
        assert done.returncode in (0, 1) or asked, f"{command}: {done.returncode} {done.stderr}"
        assert done.returncode == 0 or asked or re.search("cannot be read|There is no|comes from the configuration's files|rejected", done.stderr), f"{command}: {done.stderr}"


def test_a_copy_of_the_store_is_a_gateway_again(operated):
    operated.ok("keys", "add", "b", "--backend", "anthropic", "--secret-stdin", given=stack.KEYS[2])
    tenant = operated.ok("tenants", "add", "acme").strip()
    with contextlib.closing(sqlite3.connect(operated.scratch / "headgate.db")) as live:
        with contextlib.closing(sqlite3.connect(operated.scratch / "backup.db")) as copy:
            live.backup(copy)
    operated.ok("keys", "remove", "b", "--yes")
    operated.ok("tenants", "rotate", "acme")
    operated.__exit__()
    (operated.scratch / "backup.db").rename(operated.scratch / "headgate.db")
    for beside in ("wal", "shm"):
        (operated.scratch / f"headgate.db-{beside}").unlink(missing_ok=True)
    operated.restart()
    assert operated.json("keys", "test", "b")["authenticates"] is True
    assert operated.call(tenant)[0] == 200 and operated.call("another")[0] == 401
