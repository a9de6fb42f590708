//! Bodies of the fuzz targets, also replayed over the corpus by plain tests. Each panics when a
//! property does not hold.

mod pairing;

pub use pairing::pairing;

use crate::http1::{Fields, HeadLimits, RequestHead, ResponseHead};
use bytes::BytesMut;
use std::fmt::Debug;

/// Heads of both roles: what the whole input parses to, every split parses to; and what is taken, httparse
/// alone understands alike (Z14).
pub fn http1_head(data: &[u8]) {
    let limits = HeadLimits::default();
    let Some((cut, data)) = data.split_first() else {
        return;
    };
    let cut = usize::from(*cut).saturating_add(1);
    split_changes_nothing(data, cut, |buf| RequestHead::parse(buf, &limits));
    split_changes_nothing(data, cut, |buf| ResponseHead::parse(buf, &limits));
    beside_httparse(data, &limits);
}

fn beside_httparse(data: &[u8], limits: &HeadLimits) {
    let mut slots = [httparse::EMPTY_HEADER; 256];
    if let Ok(Some(head)) = RequestHead::parse(&mut BytesMut::from(data), limits) {
        let mut other = httparse::Request::new(&mut slots);
        let complete = other.parse(data).is_ok_and(|status| status.is_complete());
        assert!(complete, "httparse does not take it");
        assert_eq!(other.method, Some(head.method.as_str()));
        assert_eq!(other.path, Some(head.target.as_str()));
        same_fields(&head.fields, other.headers);
    }
    let mut slots = [httparse::EMPTY_HEADER; 256];
    if let Ok(Some(head)) = ResponseHead::parse(&mut BytesMut::from(data), limits) {
        let mut other = httparse::Response::new(&mut slots);
        let complete = other.parse(data).is_ok_and(|status| status.is_complete());
        assert!(complete, "httparse does not take it");
        assert_eq!(other.code, Some(head.status));
        same_fields(&head.fields, other.headers);
    }
}

fn same_fields(ours: &Fields, other: &[httparse::Header<'_>]) {
    let ours = ours.iter().map(|field| (field.name(), &field.value()[..]));
    let other = other.iter().map(|field| (field.name, field.value));
    assert!(ours.eq(other), "other fields");
}

fn split_changes_nothing<T: PartialEq + Debug, E: PartialEq + Debug>(
    data: &[u8],
    cut: usize,
    parse: impl Fn(&mut BytesMut) -> Result<Option<T>, E>,
) {
    let mut whole = BytesMut::from(data);
    let want = parse(&mut whole);
    let mut buf = BytesMut::new();
    let mut rest = data.chunks(cut);
    let got = loop {
        match parse(&mut buf) {
            Ok(None) => {}
            done => break done,
        }
        match rest.next() {
            Some(piece) => buf.extend_from_slice(piece),
            None => break Ok(None),
        }
    };
    match (&want, &got) {
        (Ok(Some(want)), Ok(Some(got))) => {
            assert_eq!(want, got, "a split changes the head");
            for piece in rest {
                buf.extend_from_slice(piece);
            }
            assert_eq!(whole, buf, "bytes behind the head are kept");
        }
        // What is wrong may be seen earlier in pieces, but it is wrong either way.
        _ => assert!(
            matches!((&want, &got), (Ok(None), Ok(None)) | (Err(_), Err(_))),
            "split at {cut}: {want:?} became {got:?}"
        ),
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test")]
mod tests {
    use std::path::Path;

    fn corpus(target: &str, least: usize, body: fn(&[u8])) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        let mut count = 0usize;
        for entry in dir.join(target).read_dir().unwrap() {
            body(&std::fs::read(entry.unwrap().path()).unwrap());
            count = count.saturating_add(1);
        }
        assert!(count >= least, "{count} files in the corpus");
    }

    #[test]
    fn http1_head() {
        corpus("http1_head", 10, super::http1_head);
    }

    #[test]
    fn pairing() {
        corpus("pairing", 3, super::pairing);
        // And bytes of no particular kind.
        let mut state = 1u64;
        for length in 0..600 {
            let mut byte = || {
                state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                state.to_be_bytes()[0]
            };
            let data: Vec<u8> = (0..length).map(|_| byte()).collect();
            super::pairing(&data);
        }
    }

    #[cfg(all(feature = "fuzzing", feature = "gateway", feature = "node"))]
    #[test]
    fn sim() {
        corpus("sim", 3, crate::sim::bytes);
    }
}
