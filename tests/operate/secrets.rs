//! Secrets on their way in, and minted keys on their way out.

use serde_json::json;

use super::plane::{Plane, json as answer};

const ADD: [&str; 5] = ["keys", "add", "a", "--backend", "b"];

fn add(more: &[&'static str]) -> Vec<&'static str> {
    ADD.iter().chain(more).copied().collect()
}

#[test]
fn a_secret_comes_from_standard_input_a_file_or_a_variable() {
    let expected = json!({ "name": "a", "backend": "b", "secret": "sk-canary" });
    let plane = Plane::playing([answer(201, "{}")]);
    let told = plane.run_with(&add(&["--secret-stdin"]), "sk-canary\r\n");
    assert!(plane.only().json() == expected && !format!("{told:?}").contains("sk-canary"));

    let plane = Plane::playing([answer(201, "{}")]);
    let mut command = plane.command(&add(&["--secret-env", "KEY"]));
    assert!(command.env("KEY", " sk-canary\n").status().unwrap().success());
    assert_eq!(plane.only().json(), expected);

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "\u{feff}sk-canary\n").unwrap();
    let plane = Plane::playing([answer(201, "{}")]);
    let mut command =
        plane.command(&add(&["--secret-file", "key", "--weight", "2", "--group", "g", "--disabled"]));
    assert!(command.current_dir(folder.path()).status().unwrap().success());
    let more = json!({ "name": "a", "backend": "b", "secret": "sk-canary", "weight": 2.0, "limit_group": "g", "enabled": false });
    assert_eq!(plane.only().json(), more);
}

#[test]
fn credentials_of_clouds_are_told_apart() {
    let plane = Plane::playing([answer(201, "{}")]);
    let mut command = plane.command(&add(&["--access-key-id-env", "ID", "--secret-access-key-env", "KEY"]));
    assert!(command.env("ID", "AKIA1").env("KEY", "s").status().unwrap().success());
    assert_eq!(
        plane.only().json(),
        json!({ "name": "a", "backend": "b", "access_key_id": "AKIA1", "secret_access_key": "s" })
    );

    let account = r#"{"type":"service_account","private_key":"x"}"#;
    for more in [&["--secret-stdin"][..], &["--service-account-file", "-"]] {
        let plane = Plane::playing([answer(201, "{}")]);
        assert_eq!(plane.run_with(&add(more), account).code, 0);
        assert_eq!(plane.only().json(), json!({ "name": "a", "backend": "b", "service_account": account }));
    }
}

#[test]
fn no_argument_takes_a_secret() {
    for more in [
        &["--secret", "sk-x"][..],
        &["sk-x"],
        &["--bearer-token", "sk-x"],
        &["--token", "sk-x"],
        &["--credential-chain=sk-x"],
    ] {
        let told = Plane::playing([]).run(&add(more));
        assert_eq!(told.code, 2, "{more:?}");
    }
    let told = Plane::playing([]).run(&add(&["--secret-env", "sk-canary"]));
    assert!(told.code == 2 && !told.err.contains("canary"), "{told:?}");
}

#[test]
fn exactly_one_source_is_taken_and_without_a_terminal_one_must_be_given() {
    let told = Plane::playing([]).run(&ADD);
    assert!(told.code == 2 && told.err.contains("--secret-stdin"), "{told:?}");
    let told = Plane::playing([]).run(&add(&["--secret-stdin", "--secret-env", "KEY"]));
    assert_eq!(told.code, 2, "{told:?}");
}

#[test]
fn a_secret_that_none_can_be_is_refused_here_and_not_quoted() {
    for wrong in ["", "\n", "canary canary", "canary\u{1}"] {
        let told = Plane::playing([]).run_with(&add(&["--secret-stdin"]), wrong);
        assert!(told.code == 1 && !told.err.contains("canary"), "{told:?}");
    }
}

#[test]
fn a_minted_key_is_alone_on_standard_output() {
    let minted = r#"{"name":"acme","key":"hgc_minted"}"#;
    let plane = Plane::playing([answer(201, minted), answer(200, minted), answer(201, minted)]);
    for arguments in [&["tenants", "add", "acme"][..], &["tenants", "rotate", "acme"]] {
        let told = plane.run(arguments);
        assert!(
            told.out == "hgc_minted\n" && told.err.contains("once") && !told.err.contains("hgc_"),
            "{told:?}"
        );
    }
    assert_eq!(plane.run(&["tenants", "add", "acme", "--json"]).out, format!("{minted}\n"));
    let plane = Plane::playing([answer(201, r#"{"name":"t","token":"hga_minted"}"#)]);
    assert_eq!(plane.run(&["tokens", "add", "t", "--role", "admin"]).out, "hga_minted\n");
}

#[test]
fn an_import_tells_of_every_key() {
    let reply = r#"{"results":[{"name":"a","status":"created"},{"name":"b","status":"unchanged"}]}"#;
    let plane = Plane::playing([answer(200, reply)]);
    let told =
        plane.run_with(&["keys", "import", "--backend", "b", "--file", "-"], "a=sk-1\r\n# c\r\nb='sk-2'\r\n");
    assert_eq!(told.code, 0, "{told:?}");
    assert_eq!(told.rows()[1..], [["a", "created", "-"], ["b", "unchanged", "-"]]);
    let asked = plane.only();
    assert_eq!(asked.line(), "POST /admin/v1/keys/import");
    let keys = json!({ "keys": [{ "name": "a", "backend": "b", "secret": "sk-1" }, { "name": "b", "backend": "b", "secret": "sk-2" }] });
    assert_eq!(asked.json(), keys);
}

#[test]
fn an_import_with_a_conflict_ends_with_1_and_large_ones_go_in_parts() {
    let reply = |status: &str| {
        answer(200, &format!(r#"{{"results":[{{"name":"a","status":"{status}","detail":"d"}}]}}"#))
    };
    let plane = Plane::playing([reply("created"), reply("conflict")]);
    let file: String = (0..1500).map(|at| format!("k{at}=sk-{at}\n")).collect();
    let told = plane.run_with(&["keys", "import", "--backend", "b", "--file", "-", "--json"], &file);
    assert_eq!((told.code, plane.asked().len()), (1, 2), "{told:?}");
    let results: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(results["results"].as_array().unwrap().len(), 2);
}

#[test]
fn variables_are_imported_by_what_their_names_begin_with() {
    let plane = Plane::playing([answer(200, r#"{"results":[]}"#)]);
    let mut command = plane.command(&["keys", "import", "--backend", "b", "--from-env", "ANT_", "--dry-run"]);
    assert!(command.env("ANT_1", "sk-1").env("ANT_2", "sk-2").status().unwrap().success());
    let asked = plane.only();
    assert!(asked.target.ends_with("?dry_run=true"));
    assert_eq!(asked.json()["keys"].as_array().unwrap().len(), 2);
}

#[test]
fn an_export_is_a_configuration_file_or_a_list_of_keys() {
    let tree =
        r#"{"backends":[{"name":"b","keys":[{"name":"a","secret":"env:A","secret_fingerprint":"0123"}]}]}"#;
    let plane = Plane::playing([answer(200, tree), answer(200, tree), answer(200, tree)]);
    let whole = plane.run(&["export"]).out;
    assert!(whole.starts_with("backends:\n") && whole.contains("secret: \"env:A\""), "{whole}");
    assert_eq!(plane.run(&["export", "--json"]).out, format!("{tree}\n"));
    let keys: serde_json::Value =
        serde_json::from_str(&plane.run(&["keys", "export", "--format", "json"]).out).unwrap();
    assert_eq!((&keys["keys"][0]["backend"], &keys["keys"][0]["name"]), (&json!("b"), &json!("a")));
}
