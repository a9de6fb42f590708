//! A case: one question to a server, what it rests on, and the answers that are accepted.

use crate::trial::Trial;
use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

/// How much hangs on a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Real clients and real servers need it: a departure is FAIL.
    Must,
    /// Standards or prudence ask for it: a departure is SHOULD, which fails with `--strict` only.
    Should,
    /// What real peers do differently from each other: recorded.
    Observed,
    /// What would serve users better than what real peers do: recorded.
    Quality,
}

impl Level {
    /// As the specification writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
            Self::Observed => "OBSERVED",
            Self::Quality => "QUALITY",
        }
    }
}

/// On what a case's bytes travel. A case runs once for each that it names and the target offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// SPDY on the upgraded connection.
    Spdy,
    /// SPDY in WebSocket messages.
    Tunnel,
    /// Binary channels, `v4.channel.k8s.io`.
    V4,
    /// Base64 channels, `v4.base64.channel.k8s.io`.
    V4Base64,
    /// None of them: the case asks about requests and answers.
    Http,
}

impl Way {
    /// As it stands behind the `@` of a case's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Spdy => "spdy",
            Self::Tunnel => "tunnel",
            Self::V4 => "v4",
            Self::V4Base64 => "v4-base64",
            Self::Http => "http",
        }
    }
}

/// Both ways on which SPDY travels.
pub const SESSIONS: &[Way] = &[Way::Spdy, Way::Tunnel];
/// Both forms of channels.
pub const CHANNELS: &[Way] = &[Way::V4, Way::V4Base64];
/// Every way that carries connections to a pod.
pub const ALL_WAYS: &[Way] = &[Way::Spdy, Way::Tunnel, Way::V4, Way::V4Base64];

/// Properties by which cases are chosen, beside level and id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tag {
    /// Takes longer than 10 seconds by its clause; not run unless asked for.
    Slow,
    /// Abuses the server; runs with `--hostile` only.
    Hostile,
    /// About what an attacker could do, or see.
    Security,
    /// Many streams, connections or bytes.
    Load,
    /// Differs between released versions.
    Skew,
}

impl Tag {
    /// For `--tag`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Hostile => "hostile",
            Self::Security => "security",
            Self::Load => "load",
            Self::Skew => "skew",
        }
    }
}

/// Kinds of target to which a case applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// An API server: requests name a pod, answers are Status objects.
    Gateway,
    /// A kubelet's own endpoint.
    Node,
    /// A streaming server: a runtime's, or a bare one.
    Runtime,
}

impl Role {
    /// As the specification writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Node => "node",
            Self::Runtime => "runtime",
        }
    }

    /// As users know it.
    #[must_use]
    pub fn server(self) -> &'static str {
        match self {
            Self::Gateway => "API server",
            Self::Node => "kubelet",
            Self::Runtime => "runtime",
        }
    }
}

/// Every kind of target.
pub const ANY: &[Role] = &[Role::Gateway, Role::Node, Role::Runtime];

/// What was seen, of what is accepted: a slug, the same in every run against the same server, or empty where only
/// one answer is accepted. Baselines compare it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen(pub Cow<'static, str>);

impl Seen {
    /// The one answer that is accepted.
    pub const AS_ASKED: Self = Self(Cow::Borrowed(""));

    /// One of several.
    pub fn as_slug(slug: impl Into<Cow<'static, str>>) -> Self {
        Self(slug.into())
    }
}

/// Why a case ended before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The server did something else than accepted.
    Departure {
        /// What is accepted.
        expected: String,
        /// What came, or that nothing came.
        actual: String,
    },
    /// Nothing came by which the case can tell: no connection, no HTTP, no upgrade to anything, bytes in which no
    /// message can be read. Whoever may do as it likes has not done so by that.
    NoAnswer {
        /// What is accepted.
        expected: String,
        /// What came, or that nothing came.
        actual: String,
    },
    /// The server does not offer what the case is about.
    Unsupported(String),
    /// What the case needs besides the server failed.
    Inconclusive(String),
    /// The judge failed.
    Bug(String),
}

impl Stop {
    /// A departure.
    pub fn departure(expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self::Departure {
            expected: expected.into(),
            actual: actual.into(),
        }
    }

    /// Nothing by which a case can tell.
    pub fn no_answer(expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self::NoAnswer {
            expected: expected.into(),
            actual: actual.into(),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Departure { expected, actual } | Self::NoAnswer { expected, actual } => {
                write!(f, "expected {expected}; got {actual}")
            }
            Self::Unsupported(text) | Self::Inconclusive(text) => f.write_str(text),
            Self::Bug(text) => write!(f, "a bug of the judge: {text}"),
        }
    }
}

/// What running a case comes to.
pub type Outcome = Result<Seen, Stop>;

/// The end of a case that was as asked.
pub const OK: Outcome = Ok(Seen::AS_ASKED);

/// A running case.
pub type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// One question to a server.
#[derive(Clone)]
pub struct Case {
    /// Slug with slashes, group first; never a number.
    pub id: &'static str,
    /// The rule in one sentence.
    pub title: &'static str,
    /// What a departure means.
    pub level: Level,
    /// Clauses of the specification, `7.4`.
    pub clauses: &'static [&'static str],
    /// On what it runs.
    pub ways: &'static [Way],
    /// Against what it runs.
    pub roles: &'static [Role],
    /// Properties to choose by.
    pub tags: &'static [Tag],
    /// Why it matters to users, with a public issue where there is one.
    pub why: &'static str,
    /// What the judge sends.
    pub sends: &'static str,
    /// What it accepts.
    pub accepts: &'static str,
    /// Oldest and newest Kubernetes minor version to which it applies.
    pub since: (u16, u16),
    /// Longest it may take.
    pub deadline: Duration,
    /// No other case may run meanwhile.
    pub alone: bool,
    /// Asks.
    pub run: for<'a> fn(&'a mut Trial) -> Running<'a>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Case {
    const fn new(
        level: Level,
        id: &'static str,
        title: &'static str,
        clauses: &'static [&'static str],
        run: for<'a> fn(&'a mut Trial) -> Running<'a>,
    ) -> Self {
        Self {
            id,
            title,
            level,
            clauses,
            ways: SESSIONS,
            roles: ANY,
            tags: &[],
            why: "",
            sends: "",
            accepts: "",
            since: (29, u16::MAX),
            deadline: Duration::from_secs(30),
            alone: false,
            run,
        }
    }

    /// A case of level MUST over both [`SESSIONS`].
    #[must_use]
    pub const fn must(
        id: &'static str,
        title: &'static str,
        clauses: &'static [&'static str],
        run: for<'a> fn(&'a mut Trial) -> Running<'a>,
    ) -> Self {
        Self::new(Level::Must, id, title, clauses, run)
    }

    /// A case of level SHOULD over both [`SESSIONS`].
    #[must_use]
    pub const fn should(
        id: &'static str,
        title: &'static str,
        clauses: &'static [&'static str],
        run: for<'a> fn(&'a mut Trial) -> Running<'a>,
    ) -> Self {
        Self::new(Level::Should, id, title, clauses, run)
    }

    /// A case of level OBSERVED over both [`SESSIONS`].
    #[must_use]
    pub const fn observed(
        id: &'static str,
        title: &'static str,
        clauses: &'static [&'static str],
        run: for<'a> fn(&'a mut Trial) -> Running<'a>,
    ) -> Self {
        Self::new(Level::Observed, id, title, clauses, run)
    }

    /// A case of level QUALITY over both [`SESSIONS`].
    #[must_use]
    pub const fn quality(
        id: &'static str,
        title: &'static str,
        clauses: &'static [&'static str],
        run: for<'a> fn(&'a mut Trial) -> Running<'a>,
    ) -> Self {
        Self::new(Level::Quality, id, title, clauses, run)
    }

    /// Sets on what it runs.
    #[must_use]
    pub const fn over(mut self, ways: &'static [Way]) -> Self {
        self.ways = ways;
        self
    }

    /// Sets against what it runs.
    #[must_use]
    pub const fn against(mut self, roles: &'static [Role]) -> Self {
        self.roles = roles;
        self
    }

    /// Sets its tags.
    #[must_use]
    pub const fn tags(mut self, tags: &'static [Tag]) -> Self {
        self.tags = tags;
        self
    }

    /// Says why it matters.
    #[must_use]
    pub const fn why(mut self, why: &'static str) -> Self {
        self.why = why;
        self
    }

    /// Says what is sent.
    #[must_use]
    pub const fn sends(mut self, sends: &'static str) -> Self {
        self.sends = sends;
        self
    }

    /// Says what is accepted.
    #[must_use]
    pub const fn accepts(mut self, accepts: &'static str) -> Self {
        self.accepts = accepts;
        self
    }

    /// Sets the Kubernetes minor versions, both included.
    #[must_use]
    pub const fn versions(mut self, first: u16, last: u16) -> Self {
        self.since = (first, last);
        self
    }

    /// Sets the longest that it may take, 30 seconds unless set.
    #[must_use]
    pub const fn within(mut self, seconds: u64) -> Self {
        self.deadline = Duration::from_secs(seconds);
        self
    }

    /// Lets no other case run meanwhile: what it asks the pod to count is of the whole pod.
    #[must_use]
    pub const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Whether it has the tag.
    #[must_use]
    pub fn has(&self, tag: Tag) -> bool {
        self.tags.contains(&tag)
    }
}

/// Makes a [`Case::run`] of an `async fn(&mut Trial) -> Outcome`, which may take constants behind the trial.
#[macro_export]
macro_rules! run {
    ($function:path) => {
        |trial| Box::pin($function(trial))
    };
    ($function:path, $($argument:expr),+) => {
        |trial| Box::pin($function(trial, $($argument),+))
    };
}

/// What a judge says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word {
    /// As asked.
    Pass,
    /// A departure from a MUST.
    Fail,
    /// A departure from a SHOULD.
    Should,
    /// Recorded: OBSERVED, or a QUALITY that is not there.
    Info,
    /// The server does not offer it.
    Unsupported,
    /// Something else failed.
    Inconclusive,
}

impl Word {
    /// Upper case, as in reports and expectations.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Should => "SHOULD",
            Self::Info => "INFO",
            Self::Unsupported => "UNSUPPORTED",
            Self::Inconclusive => "INCONCLUSIVE",
        }
    }

    /// The inverse of [`Word::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Pass,
            Self::Fail,
            Self::Should,
            Self::Info,
            Self::Unsupported,
            Self::Inconclusive,
        ]
        .into_iter()
        .find(|word| word.name() == name)
    }

    /// What an outcome means at a level.
    #[must_use]
    pub fn of(level: Level, outcome: &Outcome) -> Self {
        match outcome {
            Ok(_) if level == Level::Observed => Self::Info,
            Ok(_) => Self::Pass,
            Err(Stop::Departure { .. }) => match level {
                Level::Must => Self::Fail,
                Level::Should => Self::Should,
                Level::Observed | Level::Quality => Self::Info,
            },
            Err(Stop::NoAnswer { .. }) if level == Level::Must => Self::Fail,
            Err(Stop::Unsupported(_)) => Self::Unsupported,
            Err(Stop::NoAnswer { .. } | Stop::Inconclusive(_) | Stop::Bug(_)) => Self::Inconclusive,
        }
    }
}
