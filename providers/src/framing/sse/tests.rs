//! Line ends, boundaries, fields.

use super::{Scanner, parse};

/// Offsets behind each event of a body fed in pieces of `size`.
fn ends(body: &str, size: usize) -> Vec<usize> {
    let mut scanner = Scanner::new(usize::MAX);
    let mut found = Vec::new();
    for (place, piece) in body.as_bytes().chunks(size).enumerate() {
        let mut at = 0;
        while let Some(end) = scanner.event_end(piece, at) {
            found.push(place * size + end);
            scanner.join(&piece[at..end]).unwrap();
            at = end;
        }
        scanner.hold(&piece[at..]).unwrap();
    }
    if scanner.finish().is_some() {
        found.push(body.len());
    }
    found
}

#[test]
fn events_end_behind_a_blank_line_of_any_kind() {
    for (body, expected) in [
        ("data: a\n\ndata: b\n\n", vec![9, 18]),
        ("data: a\r\n\r\ndata: b\r\n\r\n", vec![11, 22]),
        ("data: a\r\rdata: b\r\r", vec![9, 18]),
        ("data: a\r\r\ndata: b\n\n", vec![9, 19]),
        ("data: a\n\r\ndata: b\n\r", vec![10, 19]),
        ("data: a\r\n\rdata: b\n\n", vec![10, 19]),
        ("data: a\n", vec![]),
        ("data: a\n\ndata: b\n", vec![9]),
        ("\n\n", vec![1, 2]),
        ("", vec![]),
    ] {
        for size in 1..=body.len().max(1) {
            assert_eq!(ends(body, size), expected, "{body:?} in pieces of {size}");
        }
    }
}

#[test]
fn fields_are_read_as_the_standard_says() {
    for (event, name, data) in [
        ("event: a\ndata: b\n\n", "a", "b"),
        ("event:a\r\ndata:b\r\n\r\n", "a", "b"),
        ("\u{feff}event: a\rdata:  b\r\r", "a", " b"),
        ("data: 1\ndata: 2\ndata\ndata: 3\n\n", "", "1\n2\n\n3"),
        (": comment\nid: 7\nretry: 1\nevents: x\ndatax: y\n\n", "", ""),
        ("event: a\nevent: b\n\n", "b", ""),
        ("event\ndata\n\n", "", ""),
        ("\n", "", ""),
        ("data: no end", "", "no end"),
    ] {
        let parsed = parse(event.as_bytes());
        assert_eq!((parsed.name, parsed.data.as_ref()), (name.as_bytes(), data.as_bytes()), "{event:?}");
    }
}

#[test]
fn one_line_of_data_is_borrowed() {
    assert!(matches!(parse(b"data: x\n\n").data, std::borrow::Cow::Borrowed(b"x")));
}

#[test]
fn many_lines_of_data_cost_linear_time() {
    let event = "data:\n".repeat(400_000) + "\n";
    assert_eq!(parse(event.as_bytes()).data.len(), 399_999);
}

#[test]
fn what_is_held_is_bounded() {
    let mut scanner = Scanner::new(10);
    assert!(scanner.hold(b"data: 123").is_ok());
    assert!(scanner.straddles());
    let fault = scanner.hold(b"45").unwrap_err();
    assert_eq!(fault.kind, crate::fault::FaultKind::Malformed);
    assert!(scanner.check(11).is_err() && scanner.check(10).is_ok());
}
