//! Client keys and admin tokens made here: a prefix that tells which, 256 random bits, and a checksum.
//!
//! `hgc_` or `hga_`, 43 symbols of base 62, then the CRC-32 of all that as 6 more. The checksum lets a scanner of leaked
//! secrets, and a typing mistake, be told without a look into the store. Only the SHA-256 is ever stored.

use headgate_providers::Secret;
use rand::RngExt as _;
use zeroize::Zeroizing;

const SYMBOLS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 is just over 2^256.
const RANDOM: usize = 43;
/// 62^6 is over 2^32.
const CHECK: usize = 6;

/// What is minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// A tenant's key.
    Client,
    /// An operator's token.
    Admin,
}

impl Prefix {
    /// As it stands in front.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Client => "hgc_",
            Self::Admin => "hga_",
        }
    }
}

/// A new secret, drawn from the cryptographic generator that the operating system seeds.
#[must_use]
pub fn mint(prefix: Prefix) -> Secret {
    let mut text = Zeroizing::new(String::with_capacity(prefix.text().len() + RANDOM + CHECK));
    text.push_str(prefix.text());
    let mut random = rand::rng();
    for _ in 0..RANDOM {
        text.push(symbol(random.random_range(0..62)));
    }
    let check = checksum(&text);
    text.extend(check);
    Secret::new(std::mem::take(&mut *text))
}

/// Whether `text` has the form of a minted secret and its checksum fits.
#[must_use]
pub fn is_well_formed(text: &str) -> bool {
    let prefixes = [Prefix::Client, Prefix::Admin];
    let Some(rest) = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix.text())) else {
        return false;
    };
    let whole = rest.len() == RANDOM + CHECK && rest.bytes().all(|byte| SYMBOLS.contains(&byte));
    whole && text.split_at(text.len() - CHECK).1.chars().eq(checksum(&text[..text.len() - CHECK]))
}

/// The CRC-32 of `text` in base 62, most significant first.
fn checksum(text: &str) -> [char; CHECK] {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut check = ['0'; CHECK];
    for place in check.iter_mut().rev() {
        *place = symbol((rest % 62) as usize);
        rest /= 62;
    }
    check
}

fn symbol(index: usize) -> char {
    char::from(SYMBOLS[index % SYMBOLS.len()])
}
