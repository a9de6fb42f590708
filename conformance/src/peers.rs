//! Other people's programs, for tests that need a real other end and no cluster.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};

use crate::{cache, cluster, skip};

/// A program of somebody else's that speaks port-forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The runtimes' streaming server behind the API server's proxy and tunnel, all of 0.37.2.
    Server,
    /// The runtimes' streaming server of the days of 1.30, of kubelet 0.30.14 (spdystream 0.2.0).
    Older030,
    /// The port forwarder of client-go 0.37.2.
    Client,
    /// The one of client-go 0.26, which knows SPDY only.
    Client026,
    /// kubectl 1.37.
    Kubectl,
    /// kube-rs 5.0.0.
    KubeRs,
    /// The Python package kubernetes 37.0.2.
    Python,
    /// The npm package @kubernetes/client-node 2.0.1.
    Node,
    /// fabric8's Java client 8.0.0.
    Fabric8,
    /// The official Java client 27.0.0.
    Java,
    /// moby/spdystream 0.5.1, alone.
    SpdyGo,
    /// moby/spdystream 0.2.0, alone.
    SpdyGo020,
    /// spdy-transport 3.0.0, of node.
    SpdyNode,
    /// Netty 4.1's codec and session handler.
    SpdyNetty,
    /// The crate spdystream-rs 0.1.2.
    SpdyRust,
    /// Wireshark's, from the distribution.
    Tshark,
    /// The crate tungstenite.
    WsTungstenite,
    /// The crate fastwebsockets.
    WsFastwebsockets,
    /// ws, of node.
    WsNpm,
    /// gorilla/websocket.
    WsGorilla,
    /// golang.org/x/net/websocket.
    WsXnet,
    /// websockets, of Python.
    WsPython,
    /// The Autobahn TestSuite.
    WsAutobahn,
}

impl Peer {
    /// Where the program is. `None`, said loudly, if it is not built; an error instead where `CI` or
    /// `PF_REQUIRE_PEERS=1` asks for it.
    pub fn find(self, test: &str) -> anyhow::Result<Option<PathBuf>> {
        match self.look() {
            Ok(path) => Ok(Some(path)),
            Err(why) => {
                let why = why.context("no peer");
                let remedy = format!("it comes with {}", self.built_by());
                skip(test, "PF_REQUIRE_PEERS", &why, &remedy).map(|()| None)
            }
        }
    }

    fn look(self) -> anyhow::Result<PathBuf> {
        let in_peers = |name: &str| {
            let directory = cache("PF_PEERS_DIR", "pf-peers")?;
            anyhow::Ok(directory.join("bin").join(name))
        };
        let path = match self {
            Self::Server => in_peers("server")?,
            Self::Older030 => in_peers("older-0.30")?,
            Self::Client => in_peers("client")?,
            Self::Client026 => in_peers("client-0.26")?,
            Self::Kubectl => cluster::directory()?.join("bin/k8s-1.37/kubectl"),
            Self::KubeRs => in_peers("client-kube-rs")?,
            Self::Python => in_peers("client-python")?,
            Self::Node => in_peers("client-node")?,
            Self::Fabric8 => in_peers("client-fabric8")?,
            Self::Java => in_peers("client-java")?,
            Self::SpdyGo => in_peers("spdy-go-0.5.1")?,
            Self::SpdyGo020 => in_peers("spdy-go-0.2.0")?,
            Self::SpdyNode => in_peers("spdy-node")?,
            Self::SpdyNetty => in_peers("spdy-netty")?,
            Self::SpdyRust => in_peers("spdy-rust")?,
            Self::Tshark => in_path("tshark")?,
            Self::WsTungstenite => in_peers("ws-tungstenite")?,
            Self::WsFastwebsockets => in_peers("ws-fastwebsockets")?,
            Self::WsNpm => in_peers("ws-npm")?,
            Self::WsGorilla => in_peers("ws-gorilla")?,
            Self::WsXnet => in_peers("ws-xnet")?,
            Self::WsPython => in_peers("ws-python")?,
            Self::WsAutobahn => in_peers("ws-autobahn")?,
        };
        ensure!(path.is_file(), "{} is no file", path.display());
        Ok(path)
    }

    fn built_by(self) -> &'static str {
        match self {
            Self::Kubectl => "conformance/cluster/build",
            Self::Server | Self::Older030 | Self::Client | Self::Client026 => {
                "conformance/peers/go/build"
            }
            Self::KubeRs | Self::Python | Self::Node | Self::Fabric8 | Self::Java => {
                "conformance/peers/clients/build"
            }
            Self::SpdyGo | Self::SpdyGo020 | Self::SpdyNode | Self::SpdyNetty | Self::SpdyRust => {
                "conformance/peers/spdy/build"
            }
            Self::Tshark => "the distribution's package tshark",
            Self::WsTungstenite
            | Self::WsFastwebsockets
            | Self::WsNpm
            | Self::WsGorilla
            | Self::WsXnet
            | Self::WsPython
            | Self::WsAutobahn => "conformance/peers/ws/build",
        }
    }
}

/// A program of the machine's.
fn in_path(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&path).map(|directory| directory.join(name));
    candidates
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("no {name} in PATH"))
}
