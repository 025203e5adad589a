//! What files and variables of keys may look like.

use super::*;

fn shared() -> Shared {
    Shared { backend: Some("anthropic".to_owned()), ..Shared::default() }
}

fn pairs(text: &str) -> Vec<(String, String)> {
    let keys = of_file(text, &shared()).unwrap();
    let text = |key: &Map<String, Value>, field: &str| key[field].as_str().unwrap().to_owned();
    keys.iter().map(|key| (text(key, "name"), text(key, "secret"))).collect()
}

#[test]
fn lines_of_an_editor_on_any_system_are_read() {
    let file = "\u{feff}# the keys of org A\r\n\r\norg-a-1=sk-ant-1\r\nexport ORG_A_2=\"sk-ant-2\"\r\n  org-a-3 = 'sk-ant-3'  # spare\r\norg-a-4=sk-ant-4 # old\r\n";
    let expected =
        [("org-a-1", "sk-ant-1"), ("ORG_A_2", "sk-ant-2"), ("org-a-3", "sk-ant-3"), ("org-a-4", "sk-ant-4")];
    assert_eq!(pairs(file), expected.map(|(name, secret)| (name.to_owned(), secret.to_owned())));
}

#[test]
fn a_secret_without_a_name_is_named_the_same_each_time() {
    let first = pairs("sk-ant-1\nsk-ant-2\n");
    let second = pairs("sk-ant-2\nsk-ant-1\n");
    assert_eq!(first[0], second[1]);
    assert!(first[0].0.starts_with("anthropic-") && !first[0].0.contains("sk-ant"), "{first:?}");
}

#[test]
fn base64_with_its_padding_is_a_secret_and_no_name() {
    let secret = "QUJTS0FBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";
    assert_eq!(pairs(secret)[0].1, secret);
    assert_eq!(pairs(&format!("bedrock-1={secret}"))[0], ("bedrock-1".to_owned(), secret.to_owned()));
}

#[test]
fn a_repeated_line_counts_once_and_a_contradiction_is_refused() {
    assert_eq!(pairs("a=sk-1\nb=sk-2\na=sk-1\n").len(), 2);
    let said = of_file("a=canary-1\n\na=canary-2\n", &shared()).unwrap_err();
    assert!(said.contains("line 3") && said.contains("line 1") && !said.contains("canary"), "{said}");
}

#[test]
fn mistakes_name_the_line_and_not_the_secret() {
    for (file, place) in [
        ("a=canary\nb=\n", "line 2"),
        ("a=canary b\n", "line 1"),
        ("a=\"canary\n", "line 1"),
        ("a='canary' x\n", "line 1"),
        ("[\"canary\", 5]", "key 2"),
        ("[\"canary\", {\"secret\": \"canary\"}]", "key 2"),
        ("[\n\"canary\",", "line 2"),
    ] {
        let said = of_file(file, &shared()).unwrap_err();
        assert!(said.contains(place) && !said.contains("canary"), "{file:?}: {said}");
    }
    for empty in ["", "\n# nothing\n", "[]", "{}"] {
        assert!(of_file(empty, &shared()).is_err(), "{empty:?}");
    }
    assert!(of_file("a=sk-1", &Shared::default()).unwrap_err().contains("--backend"));
}

#[test]
fn json_may_say_more_of_each_key() {
    let shared = Shared { group: Some("org-a".to_owned()), weight: Some(2.0), ..shared() };
    let file = r#"{"keys": ["sk-ant-1", {"name": "b", "secret": "sk-ant-2", "backend": "other", "group": "g", "weight": 1}]}"#;
    let keys = of_file(file, &shared).unwrap();
    assert_eq!(
        (&keys[0]["backend"], &keys[0]["limit_group"], &keys[0]["weight"]),
        (&json!("anthropic"), &json!("org-a"), &json!(2.0))
    );
    assert_eq!(
        (&keys[1]["backend"], &keys[1]["group"], &keys[1]["weight"]),
        (&json!("other"), &json!("g"), &json!(1))
    );
    assert!(!keys[1].contains_key("limit_group"));
}

#[test]
fn variables_are_taken_by_name_or_by_beginning() {
    let environment: Environment =
        [("ANT_1", "sk-1"), ("ANT_2", " sk-2\n"), ("LIST", "sk-3, sk-4,"), ("OTHER", "x")]
            .into_iter()
            .collect();
    let names = |wanted: &[&str]| {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        let keys = of_variables(&wanted, &environment, &shared())?;
        Ok::<_, String>(keys.iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(names(&["ANT_"]).unwrap(), ["ANT_1", "ANT_2"]);
    assert_eq!(names(&["ANT_1", "OTHER"]).unwrap(), ["ANT_1", "OTHER"]);
    let list = names(&["LIST"]).unwrap();
    assert!(list.len() == 2 && list.iter().all(|name| name.starts_with("LIST-")), "{list:?}");
    assert!(names(&["ANT_", "NONE"]).unwrap_err().contains("NONE"));
    assert!(!names(&["sk-canary"]).unwrap_err().contains("canary"));
    assert!(names(&[""]).is_err(), "not every variable");
}

#[test]
fn many_keys_go_in_requests_of_a_bounded_size() {
    let key = |at: usize, secret: &str| {
        Map::from_iter([("name".to_owned(), json!(at)), ("secret".to_owned(), json!(secret))])
    };
    let many = requests((0..2500).map(|at| key(at, "sk")).collect());
    assert_eq!(
        many.iter().map(|request| request["keys"].as_array().unwrap().len()).collect::<Vec<_>>(),
        [1000, 1000, 500]
    );
    let large = requests((0..3).map(|at| key(at, &"x".repeat(500 << 10))).collect());
    assert_eq!(large.len(), 3);
}
