"""The configuration the chart renders, as `headgate check` reads it. Runs the program; no socket."""

import pytest
import yaml

import chart

FILES = [chart.CHART / "values.yaml", *chart.EXAMPLES]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_program_loads_the_configuration_of(path, tmp_path):
    objects = chart.render(yaml.safe_load(path.read_text()))
    config, environment = chart.lay_out(objects, tmp_path)
    code, effective, complaint = chart.check(config, environment)
    assert code == 0, complaint
    # No secret is missing, and the program took the values over.
    assert "not set" not in complaint
    asked, loaded = yaml.safe_load(config.read_text())["server"], yaml.safe_load(effective)["server"]
    assert {name: loaded[name] for name in asked if name not in ("tls", "admin_tls")} == {
        name: value for name, value in asked.items() if name not in ("tls", "admin_tls")}
    # What the chart counted on is what the process will take.
    grace = chart.pod(objects)["spec"]["terminationGracePeriodSeconds"]
    assert grace >= loaded["drain_delay_s"] + loaded["drain_timeout_s"] + 10


def test_a_secret_that_is_missing_is_named(tmp_path):
    config, environment = chart.lay_out(chart.render(), tmp_path)
    (tmp_path / chart.SECRETS.strip("/") / "tenant-key").unlink()
    code, _, complaint = chart.check(config, environment)
    assert code == 78
    assert "tenants[0].key" in complaint and "tenant-key" in complaint


@pytest.mark.parametrize(("section", "option", "value"), [("server", "drain_timeout", 5), ("relay", "max_wait_ms", "soon"), ("log", "colour", True)])
def test_what_the_schema_leaves_to_the_program_is_refused_there(section, option, value, tmp_path):
    objects = chart.render({"config": {section: {option: value}}})
    config, environment = chart.lay_out(objects, tmp_path)
    code, _, complaint = chart.check(config, environment)
    assert code == 78
    assert f"{section}.{option}" in complaint
