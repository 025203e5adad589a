"""The commands and secrets: where one comes from, many at once, an export without them, sealing them anew, a copy of all."""

import concurrent.futures
import contextlib
import os
import pty
import re
import select
import sqlite3
import subprocess
import termios
import time

import stack
from commands import MODEL, TOKEN, Operated, by_name, followed, operated, rows


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
    operated.ok("keys", "add", "spare", "--backend", "second", "--disabled", "--secret-stdin", given=stack.KEYS[3])
    operated.ok("keys", "disable", "b-1")
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
    fresh.more = {"HEADGATE_KEY_B_1_SECRET": stack.KEYS[2], "HEADGATE_KEY_C_1_SECRET": stack.KEYS[4], "HEADGATE_KEY_SPARE_SECRET": stack.KEYS[3]}
    with fresh:
        assert fresh.call(key)[0] == 200 and fresh.call(key, model="other-1")[0] == 200
        assert fresh.call("wrong")[0] == 401
        keys = by_name(fresh.json("keys", "list")["data"])
        assert {key["source"] for key in keys.values()} == {"file"}
        assert {name: key["enabled"] for name, key in keys.items()} == {"org-a-1": True, "b-1": False, "c-1": True, "spare": False}
        refused = fresh.run("keys", "enable", "spare")
        assert refused.returncode == 1 and "enabled: false" in refused.stderr


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
