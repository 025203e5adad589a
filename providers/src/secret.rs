//! A secret: text that is wiped when dropped and cannot be printed, compared or serialised by accident.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

/// A credential's text. `Debug` shows only that it exists; there is no `Display` and no `Serialize`.
///
/// Clones share one allocation, so that a snapshot of settings does not multiply copies in memory.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes ownership of the text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }

    /// The text itself; the one way to read it, so that every use can be found by name.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_shows_nothing_of_the_text() {
        assert_eq!(format!("{:?}", Secret::new("sk-canary".to_owned())), "[secret]");
    }
}
