//! Answers in reads of any size: what awc gets of them.

use proptest::prelude::*;

use super::*;

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nTransfer-Encoding: Chunked\r\n\r\n";

fn chunked(parts: &[&str]) -> String {
    parts.iter().map(|part| format!("{:x}\r\n{part}\r\n", part.len())).collect()
}

/// What awc gets when the answer comes in reads of these sizes.
fn joined(answer: &str, cuts: &[usize]) -> String {
    let mut chunks = Chunks::default();
    chunks.begin();
    let (mut out, mut rest) = (Vec::new(), answer.as_bytes());
    let mut cuts = cuts.iter().copied();
    while !rest.is_empty() {
        let (now, later) = rest.split_at(cuts.next().unwrap_or(rest.len()).clamp(1, rest.len()));
        let mut read = now.to_vec();
        let length = chunks.join(&mut read);
        out.extend_from_slice(&read[..length]);
        rest = later;
    }
    String::from_utf8(out).unwrap()
}

/// A plain reading of a chunked body: the content, and what follows the last chunk.
fn content(mut body: &str) -> (String, String) {
    let mut content = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return (content, rest.to_owned());
        }
        content.push_str(&rest[..size]);
        body = rest[size..].strip_prefix("\r\n").unwrap();
    }
}

#[test]
fn a_burst_becomes_one_chunk_and_its_end_stays() {
    let answer = format!("{HEAD}{}0\r\n\r\n", chunked(&["a", "bb", "cccccccccccccccc"]));
    assert_eq!(joined(&answer, &[]), format!("{HEAD}13\r\nabbcccccccccccccccc\r\n0\r\n\r\n"));
}

#[test]
fn the_beginning_of_a_chunk_stays_behind_what_is_joined_and_is_counted_on() {
    let body = chunked(&["aaaa", "bbbb", "cccc", "dddd", "eeee"]);
    let answer = format!("{HEAD}{body}0\r\n\r\n");
    // The third chunk comes in two parts.
    let joined = joined(&answer, &[HEAD.len() + 9 + 9 + 5]);
    assert_eq!(joined, format!("{HEAD}8\r\naaaabbbb\r\n4\r\ncccc\r\n8\r\nddddeeee\r\n0\r\n\r\n"));
}

#[test]
fn what_is_not_plain_passes_as_it_is() {
    let body = chunked(&["aaaa", "bbbb"]);
    for answer in [
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n{body}"),
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n{body}"),
        format!("HTTP/1.1 101 Switching Protocols\r\ntransfer-encoding: chunked\r\n\r\n{body}"),
        format!("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}"),
        format!("{HEAD}4;a=b\r\naaaa\r\n{body}0\r\n\r\n"),
        format!("{HEAD}zz\r\n{body}"),
        format!("{HEAD}2\r\naabb{body}0\r\n\r\n"),
        format!("{HEAD}\r\n{body}"),
        format!("{HEAD}0\r\nx-trailer: {body}\r\n\r\n"),
        format!("{HEAD}fffffffff\r\n{body}"),
    ] {
        assert_eq!(joined(&answer, &[]), answer, "{answer}");
    }
    let split = format!("{HEAD}{body}0\r\n\r\n");
    assert_eq!(joined(&split, &[20]), split, "a head in parts");
}

#[test]
fn chunks_before_one_without_its_line_end_are_joined_and_that_one_is_left_to_awc() {
    let bad = "4\r\nccccXX4\r\ndddd\r\n4\r\neeee\r\n0\r\n\r\n";
    let answer = format!("{HEAD}{}{bad}", chunked(&["aa", "bb"]));
    assert_eq!(joined(&answer, &[]), format!("{HEAD}4\r\naabb\r\n{bad}"));
}

#[test]
fn interim_answers_are_left_out_wherever_they_are_cut() {
    let answer = format!("{HEAD}{}0\r\n\r\n", chunked(&["aa", "bb"]));
    let sound = joined(&answer, &[]);
    let first = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let interim = format!("{first}HTTP/1.1 100 Continue\r\n\r\n");
    let whole = interim.clone() + &answer;
    let status_line = "HTTP/1.1 103".len();
    for cut in status_line..=interim.len() {
        // A status line that comes in parts is not known for what it is.
        let second = cut.saturating_sub(first.len());
        if second == 0 || second >= status_line {
            assert_eq!(joined(&whole, &[cut]), sound, "cut at {cut}");
        }
    }
    assert_eq!(joined(&whole[..interim.len()], &[]), "");
    assert_eq!(joined(&whole, &[5]), whole);
}

#[test]
fn each_answer_of_a_connection_is_read_anew() {
    let mut chunks = Chunks::default();
    let answer = format!("{HEAD}{}0\r\n\r\n", chunked(&["a", "b"]));
    for _ in 0..2 {
        let mut untold = answer.clone().into_bytes();
        assert_eq!(chunks.join(&mut untold), answer.len(), "nobody asked anything");
        chunks.begin();
        let mut told = answer.clone().into_bytes();
        assert!(chunks.join(&mut told) < answer.len());
    }
}

proptest! {
    #[test]
    fn the_content_is_the_same_however_it_is_cut(
        parts in prop::collection::vec("[a-z\\r\\n0-9]{1,40}", 0..40),
        cuts in prop::collection::vec(1_usize..200, 0..60),
        trailer in prop_oneof![Just("\r\n"), Just("x-end: 1\r\n\r\n")],
    ) {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let answer = format!("{HEAD}{}0\r\n{trailer}", chunked(&parts));
        let mut cuts = cuts;
        cuts.insert(0, HEAD.len() + cuts.first().copied().unwrap_or(0));
        let joined = joined(&answer, &cuts);
        let body = joined.strip_prefix(HEAD).unwrap();
        prop_assert_eq!(content(body), (parts.concat(), trailer.to_owned()));
    }

    #[test]
    fn no_bytes_make_it_panic_or_grow(
        read in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'a'), any::<u8>()], 0..300),
        cut in 0_usize..300,
    ) {
        let mut chunks = Chunks { at: At::Size(0, 0), whole: Vec::new() };
        let cut = cut.min(read.len());
        for part in [&read[..cut], &read[cut..]] {
            let mut part = part.to_vec();
            prop_assert!(chunks.join(&mut part) <= part.len());
        }
    }
}
