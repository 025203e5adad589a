//! The live view: one screen, drawn from the [`Board`] alone. Every state is told by a word, its colour only helps.

use std::net::SocketAddr;
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::symbols::line;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, LineGauge, Padding, Paragraph, Row, Table};

use super::board::{Board, BreakerReading, Event, EventKind, KeyReading, Standing, seconds, short};
use super::story::{STEPS, Story};
use crate::clock::Moment;

/// What is drawn besides the board.
pub struct Scene<'a> {
    /// The facts.
    pub board: &'a Board,
    /// The story.
    pub story: &'a Story,
    /// When it began.
    pub start: Moment,
    /// Where the gateway listens.
    pub gateway: SocketAddr,
    /// What the keyboard does.
    pub keys: &'a str,
}

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, scene: &Scene<'_>) {
    let rows = u16::try_from(scene.board.now.keys.len()).unwrap_or(u16::MAX);
    // Where there is room, the middle takes more of it, and the events the rest.
    let middle = if frame.area().height < 30 { 6 } else { 9 };
    let [title, story, keys, middle, events, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(3),
        Constraint::Length(rows.saturating_add(2)),
        Constraint::Length(middle),
        Constraint::Min(2),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let [callers, attempts, breakers] =
        Layout::horizontal([Constraint::Fill(4), Constraint::Fill(4), Constraint::Fill(6)]).areas(middle);
    draw_title(frame, title, scene);
    draw_story(frame, story, scene);
    draw_keys(frame, keys, scene.board);
    draw_callers(frame, callers, scene.board);
    draw_attempts(frame, attempts, scene.board);
    draw_breakers(frame, breakers, scene.board);
    draw_events(frame, events, scene);
    frame.render_widget(Paragraph::new(format!(" {}", scene.keys)).dim(), foot);
}

fn panel(title: &str) -> Block<'_> {
    Block::new()
        .borders(Borders::TOP)
        .border_style(Style::new().dim())
        .title(Span::styled(format!(" {title} "), Style::new().bold()))
        .padding(Padding::horizontal(1))
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>) {
    let [left, right] = Layout::horizontal([Constraint::Min(0), Constraint::Length(30)]).areas(area);
    let title = Line::from(vec![" Headgate ".bold().reversed(), "  3 providers, 8 keys".into()]);
    frame.render_widget(title, left);
    frame.render_widget(Line::from(format!("http://{} ", scene.gateway)).right_aligned().dim(), right);
}

fn draw_story(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>) {
    let elapsed = scene.board.now.at.since(scene.start);
    let length = scene.story.length();
    let over = scene.story.is_over(elapsed);
    let (number, step) = scene.story.step();
    let (title, text) = if over {
        ("The story is over".to_owned(), "The gateway stays up: send it requests of your own.")
    } else {
        (format!("{number}/{} {}", STEPS.len(), step.title), step.text)
    };
    let [bar, head, body] = Layout::vertical([Constraint::Length(1); 3]).areas(area);
    let label = format!(" {:>2.0} of {} s ", elapsed.min(length).as_secs_f64().floor(), length.as_secs());
    let ratio = (elapsed.as_secs_f64() / length.as_secs_f64().max(0.001)).clamp(0.0, 1.0);
    let gauge = LineGauge::default()
        .ratio(ratio)
        .label(label)
        .filled_symbol(line::THICK_HORIZONTAL)
        .unfilled_symbol(line::HORIZONTAL)
        .filled_style(Style::new().fg(Color::Cyan))
        .unfilled_style(Style::new().dim());
    frame.render_widget(gauge, bar);
    frame.render_widget(Line::from(format!(" {title}")).bold().fg(Color::Cyan), head);
    frame.render_widget(Line::from(format!(" {text}")), body);
}

fn draw_keys(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let head = Row::new(["key", "org", "in flight", "requests", "429s", "faults", "state"]).dim();
    let rows = board.now.keys.iter().map(|key| key_row(board, key));
    let widths = [
        Constraint::Length(8),
        Constraint::Length(6),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Length(4),
        Constraint::Length(6),
        Constraint::Fill(1),
    ];
    let table = Table::new(rows, widths).header(head).column_spacing(1).block(panel("Keys"));
    frame.render_widget(table, area);
}

fn key_row<'a>(board: &Board, key: &'a KeyReading) -> Row<'a> {
    let number = |count: u64| Cell::from(Line::from(count.to_string()).right_aligned());
    Row::new([
        Cell::from(key.name.as_str()),
        Cell::from(key.organization.as_str()),
        number(u64::from(key.in_flight)),
        number(key.requests),
        number(key.rate_limits()),
        number(key.other_faults()),
        Cell::from(state(&board.standing(key))),
    ])
}

fn state(standing: &Standing) -> Line<'static> {
    match standing {
        Standing::Ready => Line::from("● ready".fg(Color::Green)),
        Standing::Broken { left } => {
            Line::from(vec![format!("■ cut off {}", seconds(*left)).fg(Color::Red), " breakers open".dim()])
        }
        Standing::Probation => Line::from("◐ proving itself".fg(Color::Cyan)),
        Standing::Parked { left, reason, classes: None } => Line::from(vec![
            format!("■ parked {}", seconds(*left)).fg(Color::Red),
            format!(" {reason}").dim(),
        ]),
        Standing::Parked { left, reason, classes: Some((parked, all)) } => Line::from(vec![
            format!("◧ {parked}/{all} parked {}", seconds(*left)).fg(Color::Yellow),
            format!(" {reason}").dim(),
        ]),
    }
}

fn draw_callers(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let callers = &board.now.callers;
    let errors = match callers.errors {
        0 => "0".fg(Color::Green).bold(),
        some => some.to_string().fg(Color::Red).bold(),
    };
    let rows = [
        ("requests/s", Span::from(format!("{:.0}", board.rate()))),
        ("requests", Span::from(callers.finished.to_string())),
        ("errors seen", errors),
        ("p50/p99 ms", Span::from(pair(callers.latency))),
        ("1st token ms", Span::from(pair(callers.first_token))),
    ];
    let lines = rows.map(|(name, value)| Line::from(vec![Span::from(format!("{name:<13}")).dim(), value]));
    frame.render_widget(Paragraph::new(lines.to_vec()).block(panel("Callers")), area);
}

fn pair(of: Option<(Duration, Duration)>) -> String {
    of.map_or_else(|| "-".to_owned(), |(half, most)| format!("{}/{}", half.as_millis(), most.as_millis()))
}

fn draw_attempts(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let mut attempts: Vec<_> = board.now.attempts.iter().collect();
    attempts.sort_by_key(|(outcome, count)| (outcome.as_str() != "ok", std::cmp::Reverse(**count)));
    let room = usize::from(area.height.saturating_sub(2));
    let rest: u64 = attempts.iter().skip(room).map(|(_, count)| *count).sum();
    let row = |name: &str, count: u64| {
        Line::from(vec![Span::from(format!("{name:<14}")).dim(), Span::from(format!("{count:>6}"))])
    };
    let mut lines: Vec<Line<'_>> =
        attempts.iter().take(room).map(|(outcome, count)| row(outcome, **count)).collect();
    if rest > 0 {
        lines.pop();
        let last = attempts.get(room.saturating_sub(1)).map_or(0, |(_, count)| **count);
        lines.push(row("others", rest + last));
    }
    lines.push(row("failed over", board.now.callers.retried).bold());
    frame.render_widget(Paragraph::new(lines).block(panel("Attempts")), area);
}

fn draw_breakers(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let now = board.now.at;
    let (mut closed, mut lines) = (0, Vec::new());
    let room = usize::from(area.height.saturating_sub(2));
    for breaker in &board.now.breakers {
        if breaker.state == "closed" {
            closed += 1;
        } else if lines.len() < room {
            lines.push(breaker_line(breaker, now));
        }
    }
    let text =
        if lines.is_empty() { format!("● all {closed} closed") } else { format!("● {closed} closed") };
    lines.push(Line::from(text.fg(Color::Green)));
    frame.render_widget(Paragraph::new(lines).block(panel("Breakers")), area);
}

fn breaker_line(breaker: &BreakerReading, now: Moment) -> Line<'static> {
    let name = format!("{} {}", breaker.backend.trim_start_matches("anthropic-"), short(&breaker.of));
    let state = match breaker.until {
        Some(until) => format!("■ open {}", seconds(until.since(now))).fg(Color::Red),
        None => "◐ probing".fg(Color::Cyan),
    };
    Line::from(vec![Span::from(format!("{name:<18}")), Span::from(" "), state])
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>) {
    let room = usize::from(area.height.saturating_sub(1));
    let newest = scene.board.events.iter().rev().take(room);
    let lines: Vec<Line<'_>> = newest.map(|event| event_line(event, scene.start)).collect();
    frame.render_widget(Paragraph::new(lines).block(panel("Events, newest first")), area);
}

fn event_line(event: &Event, start: Moment) -> Line<'_> {
    let (mark, colour) = match event.kind {
        EventKind::Story => ("»", Color::Cyan),
        EventKind::Parked | EventKind::Opened => ("■", Color::Red),
        EventKind::Back | EventKind::Closed => ("●", Color::Green),
        EventKind::Error => ("!", Color::Magenta),
    };
    let time = format!("{:>5.1} s ", event.at.since(start).as_secs_f64());
    let text = Span::from(event.text.as_str());
    let bold = matches!(event.kind, EventKind::Story | EventKind::Error);
    let text = if bold { text.add_modifier(Modifier::BOLD) } else { text };
    Line::from(vec![Span::from(time).dim(), Span::from(mark).fg(colour), Span::from(" "), text])
}

#[cfg(test)]
mod tests;
