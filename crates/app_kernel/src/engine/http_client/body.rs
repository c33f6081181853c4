//! An answer's body: whole, bounded, with its compression undone.

use std::io::Read as _;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};

use super::error::HttpErrorKind;
use crate::engine::outbound::chain;

/// Unpacking more than this much takes a thread that may block.
const LONGEST_IN_PLACE: usize = 64 * 1024;

/// Reads a body of `most` bytes at most, both as it comes and unpacked; the headers are those of what is answered.
pub(super) async fn read(body: Incoming, headers: &mut HeaderMap, most: usize) -> Result<Bytes, HttpErrorKind> {
    let body = Limited::new(body, most).collect().await.map_err(|cause| {
        if cause.is::<LengthLimitError>() {
            HttpErrorKind::TooLong { most }
        } else {
            HttpErrorKind::Unreachable(chain(&*cause))
        }
    })?;
    let body = body.to_bytes();
    let is_gzip = headers.get(CONTENT_ENCODING).is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"gzip"));
    // A HEAD's answer says how it would be packed, and has nothing.
    if !is_gzip || body.is_empty() {
        return Ok(body);
    }
    headers.remove(CONTENT_ENCODING);
    headers.remove(CONTENT_LENGTH);
    if body.len() <= LONGEST_IN_PLACE && most <= 16 * LONGEST_IN_PLACE {
        return unpack(&body, most);
    }
    let unpacked = tokio::task::spawn_blocking(move || unpack(&body, most)).await;
    unpacked.unwrap_or_else(|_| Err(HttpErrorKind::Unreadable("its answer could not be unpacked".to_owned())))
}

/// Stops at the limit, however much a small text would become.
fn unpack(packed: &[u8], most: usize) -> Result<Bytes, HttpErrorKind> {
    let mut unpacked = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let read = MultiGzDecoder::new(packed).take(limit).read_to_end(&mut unpacked);
    if unpacked.len() > most {
        return Err(HttpErrorKind::TooLong { most });
    }
    read.map_err(|_| HttpErrorKind::Unreadable("its answer says that it is gzip, and is not".to_owned()))?;
    Ok(unpacked.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    #[test]
    fn a_bomb_stops_at_the_limit_and_garbage_is_told() {
        let bomb = packed(&vec![0; 10_000_000]);
        assert!(bomb.len() < 20_000);
        assert!(matches!(unpack(&bomb, 1000), Err(HttpErrorKind::TooLong { most: 1000 })));
        assert_eq!(unpack(&bomb, 10_000_000).expect("it fits").len(), 10_000_000);
        assert_eq!(unpack(&packed(b"there"), 5).expect("it fits"), "there");
        for garbage in [b"there".as_slice(), &packed(b"there")[..12]] {
            assert!(matches!(unpack(garbage, 100), Err(HttpErrorKind::Unreadable(_))));
        }
    }
}
