"""`kill -9` at any moment: what the admin API has answered is there after it, whole, and of usage at most a second is missing."""

import http.client
import os
import random
import threading
import time

import stack
from operated import Operated

KILLS = 50
KEEPS_S = 1.0
GONE = (OSError, http.client.HTTPException)
KEY = "sk-ant-api03-sim-org-{}-{}"


class Ledger:
    """What was acknowledged, and what was under way when the process ended."""

    def __init__(self, rng):
        self.rng, self.acknowledged, self.doubtful, self.made = rng, {}, None, 0
        self.audited = 0

    def write(self, gateway):
        """One random write. Raises where no answer came."""
        kind = self.rng.choice(["tenants", "keys", "routes"])
        mine = [id for (of, id) in self.acknowledged if of == kind]
        doing = self.rng.choice(["create", "patch", "patch", "patch", "delete", "rotate", "switch", "switch", "park"]) if mine else "create"
        if doing in ("rotate", "switch", "park") and kind != "keys":
            doing = "patch"
        if doing == "create":
            return self.create(gateway, kind)
        target = (kind, self.rng.choice(mine))
        before = self.acknowledged[target]
        if doing == "rotate" and before["parked"]:
            # A park belongs to its secret and comes back with it, so only keys without one get another.
            doing = "park"
        path = f"/{kind}/{target[1]}"
        weight = self.rng.randint(1, 10_000)
        if doing == "delete":
            after, ask = None, ("DELETE", path)
        elif doing == "rotate":
            after = {**before, "revision": before["revision"] + 1}
            ask = ("POST", f"{path}/rotate", {"secret": KEY.format(self.rng.choice("abc"), self.rng.choice("12"))})
        elif doing == "switch":
            after = {**before, "enabled": not before["enabled"]}
            ask = ("POST", f"{path}/{'disable' if before['enabled'] else 'enable'}")
        elif doing == "park":
            after = {**before, "parked": not before["parked"]}
            ask = ("POST", f"{path}/unpark") if before["parked"] else ("POST", f"{path}/park", {"seconds": 3600})
        elif kind == "routes":
            after = {**before, "revision": before["revision"] + 1, "spill_after_ms": weight}
            ask = ("PATCH", path, {"spill_after_ms": weight})
        else:
            after = {**before, "revision": before["revision"] + 1, "weight": weight}
            ask = ("PATCH", path, {"weight": weight})
        self.doubtful = (target, before, after)
        gateway.expect(200, *ask)
        if after is None:
            del self.acknowledged[target]
        else:
            self.acknowledged[target] = after
        self.doubtful = None
        self.audited += 1

    def create(self, gateway, kind):
        self.made += 1
        name, weight = f"made-{self.made}", self.rng.randint(1, 10_000)
        if kind == "tenants":
            body = after = {"name": name, "weight": weight}
        elif kind == "keys":
            after = {"name": name, "weight": weight, "enabled": self.rng.random() < 0.5}
            body, after = {**after, "backend": "anthropic", "secret": KEY.format("a", "1")}, {**after, "parked": False}
        else:
            body = after = {"model": name, "spill_after_ms": weight, "targets": [{"backend": "anthropic"}]}
        # A route's id is the program's to say, so it is found by its model.
        self.doubtful = ((kind, name), None, {**after, "revision": 1})
        made = gateway.expect(201, "POST", f"/{kind}", body)
        self.acknowledged[kind, made["id"] if kind == "routes" else name] = {**after, "revision": 1}
        self.doubtful = None
        self.audited += 1

    def settle(self, gateway):
        """Compares with what is there; what was under way may be done or not, and is known from here on."""
        there = {}
        for kind in ("tenants", "keys", "routes"):
            for each in gateway.everything(f"/{kind}"):
                if each["source"] == "store":
                    there[kind, each["id"] if kind == "routes" else each["name"]] = each
        if self.doubtful:
            target, before, after = self.doubtful
            if target[0] == "routes" and before is None:
                ids = [id for id, each in there.items() if id[0] == "routes" and each["model"] == target[1]]
                target = ids[0] if ids else target
            found = there.get(target)
            options = [option for option in (before, after) if (option is None) == (found is None)]
            options = [option for option in options if option is None or same(found, option)]
            assert options, f"half a write: {found}, expected {before} or {after}"
            self.acknowledged.pop(target, None)
            if options[-1] is not None:
                self.acknowledged[target] = options[-1]
            self.doubtful = None
        assert there.keys() == self.acknowledged.keys()
        for target, expected in self.acknowledged.items():
            assert same(there[target], expected), f"{target}: {there[target]}, expected {expected}"
            assert not there[target].get("problem"), there[target]


def same(found, expected):
    """Whether it is so; a route's targets come back with more in them."""
    found = {**found, "parked": bool(found.get("parks"))}
    return all(found[name] == value for name, value in expected.items() if name != "targets")


class Traffic(threading.Thread):
    """Calls one after the other, and when each was answered."""

    def __init__(self, gateway):
        super().__init__(daemon=True)
        self.gateway, self.answered, self.failed, self.stopping = gateway, [], [], threading.Event()

    def run(self):
        while not self.stopping.is_set():
            try:
                status, text = self.gateway.call(key=CLIENT)
            except GONE as error:
                if not self.stopping.is_set():
                    self.failed.append(error)
                return
            self.answered.append(time.monotonic())
            if status != 200:
                self.failed.append((status, text))


CLIENT = "e2e-client-key-0123456789"
# Those of the files, beside which the stored ones come and go.
FILES = {
    "tenants": [{"name": "client", "key": f"value:{CLIENT}"}],
    "routes": [{"model": "*", "targets": [{"backend": "anthropic"}]}],
}


def begin(scratch, simulator, tmp_path):
    return Operated(scratch, simulator.url, tmp_path / "kill.db", **FILES)


def recorded(gateway):
    return gateway.everything("/usage/records")


def test_fifty_kills_lose_no_acknowledged_write_and_at_most_a_second_of_usage(scratch, simulator, tmp_path):
    seed = int(os.environ.get("HEADGATE_E2E_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"HEADGATE_E2E_SEED={seed}")
    rng = random.Random(seed)
    ledger, writes, lost = Ledger(rng), 0, 0
    known, sure, most = 0, 0, 0
    for kill in range(KILLS + 2):
        with begin(scratch, simulator, tmp_path) as gateway:
            ledger.settle(gateway)
            # The records of one caller reach the store in their order, so what is missing are the last ones.
            found = len(recorded(gateway)) - known
            assert sure <= found <= most, f"kill {kill}: {found} records, {sure} were more than {KEEPS_S} s old, {most} were asked"
            known, lost = known + found, lost + most - found
            if kill > KILLS:
                break
            traffic = [Traffic(gateway) for _ in range(2)]
            [each.start() for each in traffic]
            before = ledger.audited
            end = time.monotonic() + rng.uniform(0.05, 1.6)
            killed = kill < KILLS
            killer = threading.Timer(end - time.monotonic(), gateway.process.kill)
            if killed:
                killer.start()
            try:
                while killed or time.monotonic() < end:
                    ledger.write(gateway)
            except GONE:
                assert killed
            writes += ledger.audited - before
            [each.stopping.set() for each in traffic]
            if not killed:
                [each.join(30) for each in traffic]
                gateway.process.terminate()
            code = gateway.process.wait(30)
            assert code == (-9 if killed else 0)
            [each.join(30) for each in traffic]
            wrong = [why for each in traffic for why in each.failed if isinstance(why, tuple)]
            assert not wrong, wrong[0]
            answered = sorted(at for each in traffic for at in each.answered)
            sure = sum(at < end - KEEPS_S for at in answered) if killed else len(answered)
            most = len(answered) + (len(traffic) if killed else 0)
    with begin(scratch, simulator, tmp_path) as gateway:
        sums = gateway.everything("/usage?by=day")
        assert sum(each["requests"] for each in sums) == known, "sums and records are written together"
        assert ledger.audited <= len(gateway.everything("/audit")) <= ledger.audited + KILLS
    assert writes > KILLS, "the kills hit writes"
    print(f"{writes} writes, {known} records kept, at most {lost} of the last seconds lost")
