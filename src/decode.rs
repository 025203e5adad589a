//! Compressed bodies: gzip, deflate, br and zstd become the bytes they stand for, within a bound.
//!
//! The bound counts decoded bytes, so a bomb ends where the bound is, having cost no more than that. One coding at a time: a
//! body that was compressed twice is refused like an unknown coding. Content codings are of RFC 9110 (section 8.4.1), br of
//! RFC 7932, zstd of RFC 8878; `deflate` is taken in both of the forms that clients send (zlib and bare).

use std::io::{BufRead, Read};

use bytes::Bytes;
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// Bytes decoded at a time.
const PIECE: usize = 64 * 1024;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950, or RFC 1951 alone.
    Deflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

/// Why a body could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecodable {
    /// It is not what it says, or ends early.
    Broken,
    /// It stands for more bytes than are allowed.
    TooLarge,
    /// `take` refused more.
    Refused,
}

/// How a body with these lines of `content-encoding` is compressed; `None`: not at all.
///
/// # Errors
/// The coding as it was written, where it is not known or not alone.
pub fn coding<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<Coding>, String> {
    let mut lines = lines.into_iter();
    let Some(line) = lines.next() else { return Ok(None) };
    let text = String::from_utf8_lossy(line).trim().to_ascii_lowercase();
    if lines.next().is_some() {
        return Err(text);
    }
    match text.as_str() {
        "" | "identity" => Ok(None),
        "gzip" | "x-gzip" => Ok(Some(Coding::Gzip)),
        "deflate" => Ok(Some(Coding::Deflate)),
        "br" => Ok(Some(Coding::Brotli)),
        "zstd" => Ok(Some(Coding::Zstd)),
        _ => Err(text),
    }
}

/// Decodes a body to at most `limit` bytes, asking `take` before each piece is kept.
///
/// # Errors
/// See [`Undecodable`].
pub fn decode(
    coding: Coding,
    body: &[u8],
    limit: usize,
    take: impl FnMut(usize) -> bool,
) -> Result<Bytes, Undecodable> {
    match coding {
        Coding::Gzip => read(MultiGzDecoder::new(body), limit, take),
        Coding::Deflate if is_zlib(body) => {
            let mut decoder = ZlibDecoder::new(body);
            let decoded = read(&mut decoder, limit, take)?;
            at_end(decoder.into_inner()).map(|()| decoded)
        }
        Coding::Deflate => {
            let mut decoder = DeflateDecoder::new(body);
            let decoded = read(&mut decoder, limit, take)?;
            at_end(decoder.into_inner()).map(|()| decoded)
        }
        Coding::Brotli => read(brotli_decompressor::Decompressor::new(body, PIECE), limit, take),
        Coding::Zstd => zstd(body, limit, take),
    }
}

/// A zlib header: method 8, and a check of both bytes (RFC 1950, section 2.2).
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [method, flags, ..] if method & 15 == 8
        && (u16::from(*method) * 256 + u16::from(*flags)).is_multiple_of(31))
}

/// One frame after the other.
fn zstd(mut body: &[u8], limit: usize, take: impl FnMut(usize) -> bool) -> Result<Bytes, Undecodable> {
    let (mut decoded, mut take) = (Vec::new(), take);
    loop {
        let frame = ruzstd::decoding::StreamingDecoder::new(&mut body).map_err(|_| Undecodable::Broken)?;
        read_into(frame, limit, &mut take, &mut decoded)?;
        if body.is_empty() {
            return Ok(decoded.into());
        }
    }
}

/// What lies behind the end of the compressed data belongs to nothing.
fn at_end(rest: impl BufRead) -> Result<(), Undecodable> {
    let mut rest = rest;
    match rest.fill_buf() {
        Ok([]) => Ok(()),
        Ok(_) | Err(_) => Err(Undecodable::Broken),
    }
}

fn read(decoder: impl Read, limit: usize, mut take: impl FnMut(usize) -> bool) -> Result<Bytes, Undecodable> {
    let mut decoded = Vec::new();
    read_into(decoder, limit, &mut take, &mut decoded)?;
    Ok(decoded.into())
}

fn read_into(
    mut decoder: impl Read,
    limit: usize,
    take: &mut impl FnMut(usize) -> bool,
    decoded: &mut Vec<u8>,
) -> Result<(), Undecodable> {
    let mut piece = vec![0; PIECE];
    loop {
        let count = decoder.read(&mut piece).map_err(|_| Undecodable::Broken)?;
        if count == 0 {
            return Ok(());
        }
        if decoded.len() + count > limit {
            return Err(Undecodable::TooLarge);
        }
        if !take(count) {
            return Err(Undecodable::Refused);
        }
        decoded.extend_from_slice(piece.get(..count).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(body).expect("memory");
        encoder.finish().expect("memory")
    }

    fn zlib(body: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(body).expect("memory");
        encoder.finish().expect("memory")
    }

    fn bare(body: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(body).expect("memory");
        encoder.finish().expect("memory")
    }

    fn zstd(body: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(body, ruzstd::encoding::CompressionLevel::Fastest)
    }

    /// "hi" forty times, as brotli makes it.
    const BROTLI: [u8; 14] =
        [0x1b, 0x4f, 0x00, 0xf8, 0xa5, 0xd0, 0xd2, 0xaa, 0x80, 0x33, 0x02, 0x80, 0xaf, 0x00];

    #[test]
    fn every_coding_gives_the_bytes_that_went_in() {
        let body = b"the same words, the same words, again and again".repeat(5_000);
        for (coding, packed) in [
            (Coding::Gzip, gzip(&body)),
            (Coding::Deflate, zlib(&body)),
            (Coding::Deflate, bare(&body)),
            (Coding::Zstd, zstd(&body)),
        ] {
            let decoded = decode(coding, &packed, body.len(), |_| true);
            assert!(decoded.is_ok_and(|decoded| decoded == body), "{coding:?}");
            assert_eq!(
                decode(coding, &packed, body.len() - 1, |_| true),
                Err(Undecodable::TooLarge),
                "{coding:?}"
            );
            assert_eq!(
                decode(coding, &packed, body.len(), |_| false),
                Err(Undecodable::Refused),
                "{coding:?}"
            );
            let cut = &packed[..packed.len() - 5];
            assert_eq!(decode(coding, cut, body.len(), |_| true), Err(Undecodable::Broken), "{coding:?}");
        }
        let twice = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(decode(Coding::Gzip, &twice, 100, |_| true), Ok(Bytes::from("one two")));
        let twice = [zstd(b"one "), zstd(b"two")].concat();
        assert_eq!(decode(Coding::Zstd, &twice, 100, |_| true), Ok(Bytes::from("one two")));
    }

    #[test]
    fn what_is_no_such_coding_or_has_something_behind_it_is_broken() {
        for coding in [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd] {
            for body in [&b"{\"model\":\"m\"}"[..], b""] {
                assert_eq!(
                    decode(coding, body, 1_000, |_| true),
                    Err(Undecodable::Broken),
                    "{coding:?} {body:?}"
                );
            }
        }
        for (coding, packed) in [
            (Coding::Gzip, gzip(b"x")),
            (Coding::Deflate, zlib(b"x")),
            (Coding::Deflate, bare(b"x")),
            (Coding::Zstd, zstd(b"x")),
        ] {
            let more = [packed.as_slice(), b"more"].concat();
            assert_eq!(decode(coding, &more, 1_000, |_| true), Err(Undecodable::Broken), "{coding:?}");
        }
    }

    #[test]
    fn brotli_is_decoded_within_its_bound() {
        let decoded = decode(Coding::Brotli, &BROTLI, 80, |_| true).map(|bytes| bytes.to_vec());
        assert_eq!(decoded, Ok(b"hi".repeat(40)));
        assert_eq!(decode(Coding::Brotli, &BROTLI, 79, |_| true), Err(Undecodable::TooLarge));
        assert_eq!(decode(Coding::Brotli, &BROTLI[..8], 80, |_| true), Err(Undecodable::Broken));
    }

    #[test]
    fn one_known_coding_is_taken_and_any_other_named() {
        for (lines, expected) in [
            (&[][..], Ok(None)),
            (&["identity"], Ok(None)),
            (&["GZIP"], Ok(Some(Coding::Gzip))),
            (&["x-gzip"], Ok(Some(Coding::Gzip))),
            (&["zstd"], Ok(Some(Coding::Zstd))),
            (&["compress"], Err("compress".to_owned())),
            (&["gzip, br"], Err("gzip, br".to_owned())),
            (&["gzip", "br"], Err("gzip".to_owned())),
        ] {
            assert_eq!(coding(lines.iter().map(|line| line.as_bytes())), expected, "{lines:?}");
        }
    }
}
