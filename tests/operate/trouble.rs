//! How commands fail: one sentence, and an exit code that scripts can tell apart.

use super::plane::{Plane, Told, problem, program, typed};

#[test]
fn a_problem_names_the_field_and_ends_with_1() {
    let body = r#"{"type":"urn:headgate:problem:bad-request","status":400,"title":"t","detail":"expected a number above 0","field":"weight"}"#;
    let told = Plane::playing([problem(400, body)]).run(&["keys", "set", "a", "--weight", "0"]);
    assert_eq!((told.code, told.err.as_str()), (1, "headgate: 400 weight: expected a number above 0\n"));
}

#[test]
fn a_refused_token_ends_with_77() {
    for status in [401, 403] {
        let told =
            Plane::playing([problem(status, r#"{"detail":"This needs the role admin."}"#)]).run(&["status"]);
        assert_eq!((told.code, told.err), (77, format!("headgate: {status} This needs the role admin.\n")));
    }
    let told = Told::of(&program(&["status"]).output().unwrap());
    assert!(told.code == 77 && told.err.contains("HEADGATE_ADMIN_TOKEN"), "{told:?}");
}

#[test]
fn a_gateway_that_is_not_there_ends_with_69() {
    let plane = Plane::playing([]);
    let told = plane.run(&["status", "--url", "http://127.0.0.1:1"]);
    assert!(told.code == 69 && told.err.contains("http://127.0.0.1:1"), "{told:?}");
}

#[test]
fn an_answer_of_something_else_is_not_passed_on() {
    for (status, code) in [(302, 1), (502, 1)] {
        let scene = typed(status, "text/html", "<b>\u{1b}[2J</b>")
            .replace("connection:", "location: http://127.0.0.1:1/\r\nconnection:");
        let told = Plane::playing([scene]).run(&["status"]);
        assert!(told.code == code && !told.err.contains("<b>") && told.out.is_empty(), "{told:?}");
    }
}

#[test]
fn a_token_file_wins_and_its_line_end_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "hga_of_the_file\r\n").unwrap();
    let plane = Plane::playing([typed(200, "application/json", "{}")]);
    assert_eq!(plane.run(&["status", "--token-file", file.to_str().unwrap()]).code, 0);
    assert_eq!(plane.only().header("authorization"), Some("Bearer hga_of_the_file"));
}

#[test]
fn an_address_with_a_password_is_refused_unseen() {
    let mut command = program(&["status", "--url", "http://user:canary@127.0.0.1:1"]);
    let told = Told::of(&command.env("HEADGATE_ADMIN_TOKEN", "t").output().unwrap());
    assert!(told.code == 2 && !told.err.contains("canary"), "{told:?}");
}
