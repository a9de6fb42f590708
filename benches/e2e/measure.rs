//! What is measured, in which unit, and what is asked of it.

use crate::child::Client;
use crate::machine::Idle;
use std::collections::BTreeMap;

/// A number of one client, of one step of one round.
pub(crate) type Sample = (Measure, f64);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Measure {
    DownRate,
    DownCpu,
    UpRate,
    UpCpu,
    PeakMemory,
    EchoP50,
    EchoP99,
    EchoCpu,
    SetUpRate,
    SetUpP50,
    SetUpP99,
    SetUpCpu,
    SetUp16Rate,
    SetUp16P50,
    SetUp16P99,
    SetUp16Cpu,
}

/// What a ratio pf / kubectl has to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    pub(crate) fn met(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(least) => ratio >= least,
            Self::AtMost(most) => ratio <= most,
        }
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, ">= {least:.2}"),
            Self::AtMost(most) => write!(f, "<= {most:.2}"),
        }
    }
}

impl Measure {
    pub(crate) const ALL: [Self; 16] = [
        Self::DownRate,
        Self::DownCpu,
        Self::UpRate,
        Self::UpCpu,
        Self::PeakMemory,
        Self::EchoP50,
        Self::EchoP99,
        Self::EchoCpu,
        Self::SetUpRate,
        Self::SetUpP50,
        Self::SetUpP99,
        Self::SetUpCpu,
        Self::SetUp16Rate,
        Self::SetUp16P50,
        Self::SetUp16P99,
        Self::SetUp16Cpu,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::DownRate => "download",
            Self::DownCpu => "download, client CPU",
            Self::UpRate => "upload",
            Self::UpCpu => "upload, client CPU",
            Self::PeakMemory => "peak RSS after both",
            Self::EchoP50 => "echo p50",
            Self::EchoP99 => "echo p99",
            Self::EchoCpu => "client CPU per echo",
            Self::SetUpRate => "set-ups",
            Self::SetUpP50 => "set-up p50",
            Self::SetUpP99 => "set-up p99",
            Self::SetUpCpu => "client CPU per set-up",
            Self::SetUp16Rate => "set-ups, 16 at once",
            Self::SetUp16P50 => "set-up p50, 16 at once",
            Self::SetUp16P99 => "set-up p99, 16 at once",
            Self::SetUp16Cpu => "client CPU per set-up, 16 at once",
        }
    }

    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::DownRate | Self::UpRate => "MiB/s",
            Self::DownCpu | Self::UpCpu => "s/GiB",
            Self::PeakMemory => "MiB",
            Self::SetUpRate | Self::SetUp16Rate => "1/s",
            Self::EchoP50
            | Self::EchoP99
            | Self::EchoCpu
            | Self::SetUpP50
            | Self::SetUpP99
            | Self::SetUpCpu
            | Self::SetUp16P50
            | Self::SetUp16P99
            | Self::SetUp16Cpu => "us",
        }
    }

    /// The value as the table has it, without its unit.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::DownCpu | Self::UpCpu => format!("{value:.2}"),
            Self::PeakMemory => format!("{value:.1}"),
            _ => format!("{value:.0}"),
        }
    }

    /// What pf has to reach against `other`. README.md says where these come from.
    pub(crate) fn goal(self, other: Client) -> Option<Goal> {
        use Goal::{AtLeast, AtMost};
        let goal = match (self, other) {
            (Self::DownRate, Client::Kubectl) => AtLeast(1.35),
            (Self::UpRate, Client::Kubectl) => AtLeast(1.20),
            (_, Client::Kubectl | Client::Pf) => return None,
            (Self::DownRate, _) => AtLeast(1.25),
            (Self::UpRate, _) => AtLeast(1.12),
            (Self::DownCpu | Self::EchoCpu, _) => AtMost(0.45),
            (Self::UpCpu, _) => AtMost(0.52),
            (Self::PeakMemory, _) => AtMost(0.20),
            (Self::EchoP50, _) => AtMost(0.85),
            (Self::EchoP99, _) => AtMost(1.00),
            (Self::SetUpRate, _) => AtLeast(1.80),
            (Self::SetUp16Rate, _) => AtLeast(1.60),
            (Self::SetUpP50, _) => AtMost(0.55),
            (Self::SetUpCpu, _) => AtMost(0.25),
            (Self::SetUpP99 | Self::SetUp16P50 | Self::SetUp16P99 | Self::SetUp16Cpu, _) => {
                return None;
            }
        };
        Some(goal)
    }
}

/// All clients through all steps, once.
pub(crate) struct Round {
    pub(crate) order: [Client; 3],
    /// How busy the machine was before the step at which it was busiest, percent.
    pub(crate) busiest: f64,
    /// How many steps began on a machine that stayed busy.
    pub(crate) disturbed: usize,
    pub(crate) values: BTreeMap<(Client, Measure), f64>,
}

impl Round {
    pub(crate) fn new(order: [Client; 3]) -> Self {
        Self {
            order,
            busiest: 0.0,
            disturbed: 0,
            values: BTreeMap::new(),
        }
    }

    pub(crate) fn note(&mut self, idle: Idle) {
        self.busiest = self.busiest.max(idle.busy);
        self.disturbed += usize::from(!idle.reached);
    }

    pub(crate) fn add(&mut self, client: Client, samples: Vec<Sample>) {
        for (measure, value) in samples {
            self.values.insert((client, measure), value);
        }
    }

    /// pf's value by the other's, of this round.
    pub(crate) fn ratio(&self, measure: Measure, other: Client) -> Option<f64> {
        let pf = self.values.get(&(Client::Pf, measure))?;
        Some(pf / self.values.get(&(other, measure))?)
    }
}
