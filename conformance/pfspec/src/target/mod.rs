//! What is judged: how to reach it, as whom, and what its pod offers.

mod apiserver;
pub mod args;
mod check;
mod cri;
mod embedded;
mod endpoint;
mod kubelet;
mod options;
mod pod;
mod runtime;
mod server;
mod url_cmd;

pub use apiserver::{ApiServerArgs, POD_IMAGE, RBAC};
pub(crate) use check::answers;
pub use check::{Trouble, Unusable, check, check_ways};
pub use embedded::embedded;
pub use kubelet::KubeletArgs;
pub(crate) use options::query_values;
pub use options::{Describe, Tls};
pub use runtime::RuntimeArgs;
pub use server::ServerArgs;

use crate::case::{Role, Way};
use pf_program::cluster::Io;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;

/// Somebody as whom the target is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Who {
    /// May forward; everybody if there is no authorization.
    Forwarder,
    /// May look up and not forward.
    Viewer,
    /// Is known and may nothing.
    Nobody,
    /// Has the verb `create` on `pods/portforward` and not `get`.
    CreateOnly,
    /// Has the verb `get` on `pods/portforward` and not `create`.
    GetOnly,
    /// Says nothing of who it is.
    Anonymous,
    /// Has credentials that nobody has given out.
    Stranger,
}

/// What a port of the pod does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Sends back what it gets; closes once the client has closed.
    Echo,
    /// Takes everything, answers nothing.
    Sink,
    /// Sends 1 GiB and closes.
    Source,
    /// Resets the connection at once.
    Reset,
    /// Sends `banner\n`, closes its sending side, goes on receiving.
    HalfClose,
    /// Gets N (8 bytes, big-endian) and N bytes; answers with their SHA-256 in hexadecimal and `\n`, and closes.
    Hash,
    /// Gets N (8 bytes, big-endian); sends N bytes of sequence N, then keeps the connection until the client closes.
    Random,
    /// Gets `go\n`; sends 65536 bytes of sequence 65536 at once, then keeps the connection until the client closes.
    Early,
    /// Accepts, and reads and sends nothing.
    NeverReads,
    /// Nothing listens there.
    Closed,
    /// HTTP/1.1.
    Http,
    /// Gets a number of milliseconds, `\n`, and all until the client closes; waits so long, answers `late\n`.
    Late,
    /// HTTP/1.1 too; `/stats` tells what the other ports have seen.
    Stats,
}

impl Service {
    /// All of them, the name for `--port NAME=NUMBER`, and the port unless that says otherwise.
    pub const ALL: [(Self, &'static str, u16); 13] = [
        (Self::Echo, "echo", 7000),
        (Self::Sink, "sink", 7001),
        (Self::Source, "source", 7002),
        (Self::Reset, "reset", 7003),
        (Self::HalfClose, "halfclose", 7004),
        (Self::Hash, "hash", 7005),
        (Self::Random, "random", 7006),
        (Self::Early, "early", 7007),
        (Self::NeverReads, "neverreads", 7009),
        (Self::Closed, "closed", 7999),
        (Self::Http, "http", 8080),
        (Self::Late, "late", 7008),
        (Self::Stats, "stats", 8081),
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(service, ..)| *service == self)
            .map_or("", |(_, name, _)| name)
    }
}

/// A connection that is ready for a request head.
pub struct Place {
    /// Bytes in and out.
    pub io: Box<dyn Io>,
    /// The ALPN protocol on which both agreed, where protocols were asked for by name.
    pub agreed: Option<Vec<u8>>,
    /// Value of `Host`.
    pub host: String,
    /// Path of the pod's port-forward.
    pub path: String,
    /// Head fields that say who asks. Their values are secrets.
    pub identity: Vec<(String, Vec<u8>)>,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoPlace {
    /// The server cannot be reached: a result of a case.
    Unreachable(String),
    /// The server can be reached, and TLS with it fails: a result of a case too.
    NoTls(String),
    /// There is nobody of this kind, or no such thing.
    NotOffered(String),
    /// Somebody else failed: whoever gives out the address, or the judge itself.
    Elsewhere(String),
}

/// What [`Reach::place`] comes to.
pub type Placing<'a> = Pin<Box<dyn Future<Output = Result<Place, NoPlace>> + Send + 'a>>;

/// The way to a target.
pub trait Reach: Send + Sync {
    /// Connects.
    fn place(&self, who: Who) -> Placing<'_>;

    /// Connects for a request that names these ports. Whoever gives out a runtime's URL has to be told of them.
    fn place_for(&self, who: Who, _ports: &[u16]) -> Placing<'_> {
        self.place(who)
    }

    /// Connects without offering `http/1.1` in ALPN but `protocols`; only for targets with TLS.
    fn place_with_alpn(&self, _protocols: &[&[u8]]) -> Placing<'_> {
        Box::pin(async { Err(NoPlace::NotOffered("the target has no TLS".to_owned())) })
    }

    /// The path of another pod's port-forward, if paths name pods.
    fn path_of(&self, _namespace: &str, _pod: &str) -> Option<String> {
        None
    }

    /// Has a pod run on a node at `address` that the judge plays, without TLS; the path of its port-forward.
    fn stage(&self, _address: SocketAddr) -> Result<String, NoPlace> {
        let text = "this cluster takes no node of the judge's own: the embedded one does";
        Err(NoPlace::NotOffered(text.to_owned()))
    }

    /// Ends what was started for the run: pods, namespaces, processes.
    fn clean_up(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(async { Ok(()) })
    }
}

/// What is judged.
pub struct Target {
    /// For reports; no secret in it.
    pub name: String,
    /// What kind of server it is.
    pub role: Role,
    /// Kubernetes minor version (of the streaming server, for a runtime), if it is known.
    pub minor: Option<u16>,
    /// Ways that it should serve; cases on others say UNSUPPORTED.
    pub ways: Vec<Way>,
    /// Commands that can be run in its pod, if it serves exec.
    pub exec: Option<Exec>,
    /// Ports of its pod.
    pub services: BTreeMap<Service, u16>,
    /// The way to it.
    pub reach: Box<dyn Reach>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut s = f.debug_struct("Target");
        s.field("name", &self.name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// Commands in a container of the pod, each a list of words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// Name of the container; empty if the pod has one.
    pub container: String,
    /// Ends well.
    pub succeeds: Vec<String>,
    /// Writes to its error output and ends with a code other than 0.
    pub fails: Vec<String>,
    /// Reads its input to the end, writes it to its output and ends well; if there is such a command.
    pub reads: Option<Vec<String>>,
}

/// Puts a target together; it is asked for the tunnel if nothing says whether it has to serve it.
async fn finish(
    name: String,
    role: Role,
    minor: Option<u16>,
    describe: &Describe,
    reach: Box<dyn Reach>,
) -> Target {
    let (ways, asks) = describe.ways(role, minor);
    let mut target = Target {
        name,
        role,
        minor,
        ways,
        exec: describe.exec(),
        services: describe.services(),
        reach,
    };
    if asks && check::has_tunnel(&target).await {
        target.ways.insert(1, Way::Tunnel);
    }
    target
}

/// The ports of the test image and of the embedded cluster.
#[must_use]
pub fn usual_services() -> BTreeMap<Service, u16> {
    Service::ALL
        .iter()
        .map(|(service, _, port)| (*service, *port))
        .collect()
}
