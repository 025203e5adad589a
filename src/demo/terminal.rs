//! The terminal: taken over for the live view, and always given back, also on a panic.

use std::io;
use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::terminal;
use ratatui::DefaultTerminal;

use super::view::{self, Scene};

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The end: q, Esc or Ctrl-C.
    Quit,
    /// The other screen: v.
    View,
}

/// The live view on the whole screen.
pub struct Screen(DefaultTerminal);

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// A terminal that cannot be set up.
    pub fn open() -> io::Result<Self> {
        ratatui::try_init().map(Self).inspect_err(|_| give_back())
    }

    /// Draws.
    ///
    /// # Errors
    /// Output that cannot be written.
    pub fn draw(&mut self, scene: &Scene<'_>) -> io::Result<()> {
        self.0.draw(|frame| view::draw(frame, scene)).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A panic's hook has given it back already; leaving the screen twice would write over the panic's message.
        if !std::thread::panicking() {
            give_back();
        }
    }
}

/// Single key presses, with the text on the screen left as it is.
pub struct Keyboard(());

impl Keyboard {
    /// Takes the keyboard over.
    ///
    /// # Errors
    /// A terminal that cannot be set up.
    pub fn open() -> io::Result<Self> {
        terminal::enable_raw_mode().map(|()| Self(()))
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        // Nothing is left to do about a terminal that is gone.
        terminal::disable_raw_mode().ok();
    }
}

/// What was pressed since the last time; never waits. The last wish wins, but none undoes the wish to quit.
///
/// # Errors
/// A terminal that cannot be read.
pub fn wish() -> io::Result<Option<Wish>> {
    let mut wish = None;
    while event::poll(Duration::ZERO)? {
        let Event::Key(key) = event::read()? else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) || control && key.code == KeyCode::Char('c')
        {
            return Ok(Some(Wish::Quit));
        }
        if key.code == KeyCode::Char('v') {
            wish = Some(Wish::View);
        }
    }
    Ok(wish)
}

fn give_back() {
    ratatui::try_restore().ok();
}
