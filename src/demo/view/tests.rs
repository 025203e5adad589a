use std::collections::BTreeMap;

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::board::{Callers, ParkReading, Reading};
use super::*;

fn at(millis: u64) -> Moment {
    Moment::from_micros(millis * 1000)
}

fn board() -> Board {
    let key = |name: &str, organization: &str, in_flight, outcomes: &[(&str, u64)]| KeyReading {
        name: name.to_owned(),
        organization: organization.to_owned(),
        backend: "anthropic-us".to_owned(),
        in_flight,
        requests: outcomes.iter().map(|(_, count)| count).sum(),
        outcomes: outcomes.iter().map(|(outcome, count)| ((*outcome).to_owned(), *count)).collect(),
        classes: 3,
    };
    let park = |owner: &str, class: Option<&str>, reason, until| ParkReading {
        owner: owner.to_owned(),
        class: class.map(str::to_owned),
        reason,
        since: at(12_000),
        until: at(until),
        probing: false,
    };
    let breaker = |backend: &str, of: &str, state, until: Option<u64>| BreakerReading {
        backend: backend.to_owned(),
        of: of.to_owned(),
        state,
        until: until.map(at),
    };
    let millis = Duration::from_millis;
    let attempts =
        [("ok", 1_234), ("rate_limited", 41), ("key_refused", 3), ("overloaded", 17), ("reset", 9)];
    let mut board = Board::default();
    board.look(Reading {
        at: at(14_500),
        keys: vec![
            key("org-a-1", "org-a", 12, &[("200", 400)]),
            key("org-a-2", "org-a", 0, &[("200", 40), ("401", 3)]),
            key("org-b-1", "org-b", 0, &[("200", 300), ("429", 20)]),
            key("org-c-1", "org-c", 2, &[("200", 300), ("529", 17), ("reset", 9)]),
        ],
        parks: vec![
            park("org-a-2", None, "key_refused", 16_000),
            park("org-b", None, "rate_limited", 15_200),
            park("org-c", Some("claude-opus-5"), "overloaded", 15_000),
        ],
        breakers: vec![
            breaker("anthropic-us", "connections", "closed", None),
            breaker("anthropic-eu", "claude-opus-5-5", "open", Some(15_900)),
            breaker("anthropic-eu", "claude-haiku-5-5", "half_open", None),
            breaker("bedrock", "us.anthropic.claude-sonnet-5-5", "open", Some(15_000)),
        ],
        attempts: attempts
            .map(|(outcome, count)| (outcome.to_owned(), count))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        providers: vec![("anthropic", 1_304)],
        failovers: 20,
        waiting: 0,
        callers: Callers {
            in_flight: 14,
            finished: 1_234,
            errors: 0,
            last_error: None,
            retried: 66,
            latency: Some((millis(301), millis(811))),
            first_token: Some((millis(123), millis(456))),
        },
    });
    board
}

fn screen(width: u16, height: u16) -> String {
    let (board, story) = (board(), Story::new(Duration::from_secs(28)));
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let gateway = SocketAddr::from(([127, 0, 0, 1], 8080));
    let scene = Scene { board: &board, story: &story, start: at(500), gateway, keys: "q quit" };
    terminal.draw(|frame| draw(frame, &scene)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn an_ordinary_terminal_shows_everything() {
    let screen = screen(80, 24);
    for part in [
        "http://127.0.0.1:8080",
        "14 of 28 s",
        "1/7 All is calm",
        "org-a-1  org-a         12      400    0      0 ● ready",
        "org-a-2  org-a          0       43    0      3 ■ parked 1.5 s key_refused",
        "org-b-1  org-b          0      320   20      0 ■ parked 0.7 s rate_limited",
        "org-c-1  org-c          2      326    0     26 ◧ 1/3 parked 0.5 s overloaded",
        "errors seen  0",
        "p50/p99 ms   301/811",
        "rate_limited      41",
        "failed over       66",
        "eu opus-5-5        ■ open 1.4 s",
        "eu haiku-5-5       ◐ probing",
        "bedrock sonnet-5-5 ■ open 0.5 s",
        "● 1 closed",
        "org-b parked for 0.7 s: rate_limited",
        "q quit",
    ] {
        assert!(screen.contains(part), "{part:?} is not in\n{screen}");
    }
}

#[test]
fn a_tiny_terminal_and_a_huge_one_are_drawn_without_a_panic() {
    for (width, height) in [(1, 1), (20, 5), (40, 12), (300, 100)] {
        screen(width, height);
    }
}
