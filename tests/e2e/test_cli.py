"""The commands that operate a gateway: what comes and goes, how they end, what people and shells see of them."""

import os
import pathlib
import re
import select
import shlex
import subprocess
import unicodedata

import pytest

import stack
from commands import MODEL, TOKEN, followed, operated


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
