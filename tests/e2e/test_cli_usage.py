"""The commands that tell what was used, and what happens as it happens."""

import csv
import decimal
import io
import json
import re
import select
import threading

import stack
from commands import MODEL, followed, operated

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
