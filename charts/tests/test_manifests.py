"""Manifests: valid for the oldest and the newest Kubernetes, safe, and true to the program's needs. Only renders."""

import base64
import functools
import itertools
import json
import pathlib
import re

import helm_python
import jsonschema
import kubernetes_validate
import kubernetes_validate.utils
import pytest
import yaml

import chart

# It reads its schemas anew for every object: most of these tests' time.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)

OLDEST, NEWEST = "1.30", kubernetes_validate.latest_version()
POSTGRES = {"config": {"store": {"url": "postgres://db/headgate"}}}
SWITCHES = {
    "defaults": {},
    "no account": {"serviceAccount": {"create": False}},
    "claim of one's own": {"persistence": {"kind": "existingClaim", "existingClaim": "mine"}},
    "emptyDir": {"persistence": {"kind": "emptyDir"}},
    "no volume": chart.merged(POSTGRES, {"persistence": {"kind": "none"}, "replicas": 3}),
    "replicas with volumes": chart.merged(POSTGRES, {"replicas": 2}),
    "configuration in a Secret": {"configKind": "Secret"},
    "node port": {"service": {"type": "NodePort", "nodePort": 30080}},
    "load balancer": {"service": {"type": "LoadBalancer", "loadBalancerClass": "example.com/nlb"}},
    "no admin service": {"adminService": {"enabled": False}},
    "admin on loopback": {"config": {"server": {"admin_listen": "127.0.0.1:9090"}}},
    "ingress": {"ingress": {"enabled": True, "hosts": [{"host": "a.example.com", "paths": [{"path": "/v1"}]}, {"host": "*.b.example.com"}]}},
    "no budget": {"podDisruptionBudget": {"enabled": False}},
    "fewest pods": {"podDisruptionBudget": {"maxUnavailable": None, "minAvailable": "50%"}},
    "no policy": {"networkPolicy": {"enabled": False}},
    "policy for callers": {"networkPolicy": {"from": [{"podSelector": {}}], "adminFrom": [{"namespaceSelector": {}}], "limitEgress": False}},
    "monitor": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
    "no test": {"tests": {"enabled": False}},
    "always roll": {"rollOnChange": "always"},
    "never roll": {"rollOnChange": "never"},
    "open": {"config": {"auth": {"tenants": "open"}, "tenants": []}},
    "placed": {"nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}], "priorityClassName": "high",
               "imagePullSecrets": [{"name": "pull"}], "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
               "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}},
    "extras": {"extraEnv": [{"name": "A", "value": "b"}], "extraEnvFrom": [{"secretRef": {"name": "c"}}], "podAnnotations": {"d": "e"},
               "podLabels": {"f": "g"}, "commonLabels": {"h": "i"}, "updateStrategy": {"type": "OnDelete"}},
    **{f"example {path.stem}": yaml.safe_load(path.read_text()) for path in chart.EXAMPLES},
}
every_switch = pytest.mark.parametrize("values", SWITCHES.values(), ids=SWITCHES)


def test_helm_finds_no_fault_with_the_chart():
    report = helm_python.lint(str(chart.CHART))
    # "icon is recommended" is all it may say.
    assert [each for each in report["messages"] if each["severity"] > 1] == []
    assert report["errors"] == []


@every_switch
@pytest.mark.parametrize("kubernetes", [OLDEST, NEWEST])
def test_manifests_are_valid(values, kubernetes):
    objects = chart.render(values)
    assert objects
    for each in objects.values():
        if each["kind"] == "ServiceMonitor":
            # A resource of the Prometheus Operator: its schema is not one of Kubernetes.
            schema_of_operator(each)
            continue
        kubernetes_validate.validate(each, kubernetes, strict=True)


def schema_of_operator(monitor):
    schema = json.loads((pathlib.Path(__file__).parent / "servicemonitor.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(monitor)


@every_switch
def test_the_same_values_give_the_same_bytes(values):
    assert chart.texts(values) == chart.texts(values)


@every_switch
def test_pods_keep_to_the_restricted_standard(values):
    objects = chart.render(values)
    specs = [chart.pod(objects)["spec"]] + [each["spec"] for each in chart.of_kind(objects, "Pod")]
    for spec in specs:
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["securityContext"].get("runAsUser", 1) != 0
        for container in spec["containers"] + spec.get("initContainers", []):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
            assert container["resources"]["limits"]["memory"]


@every_switch
def test_names_and_labels_lead_from_services_to_pods(values):
    objects = chart.render(values, release="a-release-whose-name-is-as-long-as-any-may-be-fifty3")
    labels = chart.pod(objects)["metadata"]["labels"]
    ports = {port["name"] for port in chart.gateway(objects)["ports"]}
    for service in chart.of_kind(objects, "Service"):
        assert service["spec"]["selector"].items() <= labels.items()
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for each in objects.values():
        assert len(each["metadata"]["name"]) <= 63
    volumes = {volume["name"] for volume in chart.pod(objects)["spec"]["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in chart.workload(objects)["spec"].get("volumeClaimTemplates", [])}
    assert {mount["name"] for mount in chart.gateway(objects)["volumeMounts"]} == volumes


def test_the_admin_plane_is_never_more_than_a_cluster_address():
    for values in SWITCHES.values():
        for service in chart.of_kind(chart.render(values), "Service"):
            if any(port["targetPort"] == "admin" for port in service["spec"]["ports"]):
                assert service["spec"]["type"] == "ClusterIP"
    policy = chart.render({})["NetworkPolicy", "headgate"]["spec"]
    assert policy["ingress"] == [{"ports": [{"port": "http", "protocol": "TCP"}]}]


def test_what_leaves_is_dns_https_and_the_ports_that_addresses_name():
    def ports(values):
        return [port["port"] for port in chart.render(values)["NetworkPolicy", "headgate"]["spec"]["egress"][1]["ports"]]

    assert ports({}) == [443]
    assert ports(chart.example("tls")) == [443, 3128]
    assert sorted(ports(chart.example("replicas"))) == [443, 5432, 6379]
    assert ports({"config": {"ledger": {"kind": "redis"}}}) == [443, 6379]
    assert ports({"config": {"ledger": {"kind": "memory", "url": "redis://x:7000"}}}) == [443]
    assert ports({"config": {"backends": [{"name": "a", "provider": "openai", "base_url": "http://local/v1", "keys": []}]}}) == [443, 80]


@pytest.mark.parametrize(("server", "needed"), [({}, 620), ({"drain_delay_s": 0, "drain_timeout_s": 0}, 10),
                                                ({"drain_delay_s": None, "drain_timeout_s": None}, 620), ({"drain_timeout_s": 86400}, 86420)])
def test_pods_get_the_time_their_drain_takes(server, needed):
    assert chart.pod(chart.render({"config": {"server": server}}))["spec"]["terminationGracePeriodSeconds"] == needed


def test_the_drain_that_is_counted_on_is_the_programs_own():
    defaults = yaml.safe_load((chart.ROOT / "config" / "default.yaml").read_text())["server"]
    bare = {"config": {"server": {name: None for name in ("drain_delay_s", "drain_timeout_s")}}}
    grace = chart.pod(chart.render(bare))["spec"]["terminationGracePeriodSeconds"]
    assert grace == defaults["drain_delay_s"] + defaults["drain_timeout_s"] + 10


def test_no_secret_is_outside_a_secret():
    canary = {name: f"canary-{name}-7c1f" for name in ("admin-token", "master-key", "anthropic-api-key", "tenant-key")}
    values = {"secrets": {"values": canary, "env": [{"name": "X", "key": "tenant-key"}]}}
    for name, text in chart.texts(values).items():
        if name != "secret.yaml":
            for secret in canary.values():
                assert secret not in text and base64.b64encode(secret.encode()).decode() not in text, name
    made = chart.render(values)["Secret", "headgate"]
    assert {name: base64.b64decode(data).decode() for name, data in made["data"].items()} == canary
    assert "annotations" not in made["metadata"]


def test_a_configuration_with_secrets_is_in_a_secret():
    for values in ({"tenants": [{"name": "a", "key": "value:abc"}]}, {"store": {"url": "postgres://u:p@host/db"}}):
        objects = chart.render({"configKind": "Secret", "config": values})
        assert chart.configuration(objects)[1] == "Secret"
        assert not chart.of_kind(objects, "ConfigMap")
        assert {"name": "config", "secret": {"secretName": "headgate-config"}} in chart.pod(objects)["spec"]["volumes"]


def test_pods_are_replaced_only_for_what_a_reload_cannot_apply():
    def sums(*layers):
        annotations = chart.pod(chart.render(chart.merged(*layers)))["metadata"]["annotations"]
        return {name: value for name, value in annotations.items() if name.startswith("checksum/")}

    at_start = [{"server": {"workers": 3}}, {"server": {"drain_timeout_s": 5}}, {"log": {"level": "debug"}},
                {"server": {"tls": {"cert": "file:/a", "key": "file:/b"}}}, {"deadlines": {"write_stall_ms": 5}}, {"usage": {"flush_ms": 90}}]
    live = [{"server": {"drain_delay_s": 5}}, {"relay": {"max_wait_ms": 5}}, {"deadlines": {"idle_ms": 5}}]
    for mode, change in itertools.product(("needed", "always", "never"), at_start + live):
        differs = sums({"rollOnChange": mode}) != sums({"rollOnChange": mode, "config": change})
        assert differs == (mode == "always" or (mode == "needed" and change in at_start)), (mode, change)
    secret = {"secrets": {"values": {name: "one" for name in ("admin-token", "master-key", "anthropic-api-key", "tenant-key")}}}
    rotated = chart.merged(secret, chart.nested("secrets.values.tenant-key", "two"))
    as_variable = {"secrets": {"env": [{"name": "X", "key": "tenant-key"}]}}
    # A file is read again by the running process; a variable cannot be.
    assert sums(secret) == sums(rotated)
    assert sums(secret, as_variable) != sums(rotated, as_variable)
    assert sums(secret, {"rollOnChange": "always"}) != sums(rotated, {"rollOnChange": "always"})


def test_a_new_version_of_the_chart_alone_replaces_no_pod():
    assert not {"helm.sh/chart", "app.kubernetes.io/version"} & set(chart.pod(chart.render())["metadata"]["labels"])


def test_probes_ask_the_data_port_in_its_own_protocol():
    for values, scheme in (({}, "HTTP"), (chart.example("tls"), "HTTPS")):
        container = chart.gateway(chart.render(values))
        for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
            assert container[probe]["httpGet"] == {"path": path, "port": "http", "scheme": scheme}
    assert chart.gateway(chart.render(chart.example("small")))["ports"] == [{"name": "http", "containerPort": 8000, "protocol": "TCP"}]


def test_numbers_stay_whole():
    """Helm holds numbers as floats; 33554432 must not become 3.3554432e+07, which the program refuses."""
    text, _ = chart.configuration(chart.render({"config": {"server": {"max_body_bytes": 33554432, "max_buffered_bytes": 1099511627776}}}))
    assert "max_body_bytes: 33554432\n" in text and "max_buffered_bytes: 1099511627776\n" in text


def test_the_notes_name_the_secret_that_pods_wait_for_and_what_to_mind():
    notes = chart.texts()["NOTES.txt"]
    assert "a Secret called headgate in namespace models" in notes
    for entry in ("admin-token", "master-key", "anthropic-api-key", "tenant-key"):
        assert f"\n  {entry}\n" in notes
    assert "WARNING" not in notes
    assert "a Secret called" not in chart.texts(chart.example("cloud"))["NOTES.txt"]
    assert "networkPolicy.adminFrom" in chart.texts({"serviceMonitor": {"enabled": True}})["NOTES.txt"]
    assert "count limits and parks each for itself" in chart.texts(SWITCHES["no volume"])["NOTES.txt"]
    assert "gone with its pod" in chart.texts(SWITCHES["emptyDir"])["NOTES.txt"]


@pytest.mark.parametrize("readme", [chart.ROOT / "README.md", chart.CHART / "README.md"], ids=["project", "chart"])
def test_the_secret_of_the_install_commands_has_what_the_default_configuration_asks_for(readme):
    made = set(re.findall(r"--from-literal=([a-z-]+)=", readme.read_text()))
    text, _ = chart.configuration(chart.render())
    assert made == set(re.findall(chart.SECRETS + r"(\S+)", text))
