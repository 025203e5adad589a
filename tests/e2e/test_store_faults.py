"""A store that is full, read-only, frozen, missing, older or newer: calls go on as before, the admin API says so, it heals."""

import concurrent.futures
import contextlib
import os
import pathlib
import sqlite3
import subprocess
import time

import pytest

import stack
from operated import Operated

TIMEOUT_MS = 800
# A write answers within its timeout; what is added is the machine's.
SLACK_MS = 1000
CALLS = 120
MIGRATIONS = pathlib.Path(__file__).resolve().parents[2] / "src/store/migrations"


CLIENT = "e2e-client-key-0123456789"


def begin(scratch, simulator, database, **options):
    return Operated(scratch, simulator.url, database, store={"timeout_ms": TIMEOUT_MS}, usage={"retry_max_ms": 500}, **options)


def p95_ms(times):
    return sorted(times)[len(times) * 95 // 100] * 1000


def interleaved(*gateways):
    """The 95th percentile of each gateway's calls, ms, made in turns so that the machine's noise is everyone's."""
    times = [[] for _ in gateways]
    for _ in range(CALLS):
        for gateway, own in zip(gateways, times):
            begun = time.monotonic()
            status, text = gateway.call()
            own.append(time.monotonic() - begun)
            assert status == 200, text
    return [p95_ms(own) for own in times]


def state(gateway):
    return gateway.expect(200, "GET", "/status")["store"]["state"]


def refused(gateway, name, waits=1):
    """A write that the store does not take: 503, within so many timeouts, in so many words."""
    begun = time.monotonic()
    status, problem = gateway.ask("POST", "/tokens", {"name": name, "role": "viewer"})
    took_ms = (time.monotonic() - begun) * 1000
    if status == 503:
        assert problem["type"].endswith("store-unavailable"), problem
        assert took_ms <= waits * TIMEOUT_MS + SLACK_MS, f"{took_ms} ms"
        return True
    assert status == 201, problem
    return False


def records(gateway):
    return len(gateway.everything("/usage/records"))


def through(broken, sound, breaks, heals):
    """Calls before, while the store is broken and after; all that is promised of it."""
    for gateway in (broken, sound):
        assert gateway.call()[0] == 200
    stack.until(lambda: records(broken) == 1, "the first record is written")
    broken.expect(201, "POST", "/tokens", {"name": "before", "role": "viewer"})
    breaks()
    made = 0
    while not refused(broken, f"fault-{made}"):
        made += 1
        assert made < 2000, "the store is not broken"
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        # Each waits for those before it no longer than for the store itself.
        assert all(pool.map(lambda at: refused(broken, f"crowd-{at}", waits=2), range(5)))
    ours, theirs = interleaved(broken, sound)
    print(f"p95 with a broken store {ours:.2f} ms, with a sound one {theirs:.2f} ms")
    assert ours <= 1.5 * theirs + 2, f"{ours} ms with a broken store, {theirs} ms with a sound one"
    stack.until(lambda: state(broken) == "failing", "the status says so")
    assert broken.metric("headgate_store_up") == 0
    assert "before" in [each["name"] for each in broken.expect(200, "GET", "/tokens")["data"]]
    broken.expect(200, "GET", "/keys")
    status, problem = broken.ask("POST", f"/keys/{broken.expect(200, 'GET', '/keys')['data'][0]['id']}/disable")
    assert status == 503 and "in force" in problem["detail"], problem
    heals()
    stack.until(lambda: state(broken) == "open", "it heals by itself")
    stack.until(lambda: broken.metric("headgate_store_up") == 1, "the metric says so")
    stack.until(lambda: broken.ask("POST", "/tokens", {"name": "after", "role": "viewer"})[0] in (201, 409), "it takes writes")
    stack.until(lambda: records(broken) == CALLS + 1, "what was buffered is written")
    assert broken.metric("headgate_usage_dropped_total") in (None, 0)


@pytest.fixture
def sound(scratch, simulator, tmp_path):
    with begin(scratch, simulator, tmp_path / "sound.db") as gateway:
        yield gateway


@contextlib.contextmanager
def small_disk(folder, size):
    """A file system of its own. Where it cannot be had the test fails: nothing else is a full disk."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_stops_no_call_and_heals(scratch, simulator, sound, tmp_path):
    with small_disk(tmp_path / "disk", "4m") as disk, begin(scratch, simulator, disk / "full.db") as gateway:
        ballast = disk / "ballast"

        def fill():
            with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))

        through(gateway, sound, fill, ballast.unlink)


def test_a_frozen_store_stops_no_call_and_heals(scratch, simulator, sound, tmp_path):
    with begin(scratch, simulator, tmp_path / "frozen.db") as gateway:
        other = sqlite3.connect(tmp_path / "frozen.db", isolation_level=None, timeout=5)
        through(gateway, sound, lambda: other.execute("BEGIN EXCLUSIVE"), lambda: other.execute("ROLLBACK"))
        other.close()


@pytest.fixture
def powerless(monkeypatch, tmp_path):
    """Even root's files then have modes that count."""
    if os.geteuid() == 0:
        wrapper = tmp_path / "powerless"
        wrapper.write_text(f'#!/bin/sh\nexec setpriv --bounding-set=-all --inh-caps=-all {stack.binary()} "$@"\n')
        wrapper.chmod(0o755)
        monkeypatch.setenv("HEADGATE_BIN", str(wrapper))


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_read_only_store_stops_no_call_and_heals(scratch, simulator, powerless, tmp_path, what):
    folder = tmp_path / "kept"
    folder.mkdir()
    with begin(scratch, simulator, folder / "ro.db") as gateway:
        gateway.expect(201, "POST", "/tokens", {"name": "before", "role": "viewer"})
    target, mode = (folder / "ro.db", 0o400) if what == "file" else (folder, 0o500)
    whole = target.stat().st_mode
    target.chmod(mode)
    try:
        # Without its folder SQLite reads nothing, so who the store may know is told to come again; who the files know is served.
        tenants = [{"name": "client", "key": f"value:{CLIENT}"}]
        with begin(scratch, simulator, folder / "ro.db", tenants=tenants) as gateway:
            assert gateway.call(key=CLIENT)[0] == 200
            assert gateway.call(key="another")[0] == (401 if what == "file" else 503)
            assert refused(gateway, "one")
            stack.until(lambda: state(gateway) == "failing", "the status says so")
            assert gateway.metric("headgate_store_up") == 0
            target.chmod(whole)
            stack.until(lambda: not refused(gateway, "two"), "it heals by itself")
            stack.until(lambda: state(gateway) == "open", "and says so")
            stack.until(lambda: records(gateway) >= 1, "what was buffered is written")
            names = [each["name"] for each in gateway.expect(200, "GET", "/tokens")["data"]]
            assert {"before", "two"} <= set(names)
    finally:
        target.chmod(whole)


def test_a_store_that_cannot_be_opened_at_the_start_is_opened_once_it_can(scratch, simulator, tmp_path):
    database = tmp_path / "missing" / "headgate.db"
    with begin(scratch, simulator, database) as gateway:
        assert gateway.call()[0] == 200
        assert refused(gateway, "one")
        assert "missing/headgate.db cannot be made" in gateway.log.read_text()
        assert state(gateway) == "failing"
        database.parent.mkdir()
        stack.until(lambda: not refused(gateway, "two"), "it heals by itself")
        stack.until(lambda: records(gateway) == 1, "what was buffered is written")
        assert state(gateway) == "open"


def test_a_locked_store_at_the_start_answers_unknown_callers_to_come_again(scratch, simulator, tmp_path):
    database = tmp_path / "locked.db"
    with begin(scratch, simulator, database) as gateway:
        key = gateway.expect(201, "POST", "/tenants", {"name": "t"})["key"]
        assert gateway.call(key=key)[0] == 200
    other = sqlite3.connect(database, isolation_level=None, timeout=5)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    with begin(scratch, simulator, database) as gateway:
        assert gateway.call(key=key)[0] == 503, "nobody can know yet"
        other.close()
        stack.until(lambda: gateway.call(key=key)[0] == 200, "it heals by itself")
        assert gateway.call(key="another")[0] == 401


def test_a_database_of_the_schema_before_is_brought_up_to_date(scratch, simulator, tmp_path):
    """By all migrations but the last, with what the program itself wrote and what was kept in the way of that schema."""
    newest = tmp_path / "newest.db"
    with begin(scratch, simulator, newest) as gateway:
        made = gateway.expect(201, "POST", "/tenants", {"name": "t"})
    *earlier, last = sorted(MIGRATIONS.glob("*.sql"))
    database = tmp_path / "older.db"
    with contextlib.closing(sqlite3.connect(database)) as older, older:
        for migration in earlier:
            older.executescript(migration.read_text())
        older.execute("ATTACH ? AS newest", (str(newest),))
        older.execute(older.execute("SELECT sql FROM newest.sqlite_schema WHERE name = '_sqlx_migrations'").fetchone()[0])
        older.execute("INSERT INTO _sqlx_migrations SELECT * FROM newest._sqlx_migrations WHERE version < ?", (int(last.name.split("_")[0]),))
        older.execute("INSERT INTO resources SELECT * FROM newest.resources")
    with begin(scratch, simulator, database) as gateway:
        assert gateway.call(key=made["key"])[0] == 200
        assert gateway.expect(200, "GET", "/tenants/t")["revision"] == 1
        stack.until(lambda: records(gateway) == 1, "usage is written")


def test_a_database_of_a_newer_schema_is_left_alone_and_told(scratch, simulator, tmp_path):
    database = tmp_path / "newer.db"
    with begin(scratch, simulator, database):
        pass
    with contextlib.closing(sqlite3.connect(database)) as newer, newer:
        newer.execute("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (99, 'x', 1, x'00', 0)")
        newer.execute("UPDATE compatibility SET least_known = 99")
    with begin(scratch, simulator, database) as gateway:
        said = "the store has schema 99, this program knows"
        stack.until(lambda: said in gateway.log.read_text(), "the log says so")
        assert said in gateway.expect(200, "GET", "/status")["store"]["reason"]
        assert refused(gateway, "one")
