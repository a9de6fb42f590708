//! Which answers to PINGs differ. Servers answer them in any order, and those of a run that stopped reading are some of
//! those that were to come.

use super::answers::Answer;
use std::collections::BTreeMap;

type Counts = BTreeMap<String, usize>;

/// Those that came before and not now, and those that came now and not before. `sent` are the bytes of the judge;
/// `is_whole` says that the run before read to the end of the connection.
pub(super) fn changes(
    before: &[Answer],
    now: &[Answer],
    sent: &[u8],
    is_whole: bool,
) -> (Vec<Answer>, Vec<Answer>) {
    let (mut gone, mut new) = (counts(before), counts(now));
    let mut sent = sent_in(sent);
    for (text, count) in &mut gone {
        let other = new.entry(text.clone()).or_default();
        let both = take(count, other, usize::MAX);
        if let Some(left) = sent.get_mut(text) {
            *left = left.saturating_sub(both);
        }
    }
    if !is_whole {
        // Any of those that were sent stands for any other.
        let of_sent = |counts: &Counts| -> usize {
            let each = counts.iter();
            each.map(|(text, count)| (*count).min(sent.get(text).copied().unwrap_or_default()))
                .sum()
        };
        let pairs = of_sent(&gone).min(of_sent(&new));
        for counts in [&mut gone, &mut new] {
            let mut pairs = pairs;
            for (text, count) in counts {
                let mut those = sent.get(text).copied().unwrap_or_default();
                pairs -= take(count, &mut those, pairs);
            }
        }
    }
    (answers(gone), answers(new))
}

/// Takes as much of both as both have, up to a limit.
fn take(one: &mut usize, other: &mut usize, limit: usize) -> usize {
    let both = (*one).min(*other).min(limit);
    (*one, *other) = (*one - both, *other - both);
    both
}

fn counts(answers: &[Answer]) -> Counts {
    let mut counts = Counts::new();
    for answer in answers {
        if let Answer::Text(text) = answer {
            *counts.entry(text.clone()).or_default() += 1;
        }
    }
    counts
}

fn answers(counts: Counts) -> Vec<Answer> {
    let each = counts.into_iter();
    each.flat_map(|(text, count)| std::iter::repeat_n(Answer::Text(text), count))
        .collect()
}

/// The PINGs among these bytes, wherever they stand: what is around them may be malformed on purpose.
fn sent_in(bytes: &[u8]) -> Counts {
    let mut counts = Counts::new();
    for window in bytes.windows(12) {
        if let [0x80, 3, 0, 6, _, 0, 0, 4, a, b, c, d] = *window {
            let id = u32::from_be_bytes([a, b, c, d]);
            *counts.entry(format!("PING {id}")).or_default() += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::wire::{Encoder, Frame};

    fn of(ids: &[u32]) -> Vec<Answer> {
        let texts = ids.iter().map(|id| format!("PING {id}"));
        texts.map(Answer::Text).collect()
    }

    fn changed(before: &[u32], now: &[u32], sent: &[u32], is_whole: bool) -> String {
        let mut encoder = Encoder::default();
        let frames = sent.iter().map(|id| encoder.encode(&Frame::Ping(*id)));
        let bytes: Vec<u8> = frames.flatten().collect();
        let (gone, new) = changes(&of(before), &of(now), &bytes, is_whole);
        let texts = |all: &[Answer]| all.iter().map(Answer::text).collect::<Vec<_>>().join(" ");
        format!("-{} +{}", texts(&gone), texts(&new))
    }

    #[test]
    fn order_is_no_difference() {
        assert_eq!(changed(&[3, 5, 7], &[7, 3, 5], &[3, 5, 7], true), "- +");
        assert_eq!(changed(&[3, 3], &[3], &[3, 3], true), "-PING 3 +");
        assert_eq!(changed(&[3], &[3, 3], &[3], true), "- +PING 3");
    }

    #[test]
    fn where_reading_stopped() {
        assert_eq!(changed(&[3], &[4097], &[3, 4097], false), "- +");
        assert_eq!(changed(&[3, 5], &[7, 3], &[3, 5, 7], false), "- +");
        // All of it was read.
        assert_eq!(changed(&[3], &[5], &[3, 5], true), "-PING 3 +PING 5");
        // Nobody has sent it, or not as often.
        assert_eq!(changed(&[3], &[2], &[3, 5], false), "-PING 3 +PING 2");
        assert_eq!(
            changed(&[3, 5], &[7, 7], &[3, 5, 7], false),
            "-PING 5 +PING 7"
        );
        assert_eq!(changed(&[3, 5], &[3, 3], &[3, 5], false), "-PING 5 +PING 3");
        // Fewer, and more behind.
        assert_eq!(changed(&[3, 5], &[7], &[3, 5, 7], false), "-PING 5 +");
        assert_eq!(changed(&[3], &[3, 5], &[3, 5], false), "- +PING 5");
    }
}
