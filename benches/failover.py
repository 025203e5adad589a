#!/usr/bin/env python3
"""The cost of moving a large conversation: CPU time of Headgate per hop from Anthropic to Bedrock to Vertex AI.

One simulated upstream speaks all three dialects. The same call of 500 KB with tools, images and a document is made with nothing
broken (one attempt), with Anthropic broken (two), and with Bedrock broken as well (three), in interleaved rounds. CPU time is what
the kernel charged to all threads of the gateway; a hop is the difference of two medians. The figures hold for this machine.

    python3 benches/failover.py [--calls 40] [--rounds 5] [--bin target/dist/headgate]

Linux only. All traffic stays on the loopback interface.
"""
import argparse
import glob
import json
import os
import statistics
import subprocess
import tempfile
import time
import urllib.request

from compare import ROOT, free_port, wait_for

MODEL = "claude-sonnet-5"
GOAL_MS = 2.0
PLANS = {"anthropic": [], "anthropic, bedrock": ["org-*"], "anthropic, bedrock, vertex": ["org-*", "aws-*"]}


def cpu_ms(pid):
    """CPU time of all threads, milliseconds."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        try:
            with open(path) as stat:
                total += int(stat.read().split()[0])
        except OSError:
            continue
    return total / 1e6


def conversation(size):
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo" * (size // 3 // 11)}}
    words = "some words of a document, " * (size // 3 // 26)
    tools = [{"name": f"tool_{n}", "description": "does it", "input_schema": {
        "type": "object", "properties": {f"p{i}": {"type": "string", "description": "a parameter"} for i in range(20)}}} for n in range(20)]
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": words}}
    return json.dumps({"model": MODEL, "max_tokens": 1000, "tools": tools, "messages": [
        {"role": "user", "content": [image, document]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "tool_1", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [image]}]},
    ]}).encode()


def settings(port, admin, upstream):
    url = f"http://127.0.0.1:{upstream}"
    return {
        "server": {"listen": f"127.0.0.1:{port}", "admin_listen": f"127.0.0.1:{admin}", "workers": 1, "drain_delay_s": 0},
        "relay": {"retry_budget_floor_per_s": 100000},
        "breaker": {"consecutive_failures": 1000000, "min_samples": 1000000},
        "backends": [
            {"name": "anthropic", "provider": "anthropic", "base_url": url,
             "keys": [{"name": "k", "secret": "value:sk-ant-api03-sim-org-a-1"}]},
            {"name": "bedrock", "provider": "bedrock", "region": "us-east-1", "base_url": url, "keys": [
                {"name": "aws", "access_key_id": "value:AKIASIMAWSA0001", "secret_access_key": "value:sim-secret-aws-a-1"}]},
            {"name": "vertex", "provider": "vertex", "project": "gcp-a", "location": "us-east5", "base_url": url, "auth": "none",
             "headers": {"authorization": "Bearer ya29.sim-gcp-a-1"}, "keys": [{"name": "gcp"}]},
        ],
        "routes": [{"model": "*", "spill_after_ms": 0, "targets": [
            {"backend": "anthropic"}, {"backend": "bedrock", "model": "us.anthropic.{model}"}, {"backend": "vertex"}]}],
    }


def break_keys(upstream, names):
    rules = [{"keys": [name], "fault": {"kind": "server_error"}} for name in names]
    request = urllib.request.Request(f"http://127.0.0.1:{upstream}/__sim/faults", json.dumps(rules).encode(),
                                     {"content-type": "application/json"})
    urllib.request.urlopen(request, timeout=5).read()


def call(port, payload, served):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/messages", payload, {
        "content-type": "application/json", "anthropic-version": "2023-06-01"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()
        assert answer.headers["x-headgate-backend"] == served, answer.headers["x-headgate-backend"]


def measure(pid, port, upstream, arguments):
    payload = conversation(500_000)
    print(f"a body of {len(payload)} bytes, medians of {arguments.rounds} rounds of {arguments.calls} calls")
    samples = {plan: [] for plan in PLANS}
    for _ in range(arguments.rounds + 1):
        for plan, broken in PLANS.items():
            break_keys(upstream, broken)
            before = cpu_ms(pid)
            for _ in range(arguments.calls):
                call(port, payload, plan.rpartition(", ")[2])
            samples[plan].append((cpu_ms(pid) - before) / arguments.calls)
    medians = {plan: statistics.median(rounds[1:]) for plan, rounds in samples.items()}
    for plan, median in medians.items():
        print(f"{plan}: {median:.2f} ms of CPU a call")
    one, two, three = medians.values()
    for name, hop in (("anthropic to bedrock", two - one), ("bedrock to vertex", three - two)):
        print(f"{name}: {hop:.2f} ms a hop (goal {GOAL_MS:.0f} ms)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bin", default=os.path.join(ROOT, "target", "dist", "headgate"))
    arguments = parser.parse_args()
    binary = os.path.abspath(arguments.bin)
    if not os.path.exists(binary):
        raise SystemExit(f"{binary} is not there: cargo build --profile dist")
    with tempfile.TemporaryDirectory() as folder, open(os.path.join(folder, "log"), "wb") as log:
        port, admin, upstream = free_port(), free_port(), free_port()
        simulated, path = os.path.join(folder, "simulate.yaml"), os.path.join(folder, "headgate.yaml")
        with open(simulated, "w") as out:
            json.dump({"record": {"requests": 1, "body_bytes": 1024}}, out)
        with open(path, "w") as out:
            json.dump(settings(port, admin, upstream), out)
        processes = []
        try:
            for command in (["simulate", "--listen", f"127.0.0.1:{upstream}", "--config", simulated], ["serve", "--config", path]):
                processes.append(subprocess.Popen([binary, *command], stdout=log, stderr=log, cwd=folder))
                time.sleep(0.1)
            wait_for(f"http://127.0.0.1:{upstream}/v1/models")
            wait_for(f"http://127.0.0.1:{port}/healthz")
            measure(processes[1].pid, port, upstream, arguments)
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait()


if __name__ == "__main__":
    main()
