//! How each connection of a case ended, as far as the judge saw it: it reads as long as the case has questions, and no
//! longer.

use super::connection::End;
use std::collections::BTreeMap;
use std::time::Duration;

/// Connections that are told apart, and signs that are kept of one.
const CONNECTIONS: usize = super::log::STEPS;
const SIGNS: usize = 8;

/// What ends a connection, or announces that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sign {
    /// The judge has closed its sending side.
    HalfClosed,
    /// The judge has sent Close with this code.
    SentClose(u16),
    /// The judge has sent GOAWAY with this status.
    SentGoaway(u32),
    /// The server has sent GOAWAY with this status.
    Goaway(u32),
    /// The server has ended it.
    Ended(End),
}

impl Sign {
    fn text(&self) -> String {
        match self {
            Self::HalfClosed => "half-close by the judge".to_owned(),
            Self::SentClose(code) => format!("Close {code} by the judge"),
            Self::SentGoaway(status) => format!("GOAWAY status={status} by the judge"),
            Self::Goaway(status) => format!("GOAWAY status={status}"),
            Self::Ended(End::Closed) => "FIN".to_owned(),
            Self::Ended(End::Cut) => "FIN without close_notify".to_owned(),
            Self::Ended(End::Reset) => "RST".to_owned(),
            Self::Ended(End::Close(1005, _)) => "Close without a code".to_owned(),
            Self::Ended(End::Close(code, reason)) if reason.is_empty() => format!("Close {code}"),
            Self::Ended(End::Close(code, reason)) => format!("Close {code} {reason:?}"),
            Self::Ended(End::Malformed(what)) => format!("malformed bytes, not read on: {what}"),
            Self::Ended(End::Failed(what)) => format!("failed: {what}"),
        }
    }

    /// Whether it is a frame of the server's.
    fn is_a_frame(&self) -> bool {
        matches!(self, Self::Goaway(_) | Self::Ended(End::Close(..)))
    }

    /// Whether no byte of the server comes behind it.
    fn ends_transport(&self) -> bool {
        matches!(
            self,
            Self::Ended(End::Closed | End::Cut | End::Reset | End::Failed(_))
        )
    }
}

/// How a connection ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// The judge has seen no end of it.
    Open,
    /// FIN, after close_notify with TLS.
    Fin,
    /// FIN without close_notify.
    Cut,
    /// RST.
    Rst,
    /// A Close frame, whatever came behind it.
    Close,
    /// Bytes that mean nothing, behind which the judge does not read.
    Malformed,
    /// Something else.
    Failed,
}

impl How {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Open,
        Self::Fin,
        Self::Cut,
        Self::Rst,
        Self::Close,
        Self::Malformed,
        Self::Failed,
    ];

    /// For reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Fin => "fin",
            Self::Cut => "fin-without-close-notify",
            Self::Rst => "rst",
            Self::Close => "close",
            Self::Malformed => "malformed",
            Self::Failed => "failed",
        }
    }
}

impl From<&End> for How {
    fn from(end: &End) -> Self {
        match end {
            End::Closed => Self::Fin,
            End::Cut => Self::Cut,
            End::Reset => Self::Rst,
            End::Close(..) => Self::Close,
            End::Malformed(_) => Self::Malformed,
            End::Failed(_) => Self::Failed,
        }
    }
}

/// How one connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Its number within the case, from 1.
    pub connection: usize,
    /// In one word.
    pub how: How,
    /// Every sign of it in order, and whether it is still open behind them.
    pub text: String,
    /// When the server ended it, since the case began.
    pub at: Option<Duration>,
}

/// The signs of all connections of a case.
#[derive(Debug, Default)]
pub(super) struct Signs(BTreeMap<usize, Vec<(Duration, Sign)>>);

impl Signs {
    /// Adds one; what is beyond the budget is not kept.
    pub(super) fn add(&mut self, connection: usize, at: Duration, sign: Sign) {
        if connection > CONNECTIONS {
            return;
        }
        let signs = self.0.entry(connection).or_default();
        // A server may say GOAWAY as often as it likes: the end is kept all the same.
        let room = SIGNS - usize::from(!matches!(sign, Sign::Ended(_)));
        // Frames that came with the end, or while the judge wrote, are looked at behind it, and came before it.
        let ended = signs.last().is_some_and(|(_, last)| last.ends_transport());
        let place = signs.len() - usize::from(ended && sign.is_a_frame());
        let before = place.checked_sub(1).and_then(|before| signs.get(before));
        if signs.len() < room && before.map(|(_, before)| before) != Some(&sign) {
            signs.insert(place, (at, sign));
        }
    }

    /// How the first `count` connections ended.
    pub(super) fn endings(&self, count: usize) -> Vec<Ending> {
        let all = 1..=count.min(CONNECTIONS);
        all.map(|connection| {
            ending(
                connection,
                self.0.get(&connection).map_or(&[], Vec::as_slice),
            )
        })
        .collect()
    }
}

fn ending(connection: usize, signs: &[(Duration, Sign)]) -> Ending {
    let ends = signs.iter().filter_map(|(at, sign)| match sign {
        Sign::Ended(end) => Some((*at, How::from(end))),
        _ => None,
    });
    // The frame says more than the FIN behind it.
    let first = ends.clone().find(|(_, how)| *how == How::Close);
    let first = first.or_else(|| ends.clone().next());
    let mut texts: Vec<String> = signs.iter().map(|(_, sign)| sign.text()).collect();
    if first.is_none() {
        texts.push("still open".to_owned());
    }
    Ending {
        connection,
        how: first.map_or(How::Open, |(_, how)| how),
        text: texts.join(", then "),
        // Behind malformed bytes it is the judge that reads no more.
        at: first
            .filter(|(_, how)| *how != How::Malformed)
            .map(|(at, _)| at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_in_order() {
        let ms = Duration::from_millis;
        let close = End::Close(1000, String::new());
        let table = [
            (vec![], How::Open, "still open", None),
            (
                vec![Sign::HalfClosed],
                How::Open,
                "half-close by the judge, then still open",
                None,
            ),
            (
                vec![Sign::Goaway(0), Sign::Ended(End::Closed)],
                How::Fin,
                "GOAWAY status=0, then FIN",
                Some(ms(1)),
            ),
            // Read together, and looked at later.
            (
                vec![Sign::Ended(End::Closed), Sign::Goaway(0)],
                How::Fin,
                "GOAWAY status=0, then FIN",
                Some(ms(0)),
            ),
            // Not of a server that has ended: the FIN and its time say more.
            (
                vec![
                    Sign::Ended(End::Closed),
                    Sign::Ended(End::Malformed("x".to_owned())),
                ],
                How::Fin,
                "FIN, then malformed bytes, not read on: x",
                Some(ms(0)),
            ),
            (
                vec![Sign::Ended(close.clone()), Sign::Ended(End::Reset)],
                How::Close,
                "Close 1000, then RST",
                Some(ms(0)),
            ),
            (
                vec![Sign::Ended(End::Malformed("x".to_owned()))],
                How::Malformed,
                "malformed bytes, not read on: x",
                None,
            ),
            (
                vec![Sign::SentClose(1001), Sign::Ended(close)],
                How::Close,
                "Close 1001 by the judge, then Close 1000",
                Some(ms(1)),
            ),
        ];
        for (list, how, text, at) in table {
            let mut signs = Signs::default();
            for (number, sign) in list.into_iter().enumerate() {
                signs.add(1, ms(number.try_into().unwrap()), sign);
            }
            let ending = signs.endings(1).remove(0);
            assert_eq!(
                (ending.how, ending.text.as_str(), ending.at),
                (how, text, at)
            );
        }
    }

    #[test]
    fn within_the_budget() {
        let mut signs = Signs::default();
        for status in 0..100 {
            signs.add(1, Duration::ZERO, Sign::Goaway(status));
        }
        signs.add(1, Duration::ZERO, Sign::Ended(End::Reset));
        let of = |connection| signs.0.get(&connection).map_or(0, Vec::len);
        assert_eq!(of(1), SIGNS);
        assert_eq!(signs.endings(1).remove(0).how, How::Rst);
        let mut signs = Signs::default();
        for connection in [CONNECTIONS, CONNECTIONS + 1] {
            signs.add(connection, Duration::ZERO, Sign::HalfClosed);
        }
        assert_eq!(signs.0.len(), 1);
        assert_eq!(signs.endings(CONNECTIONS + 1).len(), CONNECTIONS);
    }
}
