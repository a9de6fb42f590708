//! Who is measured, and how each is started.

use crate::args::Args;
use crate::carry::Kind;
use crate::child::{Child, Service};
use crate::cores;
use crate::far::Far;
use crate::steps::Step;
use anyhow::Result;
use clap::ValueEnum;
use std::fmt;
use std::process::Command;

/// The variable by which kubectl (1.31 and later) is told to speak SPDY and no WebSocket.
const WEBSOCKETS: &str = "KUBECTL_PORT_FORWARD_WEBSOCKETS";

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
pub(crate) enum Client {
    PfSpdy,
    PfTunnel,
    KubectlSpdy,
    /// As it comes, since 1.31.
    KubectlTunnel,
    #[value(name = "client-go-spdy")]
    GoSpdy,
    #[value(name = "client-go-tunnel")]
    GoTunnel,
    KubeRs,
    Tls,
    /// The best record layer: what TLS costs a relay at the least.
    TlsRaw,
    H2,
    /// Promises nothing: what the wire costs.
    LeanSpdy,
    LeanTunnel,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::PfSpdy => "pf SPDY",
            Self::PfTunnel => "pf tunnel",
            Self::KubectlSpdy => "kubectl SPDY",
            Self::KubectlTunnel => "kubectl tunnel",
            Self::GoSpdy => "client-go SPDY",
            Self::GoTunnel => "client-go tunnel",
            Self::KubeRs => "kube-rs",
            Self::Tls => "tls",
            Self::TlsRaw => "tls-raw",
            Self::H2 => "h2 tuned",
            Self::LeanSpdy => "lean SPDY",
            Self::LeanTunnel => "lean tunnel",
        })
    }
}

impl Client {
    pub(crate) const fn is_pf(self) -> bool {
        matches!(self, Self::PfSpdy | Self::PfTunnel)
    }

    /// Whether it can be asked for that: the lean client and `tls-raw` have one connection at a time.
    pub(crate) const fn takes(self, step: Step) -> bool {
        match step {
            Step::SetUp { .. } | Step::Idle => {
                !matches!(self, Self::TlsRaw | Self::LeanSpdy | Self::LeanTunnel)
            }
            Step::Download | Step::Upload | Step::Memory | Step::Echo => true,
        }
    }

    /// Starts it for all services of the other end.
    pub(crate) fn start(self, args: &Args, far: &Far) -> Result<Child> {
        let services = far.services();
        let command = self.command(args, far, services)?;
        cores::for_a_client(args.part, || {
            Child::spawn(command, self.to_string(), services)
        })
    }

    pub(crate) fn command(self, args: &Args, far: &Far, services: &[Service]) -> Result<Command> {
        let ports = services.iter().map(|service| format!(":{}", service.0));
        let pod = format!("pod/{}", far.pod());
        let command = match self {
            Self::PfSpdy | Self::PfTunnel => {
                let spdy = self == Self::PfSpdy;
                let mut command = Command::new(&args.pf);
                command
                    .args(["--protocol", if spdy { "spdy" } else { "tunnel" }])
                    .arg("--kubeconfig")
                    .arg(far.kubeconfig())
                    .arg(pod)
                    .args(ports);
                command
            }
            Self::KubectlSpdy | Self::KubectlTunnel => {
                let mut command = Command::new(&args.kubectl);
                let tunnel = self == Self::KubectlTunnel;
                command
                    .env(WEBSOCKETS, tunnel.to_string())
                    .arg("--kubeconfig")
                    .arg(far.kubeconfig())
                    .arg("port-forward")
                    .arg(pod)
                    .args(ports);
                command
            }
            Self::GoSpdy | Self::GoTunnel => {
                let spdy = self == Self::GoSpdy;
                let mut command = Command::new(args.peer("client")?);
                command
                    .args(["-transport", if spdy { "spdy" } else { "tunnel" }])
                    .arg("-kubeconfig")
                    .arg(far.kubeconfig())
                    .arg(far.pod())
                    .args(ports);
                command
            }
            Self::KubeRs => {
                let mut command = Command::new(args.peer("forward-kube-rs")?);
                command
                    .arg(far.kubeconfig())
                    .arg(far.pod())
                    .args(services.iter().map(|service| service.0.to_string()));
                command
            }
            Self::Tls => far.carrier(Kind::Tls)?,
            Self::TlsRaw => far.carrier(Kind::TlsRaw)?,
            Self::H2 => far.carrier(Kind::H2)?,
            Self::LeanSpdy => far.carrier(Kind::LeanSpdy)?,
            Self::LeanTunnel => far.carrier(Kind::LeanTunnel)?,
        };
        Ok(command)
    }
}
