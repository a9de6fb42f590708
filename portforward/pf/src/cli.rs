//! The command line.

use crate::config::{Proxies, Selection};
use crate::duration;
use crate::exit::Failure;
use crate::explain;
use crate::listen::{self, Address};
use crate::serve::Serve;
use crate::target::{Target, check_name};
use clap::{Parser, Subcommand, ValueEnum};
use portforward::ports::PortSpec;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Forward local ports to a pod.
///
/// TYPE/NAME is a pod, or what leads to one: a deployment, replicaset, statefulset, daemonset, job,
/// replicationcontroller or service, in kubectl's spellings (po, deploy, rs, sts, ds, rc, svc). NAME
/// alone is a pod. Ports of a service are mapped to those of its pod.
///
/// Listens on 127.0.0.1 and ::1, prints one "Forwarding from" line for each on stdout once
/// connections are served, and runs until Ctrl-C.
#[derive(Debug, Parser)]
#[command(
    name = "pf",
    version,
    override_usage = "pf [OPTIONS] TYPE/NAME [LOCAL:]REMOTE [[LOCAL:]REMOTE ...]\n       \
                      pf explain [OPTIONS] TYPE/NAME PORT\n       \
                      pf serve [OPTIONS]",
    disable_help_subcommand = true,
    after_long_help = AFTER_HELP,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    /// What to forward to; NAME alone is a pod
    #[arg(value_name = "TYPE/NAME")]
    target: Option<String>,

    #[allow(rustdoc::broken_intra_doc_links, reason = "help text, not a link")]
    /// [LOCAL:]REMOTE: 5000 (both ends), 8888:5000, :5000 (any free local port); REMOTE may be a name
    #[arg(value_name = "PORT")]
    ports: Vec<String>,

    /// Namespace of the target [default: that of the context]
    #[arg(short, long, value_name = "NAME", global = true)]
    namespace: Option<String>,

    /// Kubeconfig file [default: KUBECONFIG (a list), then ~/.kube/config, then in-cluster]
    #[arg(long, value_name = "FILE", conflicts_with = "embedded", global = true)]
    kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME", conflicts_with = "embedded", global = true)]
    context: Option<String>,

    /// Cluster entry of the kubeconfig
    #[arg(long, value_name = "NAME", conflicts_with = "embedded", global = true)]
    cluster: Option<String>,

    /// User entry of the kubeconfig
    #[arg(long, value_name = "NAME", conflicts_with = "embedded", global = true)]
    user: Option<String>,

    /// Addresses to listen on: IP addresses or localhost, separated by commas; may be repeated
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "localhost",
        long_help = "Addresses to listen on: IP addresses or localhost, separated by commas; may be \
                     repeated. localhost is 127.0.0.1 and ::1; a family that this machine lacks is \
                     skipped, one on which the port is in use is an error (see --allow-partial)."
    )]
    address: Vec<String>,

    /// How long to wait for a running pod if there is none at all, as in 30s or 1m0s
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "1m0s",
        global = true,
        value_parser = duration::parse_positive
    )]
    pod_running_timeout: Duration,

    /// Go on if one address family of localhost, or one of several ports, is in use by another
    /// program
    #[arg(long)]
    allow_partial: bool,

    /// How to speak to the API server; auto is spdy if KUBECTL_PORT_FORWARD_WEBSOCKETS is "false" (in any
    /// case; nothing else counts)
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Protocol::Auto)]
    protocol: Protocol,

    /// When connections get sessions of their own, so that one whose end reads nothing does not hold up
    /// others. With --record there is one session; with --protocol channel none, and neither this nor
    /// --max-sessions has a meaning
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Isolate::Auto)]
    isolate: Isolate,

    /// How many sessions a forward may have at a time
    #[arg(
        long,
        value_name = "N",
        default_value_t = 16,
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    max_sessions: u16,

    /// End when the connection is lost, as kubectl does. Accepted, and without effect as yet: pf always does
    #[arg(long)]
    no_reconnect: bool,

    /// Use a cluster inside this program instead of a real one, to try things out
    #[arg(long, global = true)]
    embedded: bool,

    /// Write a transcript of the session to FILE, which must not exist. It holds all bytes that the
    /// connections carry, but no credentials
    #[arg(
        long,
        value_name = "FILE",
        long_help = "Write a transcript of the session to FILE, which must not exist. ALL BYTES THAT THE \
                     FORWARDED CONNECTIONS CARRY ARE IN IT, passwords sent through them included; the \
                     credentials for the cluster are not. Until pf ends it is FILE.part, and stays so if pf \
                     is killed or the recording is cut by a full or slow disk or at 64 MiB; forwarding \
                     goes on then. Only its owner may read it."
    )]
    record: Option<PathBuf>,

    /// How much more to tell on stderr: 1 the way to the pod, 2 each connection
    #[arg(
        short = 'v',
        long = "v",
        value_name = "LEVEL",
        default_value_t = 0,
        global = true,
        value_parser = clap::value_parser!(u8).range(..=10)
    )]
    verbosity: u8,
}

const AFTER_HELP: &str = "\
Examples:
  # Local ports 5000 and 6000 to the same ports of pod mypod
  pf pod/mypod 5000 6000

  # Local port 8443 to the port named https of service web, in its pod
  pf svc/web 8443:https

  # Any free local port to port 5000 of a pod of a deployment
  pf -n shop deploy/cart :5000

  # One connection to the port named http, drawn as it happened (pf explain --help)
  pf explain pod/web http

  # Local port 8888 on localhost and on one address of this machine
  pf --address localhost,10.19.21.23 pod/mypod 8888:5000

  # A cluster for tests, for kubectl and others (a pod of that name is pod/serve)
  pf serve --kubeconfig-out test.kubeconfig

Exit codes:
  0  ended by Ctrl-C or SIGTERM (before forwarding begins they kill pf: 130 or 143 in a shell)
  1  connection lost, or any error without a code of its own
  2  usage: bad arguments, ports, addresses or kubeconfig
  3  not logged in, or a missing RBAC rule (which is printed)
  4  target not found, not ready in time, or without the port
  5  a local port cannot be listened on

Ctrl-C and SIGTERM end forwarded connections and the session in order; a second one ends pf at once.";

/// Words that are no pods. A pod of such a name is `pod/NAME`.
#[derive(Debug, Subcommand)]
enum Command {
    Explain(explain::Args),
}

/// What is spoken on the connection to the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// As kubectl: tunnel, and spdy if the server's answer to it is no WebSocket
    Auto,
    /// SPDY in a WebSocket: passes proxies that know no other upgrade
    Tunnel,
    /// SPDY/3.1: the least work for both ends
    Spdy,
    /// v4.channel.k8s.io, one WebSocket for each connection and no half-close: what the pod answers
    /// only once its input has ended never comes
    Channel,
}

/// When connections get sessions of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Isolate {
    /// As long as there are few; then those that carry much or are stalled stay alone. What shares a
    /// session and is not read is reset before others notice
    Auto,
    /// Each has one; beyond --max-sessions they wait
    Always,
    /// All share one, as with kubectl: what is not read stops the others
    Never,
}

impl Protocol {
    /// `KUBECTL_PORT_FORWARD_WEBSOCKETS=false` is heeded as kubectl heeds it.
    fn or_as_kubectl_is_told(self) -> Self {
        let told = std::env::var("KUBECTL_PORT_FORWARD_WEBSOCKETS");
        match self {
            Self::Auto if told.is_ok_and(|v| v.eq_ignore_ascii_case("false")) => Self::Spdy,
            chosen => chosen,
        }
    }
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Order {
    Forward(Box<Request>),
    Explain(Box<explain::Request>),
    Serve(Serve),
}

/// Run a small cluster inside this program for kubectl, client libraries and tests, until Ctrl-C
// Nothing that leads to a cluster applies, so it is a command line of its own.
#[derive(Debug, Parser)]
#[command(
    name = "pf serve",
    bin_name = "pf serve",
    version,
    max_term_width = 100
)]
struct ServeLine {
    #[command(flatten)]
    serve: Serve,
}

/// Reads the command line. clap ends the program on `--help` and on what it does not understand.
pub(crate) enum Line {
    Cli(Box<Cli>),
    Serve(Serve),
}

impl Line {
    /// `serve` as the first word wins over a pod of that name.
    pub(crate) fn read(mut words: Vec<OsString>) -> Result<Self, clap::Error> {
        if words.get(1).is_some_and(|word| word == "serve") {
            words.remove(1);
            return Ok(Self::Serve(ServeLine::try_parse_from(words)?.serve));
        }
        Ok(Self::Cli(Box::new(Cli::try_parse_from(words)?)))
    }

    pub(crate) fn verbosity(&self) -> u8 {
        match self {
            Self::Cli(cli) => cli.verbosity,
            Self::Serve(_) => 0,
        }
    }

    /// Everything that can be found wrong without a cluster.
    ///
    /// # Errors
    /// Exit code 2.
    pub(crate) fn check(self) -> Result<Order, Failure> {
        match self {
            Self::Serve(serve) => {
                serve.check()?;
                Ok(Order::Serve(serve))
            }
            Self::Cli(mut cli) => match cli.explain()? {
                Some(request) => Ok(Order::Explain(Box::new(request))),
                None => Ok(Order::Forward(Box::new(cli.forward()?))),
            },
        }
    }
}

/// The command line of a forward, read and checked.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) target: Target,
    pub(crate) ports: Vec<PortSpec>,
    pub(crate) addresses: Vec<Address>,
    pub(crate) namespace: Option<String>,
    pub(crate) selection: Selection,
    pub(crate) patience: Duration,
    pub(crate) partial: bool,
    pub(crate) embedded: bool,
    pub(crate) record: Option<PathBuf>,
    pub(crate) protocol: Protocol,
    pub(crate) isolate: Isolate,
    pub(crate) max_sessions: usize,
}

impl Cli {
    /// What `pf explain` is to do, if it is `pf explain`.
    ///
    /// # Errors
    /// Exit code 2.
    fn explain(&mut self) -> Result<Option<explain::Request>, Failure> {
        let Some(Command::Explain(args)) = self.command.take() else {
            return Ok(None);
        };
        if self.target.is_some() {
            return Err(Failure::usage(
                "explain is the first word, or none: give TYPE/NAME behind it",
            ));
        }
        if self.record.is_some() {
            return Err(Failure::usage(
                "explain records nothing: leave --record out",
            ));
        }
        let selection = Selection {
            kubeconfig: self.kubeconfig.take(),
            context: self.context.take(),
            cluster: self.cluster.take(),
            user: self.user.take(),
            proxies: Proxies::Refused,
        };
        args.check(
            selection,
            self.namespace.take(),
            self.pod_running_timeout,
            self.embedded,
        )
        .map(Some)
    }

    fn forward(self) -> Result<Request, Failure> {
        let Some(target) = self.target.filter(|_| !self.ports.is_empty()) else {
            return Err(Failure::usage(
                "TYPE/NAME and list of ports are required for port-forward",
            )
            .advise("for example: pf pod/mypod 8080:80 (see pf --help)"));
        };
        let line = |text: &str| portforward::escape::line(text);
        let target: Target = target
            .parse()
            .map_err(|text: String| Failure::usage(line(&text)))?;
        let ports = self
            .ports
            .iter()
            .map(|form| form.parse())
            .collect::<Result<Vec<PortSpec>, _>>()
            .map_err(|error| {
                Failure::usage(line(&error.to_string()))
                    .advise("give ports as REMOTE, LOCAL:REMOTE or :REMOTE")
            })?;
        let addresses = listen::addresses(&self.address)?;
        if let Some(namespace) = &self.namespace {
            check_name("namespace", namespace).map_err(|text| Failure::usage(line(&text)))?;
        }
        if self.protocol == Protocol::Channel && self.record.is_some() {
            let text = "--record records one session, and --protocol channel has none";
            return Err(Failure::usage(text).advise("give --protocol spdy or tunnel"));
        }
        if self.isolate == Isolate::Always && self.record.is_some() {
            let text = "--record records one session, and --isolate always needs more";
            return Err(Failure::usage(text));
        }
        Ok(Request {
            target,
            ports,
            addresses,
            namespace: self.namespace.filter(|namespace| !namespace.is_empty()),
            selection: Selection {
                kubeconfig: self.kubeconfig,
                context: self.context,
                cluster: self.cluster,
                user: self.user,
                proxies: Proxies::Refused,
            },
            patience: self.pod_running_timeout,
            partial: self.allow_partial,
            embedded: self.embedded,
            protocol: self.protocol.or_as_kubectl_is_told(),
            // A transcript is of one session.
            isolate: match self.record {
                Some(_) => Isolate::Never,
                None => self.isolate,
            },
            record: self.record,
            max_sessions: self.max_sessions.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use clap::CommandFactory as _;

    fn check(words: &[&str]) -> Result<Request, Failure> {
        let words = std::iter::once("pf").chain(words.iter().copied());
        match Line::read(words.map(OsString::from).collect())
            .unwrap()
            .check()?
        {
            Order::Forward(request) => Ok(*request),
            order => panic!("{order:?}"),
        }
    }

    fn error(words: &[&str]) -> String {
        let failure = check(words).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        failure.to_string()
    }

    #[test]
    fn clap_finds_no_fault() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_anywhere() {
        let request = check(&[
            "svc/web",
            "-n",
            "shop",
            "8080:http",
            "--address",
            "127.0.0.1,127.0.0.2",
            ":81",
            "-v=4",
            "--address=::1",
            "--pod-running-timeout=90s",
            "--context",
            "c",
            "--no-reconnect",
        ])
        .unwrap();
        assert_eq!(request.target.to_string(), "service/web");
        assert_eq!(request.ports.len(), 2);
        assert_eq!(request.addresses.len(), 3);
        assert_eq!(request.namespace.as_deref(), Some("shop"));
        assert_eq!(request.selection.context.as_deref(), Some("c"));
        assert_eq!(request.patience, Duration::from_secs(90));
        assert!(!request.partial && !request.embedded);
    }

    #[test]
    fn defaults() {
        let request = check(&["web", "80"]).unwrap();
        assert_eq!(request.addresses.len(), 2);
        assert_eq!(request.patience, Duration::from_secs(60));
        assert_eq!(request.namespace, None);
    }

    #[test]
    fn serve_is_a_word_and_pod_serve_is_a_pod() {
        let read = |words: &[&str]| Line::read(words.iter().map(OsString::from).collect());
        let order = |words: &[&str]| read(words).unwrap().check().unwrap();
        assert!(matches!(order(&["pf", "serve"]), Order::Serve(_)));
        let serve = [
            "pf",
            "serve",
            "--user",
            "viewer",
            "--host-pod=a",
            "--host-pod",
            "b",
        ];
        assert!(matches!(order(&serve), Order::Serve(_)));
        assert_eq!(check(&["pod/serve", "80"]).unwrap().target.name, "serve");
        assert_eq!(check(&["web", "serve"]).unwrap().ports.len(), 1);
        for words in [
            &["pf", "serve", "80"][..],
            &["pf", "serve", "--namespace", "x"],
            &["pf", "serve", "--auth", "password"],
            &["pf", "serve", "--user", "root"],
            &["pf", "serve", "--listen", "here:1"],
        ] {
            let error = read(words).err().unwrap();
            assert_eq!(error.exit_code(), 2, "{words:?}");
        }
    }

    #[test]
    fn usage_errors() {
        let required = "error: TYPE/NAME and list of ports are required for port-forward";
        assert!(error(&[]).starts_with(required));
        assert!(error(&["web"]).starts_with(required));
        assert!(error(&["web", "0"]).starts_with("error: remote port must be > 0"));
        assert!(error(&["web", "a:b:c"]).starts_with("error: invalid port format 'a:b:c'"));
        assert!(error(&["a/b/c", "80"]).contains("more than one slash"));
        assert!(
            error(&["web", "80", "--address", "here"]).starts_with("error: here is not a valid IP")
        );
        assert!(error(&["web", "80", "-n", "../x"]).contains("invalid namespace name"));
        let recorded = error(&["web", "80", "--isolate", "always", "--record", "x"]);
        assert!(recorded.contains("--isolate always needs more"));
        let recorded = error(&["web", "80", "--protocol", "channel", "--record", "x"]);
        assert!(recorded.contains("--protocol channel has none"));
        assert!(error(&["web", "\u{1b}[2J:80"]).contains("\\x1b[2J"));
    }

    #[test]
    fn what_clap_refuses() {
        for words in [
            vec!["pf", "web", "80", "--pod-running-timeout", "0s"],
            vec!["pf", "web", "80", "--pod-running-timeout", "60"],
            vec!["pf", "web", "80", "--protocol", "http3"],
            vec!["pf", "web", "80", "--token", "t"],
            vec!["pf", "web", "80", "--embedded", "--context", "c"],
        ] {
            let error = Cli::try_parse_from(&words).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{words:?}");
        }
    }
}
