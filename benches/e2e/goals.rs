//! What is asked of pf, row by row: ratios to what a lean client reached on two cores, and 5 to 25 % for being a
//! product. README.md says more.

use crate::client::Client::{
    self, GoSpdy, GoTunnel, H2, KubectlSpdy, KubectlTunnel, LeanSpdy, LeanTunnel, PfSpdy, PfTunnel,
    Tls, TlsRaw,
};
use crate::measure::Measure::{
    self, DownCpu, DownRate, EchoCpu, EchoP50, EchoP99, IdleMemory, ManyIdleMemory, PeakMemory,
    SetUp16Rate, SetUpCpu, SetUpP50, SetUpRate, UpCpu, UpRate,
};
use crate::parts::Part;
use Bound::{AtLeast, AtMost};
use std::fmt;

/// Nearer than this no number of rounds that are run here decides.
const UNDECIDED: f64 = 0.10;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    pub(crate) fn verdict(self, value: f64) -> &'static str {
        let (met, bound) = match self {
            AtLeast(bound) => (value >= bound, bound),
            AtMost(bound) => (value <= bound, bound),
        };
        match ((value / bound - 1.0).abs() <= UNDECIDED, met) {
            (true, true) => "undecided (met by less than 10 %)",
            (true, false) => "undecided (missed by less than 10 %)",
            (false, true) => "met",
            (false, false) => "**not met**",
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AtLeast(least) => write!(f, ">= {least:.2}"),
            AtMost(most) => write!(f, "<= {most:.2}"),
        }
    }
}

/// One number that is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Goal {
    pub(crate) row: &'static str,
    pub(crate) measure: Measure,
    pub(crate) of: Client,
    /// None: the value itself is asked for, and no ratio.
    pub(crate) beside: Option<Client>,
    pub(crate) pass: Bound,
    pub(crate) stretch: Option<Bound>,
}

impl Goal {
    /// Whose number it is.
    pub(crate) fn who(&self) -> String {
        match self.beside {
            Some(other) => format!("{} / {other}", self.of),
            None => self.of.to_string(),
        }
    }
}

type Pair = (Client, Client);
const SPDY: Pair = (PfSpdy, KubectlSpdy);
const TUNNEL: Pair = (PfTunnel, KubectlTunnel);
const TLS: [Pair; 2] = [(PfSpdy, Tls), (PfTunnel, Tls)];
/// Held against the same bounds: what it does not reach, the machine does not let be reached.
const FLOOR: [Pair; 2] = [(LeanSpdy, Tls), (LeanTunnel, Tls)];

pub(crate) fn of(part: Part) -> Vec<Goal> {
    let mut goals = Vec::new();
    let mut row = |row, pairs: &[Pair], asked: &[(Measure, Bound, Bound)]| {
        for &(of, beside) in pairs {
            goals.extend(asked.iter().map(|&(measure, pass, stretch)| Goal {
                row,
                measure,
                of,
                beside: Some(beside),
                pass,
                stretch: Some(stretch),
            }));
        }
    };
    match part {
        Part::Real => real(&mut row),
        Part::Peer => peer(&mut row),
        Part::Pinned => pinned(&mut row),
        Part::Free => {
            free(&mut row);
            goals.extend(free_without_stretch());
        }
    }
    goals
}

type Row<'a> = &'a mut dyn FnMut(&'static str, &[Pair], &[(Measure, Bound, Bound)]);

fn cpu(down: (f64, f64), up: (f64, f64)) -> [(Measure, Bound, Bound); 2] {
    [
        (DownCpu, AtMost(down.0), AtMost(down.1)),
        (UpCpu, AtMost(up.0), AtMost(up.1)),
    ]
}

fn rate(down: (f64, f64), up: (f64, f64)) -> [(Measure, Bound, Bound); 2] {
    [
        (DownRate, AtLeast(down.0), AtLeast(down.1)),
        (UpRate, AtLeast(up.0), AtLeast(up.1)),
    ]
}

fn real(row: Row<'_>) {
    let both = [SPDY, TUNNEL];
    row(
        "client CPU/GiB / kubectl, real cluster, SPDY",
        &[SPDY],
        &cpu((0.45, 0.35), (0.52, 0.42)),
    );
    row(
        "client CPU/GiB / kubectl, real cluster, tunnel",
        &[TUNNEL],
        &cpu((0.45, 0.35), (0.50, 0.40)),
    );
    row(
        "throughput / kubectl, real, SPDY",
        &[SPDY],
        &rate((1.25, 1.35), (1.12, 1.20)),
    );
    row(
        "throughput / kubectl, real, tunnel",
        &[TUNNEL],
        &rate((1.15, 1.30), (1.10, 1.15)),
    );
    row(
        "throughput, pf SPDY / kubectl as it comes",
        &[(PfSpdy, KubectlTunnel)],
        &rate((1.35, 1.50), (1.20, 1.30)),
    );
    row(
        "set-up rate / kubectl, real",
        &both,
        &[
            (SetUpRate, AtLeast(1.80), AtLeast(2.20)),
            (SetUp16Rate, AtLeast(1.60), AtLeast(2.00)),
        ],
    );
    row(
        "set-up p50 / kubectl, real",
        &both,
        &[(SetUpP50, AtMost(0.55), AtMost(0.45))],
    );
    row(
        "client CPU per set-up / kubectl",
        &both,
        &[(SetUpCpu, AtMost(0.25), AtMost(0.17))],
    );
    row(
        "echo p50, p99 / kubectl, real",
        &both,
        &[
            (EchoP50, AtMost(0.85), AtMost(0.78)),
            (EchoP99, AtMost(1.00), AtMost(0.80)),
        ],
    );
    row(
        "client CPU per echo / kubectl",
        &both,
        &[(EchoCpu, AtMost(0.45), AtMost(0.35))],
    );
    row(
        "peak RSS / kubectl, bulk",
        &both,
        &[(PeakMemory, AtMost(0.20), AtMost(0.13))],
    );
}

fn peer(row: Row<'_>) {
    let spdy = [(PfSpdy, GoSpdy)];
    let tunnel = [(PfTunnel, GoTunnel)];
    row(
        "client CPU/GiB / client-go, Go peer, SPDY",
        &spdy,
        &cpu((0.55, 0.45), (0.65, 0.55)),
    );
    row(
        "client CPU/GiB / client-go, Go peer, tunnel",
        &tunnel,
        &cpu((0.60, 0.50), (0.52, 0.42)),
    );
    row(
        "throughput / client-go, Go peer, SPDY",
        &spdy,
        &rate((1.25, 1.40), (1.10, 1.20)),
    );
    row(
        "throughput / client-go, Go peer, tunnel",
        &tunnel,
        &rate((1.00, 1.10), (1.20, 1.30)),
    );
}

fn pinned(row: Row<'_>) {
    let [spdy, tunnel] = [0, 1].map(|way| [TLS[way], FLOOR[way]]);
    row(
        "client CPU/GiB / raw TLS relay (`tls`), SPDY",
        &spdy,
        &cpu((0.75, 0.60), (1.05, 0.90)),
    );
    row(
        "client CPU/GiB / raw TLS relay (`tls`), tunnel",
        &tunnel,
        &cpu((0.85, 0.70), (1.10, 0.95)),
    );
    row(
        "client CPU/GiB / best record layer (`tls-raw`), SPDY",
        &[(PfSpdy, TlsRaw)],
        &cpu((1.50, 1.20), (1.30, 1.10)),
    );
    row(
        "client CPU/GiB / best record layer (`tls-raw`), tunnel",
        &[(PfTunnel, TlsRaw)],
        &cpu((1.75, 1.40), (1.35, 1.15)),
    );
    row(
        "throughput / `tls`, smooth, SPDY, pinned",
        &spdy,
        &rate((1.20, 1.40), (0.95, 1.10)),
    );
    row(
        "throughput / `tls`, smooth, tunnel, pinned",
        &tunnel,
        &rate((1.10, 1.30), (0.95, 1.05)),
    );
    row(
        "client CPU/GiB / tuned h2, smooth, pinned",
        &[(PfSpdy, H2), (PfTunnel, H2)],
        &cpu((0.60, 0.45), (1.00, 0.90)),
    );
}

fn free(row: Row<'_>) {
    row(
        "set-up rate / a TLS connection each, smooth",
        &TLS,
        &[
            (SetUpRate, AtLeast(2.80), AtLeast(3.30)),
            (SetUp16Rate, AtLeast(3.50), AtLeast(4.20)),
        ],
    );
    row(
        "echo p50 / `tls`, smooth",
        &[TLS, FLOOR].concat(),
        &[(EchoP50, AtMost(1.15), AtMost(1.05))],
    );
}

fn free_without_stretch() -> impl Iterator<Item = Goal> {
    let pairs = [TLS, FLOOR].concat();
    let cpu = pairs.into_iter().flat_map(|(of, beside)| {
        let beside = Some(beside);
        [(DownCpu, 1.00), (UpCpu, 1.05)].map(|(measure, most)| Goal {
            row: "client CPU/GiB / `tls`, not pinned",
            measure,
            of,
            beside,
            pass: AtMost(most),
            stretch: None,
        })
    });
    let memory = [PfSpdy, PfTunnel].into_iter().flat_map(|of| {
        [(IdleMemory, 12.0, 8.0), (ManyIdleMemory, 130.0, 90.0)].map(|(measure, most, stretch)| {
            Goal {
                row: "RSS per idle connection; 10,000 of them",
                measure,
                of,
                beside: None,
                pass: AtMost(most),
                stretch: Some(AtMost(stretch)),
            }
        })
    });
    cpu.chain(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_ten_percent_nothing_is_decided() {
        assert_eq!(AtMost(1.0).verdict(0.89), "met");
        assert!(AtMost(1.0).verdict(0.91).starts_with("undecided (met"));
        assert!(AtMost(1.0).verdict(1.09).starts_with("undecided (missed"));
        assert_eq!(AtMost(1.0).verdict(1.11), "**not met**");
        assert_eq!(AtLeast(1.0).verdict(1.11), "met");
        assert_eq!(AtLeast(1.0).verdict(0.89), "**not met**");
    }

    #[test]
    fn who_is_asked_for_takes_part() {
        for part in [Part::Real, Part::Peer, Part::Pinned, Part::Free] {
            for goal in of(part) {
                let takes_part = |client| part.clients().contains(&client);
                assert!(
                    takes_part(goal.of) && goal.beside.is_none_or(takes_part),
                    "{}",
                    goal.row
                );
            }
        }
    }
}
