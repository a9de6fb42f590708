//! The four comparisons: who takes part in which, and in what.

use crate::client::Client::{
    self, GoSpdy, GoTunnel, H2, KubeRs, KubectlSpdy, KubectlTunnel, LeanSpdy, LeanTunnel, PfSpdy,
    PfTunnel, Tls, TlsRaw,
};
use crate::steps::Step;
use clap::ValueEnum;

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Part {
    /// On the demo pod of conformance/cluster, beside kubectl, client-go and kube-rs
    Real,
    /// On a server made of Kubernetes' own code, in one process, beside client-go and kube-rs
    Peer,
    /// On a smooth source, each client alone on core 1, beside a TLS relay and tuned h2
    Pinned,
    /// On a smooth source, where the scheduler decides, beside a TLS connection each
    Free,
}

/// What one process of a client lives through. Small things get a process of their own, so that they do not
/// find the heap which the bulk left behind.
type Life = &'static [Step];

const BULK: Life = &[Step::Download, Step::Upload];
const BULK_AND_MEMORY: Life = &[Step::Download, Step::Upload, Step::Memory];
const SMALL: Life = &[
    Step::Echo,
    Step::SetUp { at_once: 1 },
    Step::SetUp { at_once: 16 },
];
const IDLE: Life = &[Step::Idle];

impl Part {
    pub(crate) const fn clients(self) -> &'static [Client] {
        match self {
            Self::Real => &[
                PfSpdy,
                PfTunnel,
                KubectlSpdy,
                KubectlTunnel,
                GoSpdy,
                GoTunnel,
                KubeRs,
            ],
            Self::Peer => &[PfSpdy, PfTunnel, GoSpdy, GoTunnel, KubeRs],
            Self::Pinned => &[PfSpdy, PfTunnel, Tls, TlsRaw, H2, LeanSpdy, LeanTunnel],
            Self::Free => &[PfSpdy, PfTunnel, Tls, LeanSpdy, LeanTunnel],
        }
    }

    pub(crate) const fn lives(self) -> &'static [Life] {
        match self {
            Self::Real => &[BULK_AND_MEMORY, SMALL],
            Self::Peer => &[BULK_AND_MEMORY],
            Self::Pinned => &[BULK],
            Self::Free => &[BULK, SMALL, IDLE],
        }
    }

    /// So many for a result to rely on.
    pub(crate) const fn rounds(self) -> usize {
        match self {
            Self::Pinned => 8,
            Self::Real | Self::Peer | Self::Free => 6,
        }
    }

    pub(crate) const fn pinned(self) -> bool {
        matches!(self, Self::Pinned)
    }
}
