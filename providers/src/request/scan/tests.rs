//! Bodies and what the scan makes of them.

use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::{Prefix, scan, scan_with_prefix};

fn refusal(body: &str) -> String {
    scan(body.as_bytes(), 64).expect_err(body).message().to_owned()
}

#[test]
fn the_outline_is_read_wherever_it_stands() {
    let body = r#" { "messages":[{"role":"user","content":[{"model":"no","stream":7}]}], "max_tokens" : 1024,
        "metadata":{"x":[{}],"user_id":"\u00fcser-1"}, "model": "claude-x", "future":{"stream":1}, "stream":true } "#;
    let outline = scan(body.as_bytes(), 64).unwrap();
    assert_eq!(outline.model, "claude-x");
    assert_eq!(&body[outline.model_span], "\"claude-x\"");
    assert!(outline.stream);
    assert_eq!(outline.max_tokens, Some(1024));
    assert_eq!(outline.user_id.as_deref(), Some("üser-1"));
}

#[test]
fn the_prefix_is_what_a_prompt_cache_is_keyed_by() {
    let body =
        r#"{"system":"s","messages":[ {"a":[1]} , {"b":2}],"model":"m","tools":[{"cache_control":null}]}"#;
    let (outline, prefix) = scan_with_prefix(body.as_bytes(), 64).unwrap();
    assert_eq!(outline.model, "m");
    let part = |span: Option<std::ops::Range<usize>>| span.map(|span| &body[span]);
    assert_eq!(part(prefix.tools), Some(r#"[{"cache_control":null}]"#));
    assert_eq!(part(prefix.system), Some("\"s\""));
    assert_eq!(part(prefix.first_turn), Some(r#"{"a":[1]}"#));
    assert_eq!((prefix.turns, prefix.cache_control), (2, true));
    let bare = scan_with_prefix(br#"{"model":"m","messages":"x \"cache_control\""}"#, 64).unwrap();
    assert_eq!(bare.1, Prefix::default());
    assert!(scan_with_prefix(br#"{"model":"m","messages":[1,]}"#, 64).is_err());
    assert!(scan_with_prefix(br#"{"model":"m","messages":[1 2]}"#, 64).is_err());
    assert_eq!(scan_with_prefix(br#"{"model":"m","messages":[]}"#, 64).unwrap().1.turns, 0);
}

#[test]
fn absent_and_null_are_defaults() {
    let outline =
        scan(br#"{"model":"a\/b","stream":null,"metadata":{"user_id":null},"max_tokens":null}"#, 64).unwrap();
    assert_eq!((outline.model.as_str(), outline.stream), ("a/b", false));
    assert_eq!((outline.max_tokens, outline.user_id), (None, None));
}

#[test]
fn max_tokens_that_is_no_small_whole_number_is_upstreams_to_judge() {
    for value in ["1.5", "1e3", "-1", "\"10\"", "18446744073709551616", "[]", "true"] {
        let body = format!(r#"{{"model":"m","max_tokens":{value}}}"#);
        assert_eq!(scan(body.as_bytes(), 64).unwrap().max_tokens, None, "{value}");
    }
    assert_eq!(scan(br#"{"model":"m","max_tokens":0}"#, 64).unwrap().max_tokens, Some(0));
}

#[test]
fn refusals_name_the_field() {
    for (body, text) in [
        ("{}", "model: Field required"),
        (r#"{"model":""}"#, "model: String should have at least 1 character"),
        (r#"{"model":null}"#, "model: Input should be a valid string"),
        (r#"{"model":{"a":1}}"#, "model: Input should be a valid string"),
        (r#"{"model":"\ud800"}"#, "model: Input should be a valid string"),
        (r#"{"model":"m","stream":1}"#, "stream: Input should be a valid boolean"),
        (r#"{"model":"m","stream":"true"}"#, "stream: Input should be a valid boolean"),
        (r#"{"model":"m","model":"n"}"#, "model: Field given more than once"),
        (r#"{"model":"m","mod\u0065l":"n"}"#, "model: Field given more than once"),
        (r#"{"model":"m","messages":[],"messages":[]}"#, "messages: Field given more than once"),
        (r#"{"model":"m","stream":true,"stream":true}"#, "stream: Field given more than once"),
        (
            r#"{"model":"m","metadata":{"user_id":"a","user\u005fid":"b"}}"#,
            "metadata.user_id: Field given more than once",
        ),
        ("[1]", "The request body is not valid: Input should be an object"),
        ("\"x\"", "The request body is not valid: Input should be an object"),
    ] {
        assert_eq!(refusal(body), text, "{body}");
    }
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    for (body, what) in [
        ("", "unexpected end at byte 0"),
        ("  ", "unexpected end at byte 2"),
        (r#"{"model":"m""#, "unexpected end at byte 12"),
        (r#"{"model":"m"} x"#, "trailing characters at byte 14"),
        (r#"{"model":"m",}"#, "expected a key in double quotes at byte 13"),
        (r#"{"model":"m" "a":1}"#, "expected `,` or `}` at byte 13"),
        (r#"{"a":[1 2]}"#, "expected `,` or `]` at byte 8"),
        (r#"{"a":[1}"#, "expected `,` or `]` at byte 7"),
        (r#"{"a" 1}"#, "expected `:` at byte 5"),
        (r#"{"a":01}"#, "a number with a leading zero at byte 6"),
        (r#"{"a":1.}"#, "an incomplete number at byte 7"),
        (r#"{"a":1e+}"#, "an incomplete number at byte 8"),
        (r#"{"a":-}"#, "an incomplete number at byte 6"),
        (r#"{"a":nul}"#, "expected a value at byte 8"),
        (r#"{"a":+1}"#, "expected a value at byte 5"),
        (r#"{"a":"\x"}"#, "an invalid escape at byte 7"),
        (r#"{"a":"\u12g4"}"#, "an invalid \\u escape at byte 10"),
        ("{\"a\":\"\n\"}", "a control character in a string at byte 6"),
        ("\u{feff}{}", "a byte order mark is not allowed at byte 0"),
        ("{'a':1}", "expected a key in double quotes at byte 1"),
    ] {
        assert_eq!(refusal(body), format!("The request body is not valid JSON: {what}"), "{body}");
    }
    let error = scan(b"{\"a\":\"\xff\"}", 64).unwrap_err();
    assert_eq!(error.message(), "The request body is not valid JSON: invalid UTF-8 at byte 6");
}

#[test]
fn that_a_body_is_no_json_goes_before_what_is_wrong_with_a_field() {
    assert_eq!(
        refusal(r#"{"stream":7,"model":"","a":}"#),
        "The request body is not valid JSON: expected a value at byte 27"
    );
    assert_eq!(refusal(r#"{"stream":7,"model":""}"#), "stream: Input should be a valid boolean");
}

#[test]
fn nesting_is_bounded_without_recursion() {
    let nested = |depth: usize| format!(r#"{{"model":"m","a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    assert!(scan(nested(63).as_bytes(), 64).is_ok());
    assert!(refusal(&nested(64)).contains("nested too deeply at byte 80"));
    assert!(scan(nested(1_000_000).as_bytes(), usize::MAX).is_ok());
    assert!(scan("[{\"a\":".repeat(100_000).as_bytes(), usize::MAX).is_err());
    let mixed = format!(r#"{{"model":"m","a":{}1{}}}"#, "[{\"k\":".repeat(500), "}]".repeat(500));
    assert!(scan(mixed.as_bytes(), usize::MAX).is_ok());
    let crossed = mixed.replacen("}]}]", "}]]}", 1);
    assert!(scan(crossed.as_bytes(), usize::MAX).is_err());
    assert!(scan(b"{}", 0).is_err());
}

/// Arbitrary JSON text with odd spacing and escapes.
fn json() -> impl Strategy<Value = String> {
    let space = prop::sample::select(vec!["", "", " ", "\n", "\t\r "]);
    let text = prop_oneof![
        "[a-z]{0,40}".prop_map(|text| format!("\"{text}\"")),
        ".*".prop_map(|text| serde_json::Value::from(text).to_string()),
        prop::sample::select(vec![r#""\u00e9\n\"""#, r#""\ud83d\ude00""#, r#""\udead""#])
            .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        text.clone(),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| serde_json::Value::from(number).to_string()),
        prop::sample::select(vec!["true", "false", "null", "-0", "1E9", "0.5e-7", "1e999"])
            .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        let list = (proptest::collection::vec(inner.clone(), 0..6), space.clone());
        let member = (text.clone(), space.clone(), inner);
        let object = (proptest::collection::vec(member, 0..6), space.clone());
        prop_oneof![
            list.prop_map(|(values, space)| format!("[{space}{}{space}]", values.join(&format!("{space},")))),
            object.prop_map(|(members, space)| {
                let members: Vec<String> = members
                    .into_iter()
                    .map(|(key, space, value)| format!("{key}{space}:{space}{value}"))
                    .collect();
                format!("{{{space}{}{space}}}", members.join(&format!(",{space}")))
            }),
        ]
    })
}

/// Whether the scan finds nothing wrong with it as JSON. The reference skips strings without checking UTF-8, so that is asked
/// for apart; lone surrogates pass in both.
fn agree(body: &[u8]) -> Result<(), TestCaseError> {
    let reference = serde_json::from_slice::<IgnoredAny>(body).is_ok() && std::str::from_utf8(body).is_ok();
    let ours = match scan(body, 1000) {
        Ok(_) => true,
        Err(error) => !error.message().contains("not valid JSON"),
    };
    prop_assert_eq!(ours, reference, "{:?}", String::from_utf8_lossy(body));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn valid_json_is_accepted(json in json()) {
        let body = format!("{{\"model\":\"m\",\"input\":{json}}}");
        let outline = scan(body.as_bytes(), 1000).unwrap();
        prop_assert_eq!(outline.model, "m");
        agree(json.as_bytes())?;
    }

    #[test]
    fn mutated_json_is_judged_as_serde_json_does(
        json in json(),
        place in any::<prop::sample::Index>(),
        with in prop::sample::select(b"\"\\{}[]:,0-.eE u\n\x01\xc3".to_vec()),
        how in 0..3_u8,
    ) {
        let mut body = format!("{{\"model\":\"m\",\"input\":{json}}}").into_bytes();
        let at = place.index(body.len());
        match how {
            0 => body[at] = with,
            1 => body.insert(at, with),
            _ => { body.remove(at); }
        }
        agree(&body)?;
    }

    #[test]
    fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        agree(&body)?;
    }

    #[test]
    fn token_soup_is_judged_as_serde_json_does(
        tokens in proptest::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"a\"", "\"model\"", "\"stream\"", "\"messages\"", "1", "true", "null", " ", "\"\\u0041\"", "-1.5e3",
        ]), 0..14),
    ) {
        agree(tokens.concat().as_bytes())?;
    }
}
