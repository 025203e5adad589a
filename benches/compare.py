#!/usr/bin/env python3
"""Headgate beside a plain nginx reverse proxy: CPU time per 1,000 requests, latency, memory.

Both proxies stand before the same simulated upstream and are pinned to the same core in turn, in interleaved rounds; load
and upstream share the other cores. The figures are medians over the rounds. CPU time is what the kernel charged to the
proxy's processes, the steadiest figure on a busy machine. Headgate logs a line a request to a file, nginx its access log.

    python3 benches/compare.py [--rounds 5] [--seconds 4] [--only json,stream,...] [--bin target/dist/headgate]

Needs nginx and wrk (Debian packages of those names), Linux, two cores. All traffic stays on the loopback interface.
"""
import argparse
import asyncio
import json
import os
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TICK = os.sysconf("SC_CLK_TCK")
KEYS = [f"sk-ant-api03-sim-org-{org}-{n}" for org in "abc" for n in (1, 2)]
PROXY_CORE, LOAD_CORE = 0, 1


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pinned(core, command, **kwargs):
    return subprocess.Popen(["taskset", "-c", str(core), *command], **kwargs)


def wait_for(url):
    deadline = time.monotonic() + 20
    while True:
        try:
            urllib.request.urlopen(url, timeout=1).read()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise SystemExit(f"nothing answers at {url}")
            time.sleep(0.05)


def family(pid):
    """The process and its children."""
    pids = [pid]
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat:
                    if int(stat.read().rpartition(")")[2].split()[1]) == pid:
                        pids.append(int(entry))
            except (OSError, IndexError):
                continue
    return pids


def cpu_seconds(pid):
    total = 0
    for member in family(pid):
        with open(f"/proc/{member}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def rss_kb(pid):
    total = 0
    for member in family(pid):
        with open(f"/proc/{member}/status") as status:
            found = re.search(r"VmRSS:\s+(\d+)", status.read())
        total += int(found.group(1)) if found else 0
    return total


class Stage:
    """Upstream, nginx and Headgate, running."""

    def __init__(self, binary, folder):
        self.folder = folder
        self.processes = []
        self.upstream = free_port()
        config = os.path.join(folder, "simulate.yaml")
        keys = [{"name": f"k{i}", "secret": key} for i, key in enumerate(KEYS)]
        with open(config, "w") as out:
            json.dump({
                "organizations": [{"name": f"o{i}", "limits": [], "keys": [key]} for i, key in enumerate(keys)],
                "record": {"requests": 1, "body_bytes": 1024},
            }, out)
        self.start(LOAD_CORE, [binary, "simulate", "--listen", f"127.0.0.1:{self.upstream}", "--config", config], "sim")
        wait_for(f"http://127.0.0.1:{self.upstream}/v1/models")
        self.proxies = {"nginx": self.start_nginx(), "headgate": self.start_headgate(binary)}

    def start(self, core, command, name):
        log = open(os.path.join(self.folder, f"{name}.log"), "wb")
        process = pinned(core, command, stdout=log, stderr=log, cwd=self.folder)
        self.processes.append(process)
        return process

    def start_nginx(self):
        port = free_port()
        path = os.path.join(self.folder, "nginx.conf")
        with open(path, "w") as out:
            out.write(f"""
daemon off; master_process on; worker_processes 1; pid {self.folder}/nginx.pid; error_log {self.folder}/nginx.err;
events {{ worker_connections 20000; }}
http {{
  access_log {self.folder}/access.log;
  client_body_temp_path {self.folder}/body; proxy_temp_path {self.folder}/proxy; fastcgi_temp_path {self.folder}/f;
  uwsgi_temp_path {self.folder}/u; scgi_temp_path {self.folder}/s;
  client_max_body_size 64m; client_body_buffer_size 1m; keepalive_requests 1000000;
  upstream api {{ server 127.0.0.1:{self.upstream}; keepalive 512; keepalive_requests 1000000; }}
  server {{ listen 127.0.0.1:{port} backlog=2048;
    location / {{ proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
      proxy_read_timeout 600s; }} }}
}}
""")
        process = self.start(PROXY_CORE, [shutil.which("nginx") or "/usr/sbin/nginx", "-c", path], "nginx")
        wait_for(f"http://127.0.0.1:{port}/v1/models")
        return port, process.pid

    def start_headgate(self, binary, name="headgate", extra=None, backends=None):
        port, admin = free_port(), free_port()
        os.makedirs(os.path.join(self.folder, "config"), exist_ok=True)
        path = os.path.join(self.folder, "config", f"{name}.yaml")
        with open(path, "w") as out:
            json.dump({
                "server": {"listen": f"127.0.0.1:{port}", "admin_listen": f"127.0.0.1:{admin}", "workers": 1,
                           "drain_delay_s": 0},
                "backends": backends or [{
                    "name": "anthropic", "provider": "anthropic", "base_url": f"http://127.0.0.1:{self.upstream}",
                    "keys": [{"name": f"k{i}", "secret": f"value:{key}"} for i, key in enumerate(KEYS)],
                }],
                **(extra or {}),
            }, out)
        process = self.start(PROXY_CORE, [binary, "serve", "--config", path], name)
        wait_for(f"http://127.0.0.1:{port}/healthz")
        return port, process.pid

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def body(prompt_bytes, marker="", stream=False):
    text = f"{marker} " + "lorem ipsum " * (prompt_bytes // 12)
    return json.dumps({"model": "claude-sonnet-4-5", "max_tokens": 1024, "stream": stream,
                       "messages": [{"role": "user", "content": text}]})


def wrk_script(folder, payload):
    path = os.path.join(folder, "load.lua")
    data = os.path.join(folder, "payload.json")
    with open(data, "w") as out:
        out.write(payload)
    with open(path, "w") as out:
        out.write(f"""
wrk.method = "POST"
local file = io.open("{data}", "rb"); wrk.body = file:read("*a"); file:close()
wrk.headers["content-type"] = "application/json"
wrk.headers["anthropic-version"] = "2023-06-01"
wrk.headers["x-api-key"] = "{KEYS[0]}"
done = function(summary, latency, requests)
  io.write(string.format('RESULT {{"requests": %d, "errors": %d, "p50": %d, "p99": %d, "mean": %f}}\\n',
    summary.requests, summary.errors.status + summary.errors.read + summary.errors.timeout + summary.errors.connect,
    latency:percentile(50), latency:percentile(99), latency.mean))
end
""")
    return path


def wrk(script, port, connections, seconds):
    out = subprocess.run(
        ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s",
         "-s", script, f"http://127.0.0.1:{port}/v1/messages"],
        capture_output=True, text=True, check=True).stdout
    return json.loads(re.search(r"RESULT (.*)", out).group(1))


def measure(stage, rows, name, payload, connections, rounds, seconds):
    script = wrk_script(stage.folder, payload)
    found = {proxy: [] for proxy in stage.proxies}
    for proxy, (port, _) in stage.proxies.items():
        wrk(script, port, connections, 1)
    for _ in range(rounds):
        for proxy, (port, pid) in stage.proxies.items():
            before = cpu_seconds(pid)
            result = wrk(script, port, connections, seconds)
            spent = cpu_seconds(pid) - before
            if result["errors"]:
                raise SystemExit(f"{name}: {proxy} had {result['errors']} errors")
            found[proxy].append((spent / max(result["requests"], 1) * 1000, result["p50"], result["p99"],
                                 result["requests"] / seconds))
    medians = {proxy: [statistics.median(column) for column in zip(*runs)] for proxy, runs in found.items()}
    ratio = medians["headgate"][0] / medians["nginx"][0] if medians["nginx"][0] else float("nan")
    for proxy, (cpu, p50, p99, rate) in medians.items():
        rows.append((name, proxy, cpu, p50 / 1000, p99 / 1000, rate, ratio if proxy == "headgate" else 1.0))
        print("%-24s %-9s cpu/1000 %8.4f s   p50 %8.3f ms   p99 %8.3f ms   %8.0f /s   cpu ratio %5.2f" % rows[-1],
              flush=True)


async def open_streams(port, count, payload):
    request = (f"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
               f"anthropic-version: 2023-06-01\r\nx-api-key: {KEYS[0]}\r\ncontent-length: {len(payload)}\r\n\r\n{payload}")
    gate = asyncio.Semaphore(2000)

    async def one():
        async with gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request.encode())
            await reader.readuntil(b"content_block_delta")
            return reader, writer

    return await asyncio.gather(*(one() for _ in range(count)))


def memory(stage, count):
    port, pid = stage.proxies["headgate"]
    payload = body(200, "[[sim:events=200,pace_ms=3000]]", stream=True)

    async def run():
        before = rss_kb(pid)
        streams = await open_streams(port, count, payload)
        during = rss_kb(pid)
        for _, writer in streams:
            writer.close()
        return before, during

    before, during = asyncio.run(run())
    print(f"memory: {before / 1024:.1f} MB before, {during / 1024:.1f} MB with {count} open streams: "
          f"{(during - before) / count:.1f} KB each", flush=True)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and rss_kb(pid) > before * 1.5:
        time.sleep(1)
    print(f"memory: {rss_kb(pid) / 1024:.1f} MB after they closed", flush=True)


def failover(stage, rounds):
    """One call of 500 KB whose first key answers 429: how much longer it takes than the same call that is answered at once, less
    what the 429 takes upstream by itself. Each round takes the three in turn; the figures are medians."""
    payload = body(500_000)
    samples = {"refused upstream": [], "answered": [], "moved": []}
    for _ in range(rounds * 4):
        # Parks last little more than a second: with six groups, one refused every half second, there is always one to serve.
        time.sleep(0.5)
        control = f"http://127.0.0.1:{stage.upstream}/__sim/faults"
        rule = [{"count": 1, "fault": {"kind": "rate_limited", "retry_after": 1}}]
        refuse_one = urllib.request.Request(control, json.dumps(rule).encode(), {"content-type": "application/json"})
        urllib.request.urlopen(refuse_one, timeout=5).read()
        samples["moved"].append(post(stage.proxies["headgate"][0], payload))
        urllib.request.urlopen(urllib.request.Request(control, method="DELETE"), timeout=5).read()
        samples["answered"].append(post(stage.proxies["headgate"][0], payload))
        urllib.request.urlopen(refuse_one, timeout=5).read()
        samples["refused upstream"].append(post(stage.upstream, payload))
        urllib.request.urlopen(urllib.request.Request(control, method="DELETE"), timeout=5).read()
    medians = {name: statistics.median(times) * 1000 for name, times in samples.items()}
    added = medians["moved"] - medians["answered"] - medians["refused upstream"]
    told = ", ".join(f"{name} {median:.2f} ms" for name, median in medians.items())
    print(f"failover of 500 KB after a 429: {told}: the gateway's own time for the move {added:.2f} ms", flush=True)


def post(port, payload):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/messages", payload.encode(), {
        "content-type": "application/json", "anthropic-version": "2023-06-01", "x-api-key": KEYS[0]})
    start = time.perf_counter()
    try:
        urllib.request.urlopen(request, timeout=30).read()
    except urllib.error.HTTPError as error:
        error.read()
    return time.perf_counter() - start


def main():
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--streams", type=int, default=5000)
    parser.add_argument("--only", default="json,one,large,paced,burst,failover,memory")
    parser.add_argument("--bin", default=os.path.join(ROOT, "target", "dist", "headgate"))
    arguments = parser.parse_args()
    for tool in ("nginx", "wrk", "taskset"):
        if not (shutil.which(tool) or os.path.exists(f"/usr/sbin/{tool}")):
            raise SystemExit(f"{tool} is not installed")
    binary = os.path.abspath(arguments.bin)
    if not os.path.exists(binary):
        raise SystemExit(f"{binary} is not there: cargo build --profile dist")
    wanted = arguments.only.split(",")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        stage = Stage(binary, folder)
        rows = []
        rounds, seconds = arguments.rounds, arguments.seconds
        try:
            idle = rss_kb(stage.proxies["headgate"][1])
            fresh = idle
            # The program's own pages are counted once they are used: idle is what it takes after its first requests.
            for prompt in (body(1000), body(1000, "[[sim:events=20]]", True)):
                for _ in range(50):
                    post(stage.proxies["headgate"][0], prompt)
            idle = rss_kb(stage.proxies["headgate"][1])
            print(f"idle memory: headgate {fresh / 1024:.1f} MB at the start, {idle / 1024:.1f} MB after its first requests",
                  flush=True)
            if "json" in wanted:
                measure(stage, rows, "1 KB, 64 connections", body(1000), 64, rounds, seconds)
            if "one" in wanted:
                measure(stage, rows, "1 KB, 1 connection", body(1000), 1, rounds, seconds)
            if "large" in wanted:
                measure(stage, rows, "500 KB, 8 connections", body(500_000), 8, rounds, seconds)
            if "paced" in wanted:
                marker = "[[sim:events=100,pace_ms=5]]"
                measure(stage, rows, "100 events 5 ms apart", body(1000, marker, True), 64, rounds, seconds)
            if "burst" in wanted:
                measure(stage, rows, "100 events at once", body(1000, "[[sim:events=100]]", True), 64, rounds, seconds)
            if "failover" in wanted:
                failover(stage, rounds)
            if "memory" in wanted:
                memory(stage, arguments.streams)
                print(f"idle memory after all of it: {rss_kb(stage.proxies['headgate'][1]) / 1024:.1f} MB "
                      f"(began at {idle / 1024:.1f} MB)", flush=True)
        finally:
            stage.stop()


if __name__ == "__main__":
    sys.exit(main())
