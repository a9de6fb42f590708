//! How `pf` ends: exit codes, and failures that say what failed, where, and what to do.

use std::fmt;

/// Exit codes, as `pf --help` documents them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Ended by Ctrl-C or SIGTERM.
    Success = 0,
    /// Anything without a code of its own; also a lost connection, as with kubectl.
    General = 1,
    /// Bad arguments or a bad kubeconfig.
    Usage = 2,
    /// Not authenticated, or a missing RBAC rule.
    Auth = 3,
    /// The target does not exist, is not ready in time, or lacks the port.
    Target = 4,
    /// A local port cannot be listened on.
    Bind = 5,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The stretch of the way to the pod on which something failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hop {
    /// The words on the command line: needs no location.
    CommandLine,
    /// A kubeconfig, named.
    Kubeconfig(String),
    /// A credential plugin, named.
    Plugin(String),
    /// The API server, by URL.
    ApiServer(String),
    /// The pod or the object in front of it, as `kind/name in namespace NS`.
    Object(String),
    /// A listening socket of this machine.
    Local,
    /// What lies behind the API server: kubelet and container runtime.
    Node(String),
    /// Anything between here and the pod.
    Way(String),
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("the command line"),
            Self::Kubeconfig(name) => write!(f, "kubeconfig {name}"),
            Self::Plugin(name) => write!(f, "credential plugin {name}"),
            Self::ApiServer(url) => write!(f, "API server {url}"),
            Self::Object(name) => f.write_str(name),
            Self::Local => f.write_str("local listener"),
            Self::Way(name) => write!(f, "between here and {name}"),
            Self::Node(name) => write!(f, "node of {name} (kubelet, container runtime)"),
        }
    }
}

/// Most characters of a message, a cause or an advice: a server may say a megabyte.
const SHOWN: usize = 1024;

/// Why `pf` ends other than by the user's wish.
///
/// `Display` is for the terminal: the message (kubectl's words where kubectl has some), then where it
/// happened and what helps, each on its own line. Texts from elsewhere must be escaped before they
/// get in here, and are cut here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    hop: Hop,
    message: String,
    cause: Option<String>,
    advice: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, hop: Hop, message: impl Into<String>) -> Self {
        Self {
            exit,
            hop,
            message: cut(message.into()),
            cause: None,
            advice: None,
        }
    }

    /// Bad words on the command line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, Hop::CommandLine, message)
    }

    /// Whether it happened in this process.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.hop, Hop::Local | Hop::CommandLine)
    }

    /// Adds why it happened, where the message is kubectl's and leaves it out.
    #[must_use]
    pub(crate) fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cut(cause.into()));
        self
    }

    /// Adds what the user can do about it. Later advice replaces earlier.
    #[must_use]
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(cut(advice.into()));
        self
    }
}

/// At most [`SHOWN`] characters, and that there were more.
fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(SHOWN) {
        text.truncate(end);
        text.push_str("... (cut after 1024 characters)");
    }
    text
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // kubectl prints what the API server said without `error: ` in front.
        if !self.message.starts_with("Error from server") {
            f.write_str("error: ")?;
        }
        f.write_str(&self.message)?;
        if self.hop != Hop::CommandLine {
            write!(f, "\n  where: {}", self.hop)?;
        }
        if let Some(cause) = &self.cause {
            write!(f, "\n  why: {cause}")?;
        }
        if let Some(advice) = &self.advice {
            f.write_str("\n  what to do: ")?;
            f.write_str(&advice.replace('\n', "\n    "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_documented_ones() {
        let table = [
            (Exit::Success, 0),
            (Exit::General, 1),
            (Exit::Usage, 2),
            (Exit::Auth, 3),
            (Exit::Target, 4),
            (Exit::Bind, 5),
        ];
        for (exit, code) in table {
            assert_eq!(exit as u8, code);
        }
    }

    #[test]
    fn long_texts_are_cut() {
        let text = |count| "\u{fc}".repeat(count);
        assert_eq!(cut(text(SHOWN)), text(SHOWN));
        let marked = format!("{}... (cut after {SHOWN} characters)", text(SHOWN));
        assert_eq!(cut(text(SHOWN + 1)), marked);

        let failure = Failure::usage(text(1 << 20))
            .because(text(1 << 20))
            .advise(text(1 << 20));
        assert_eq!(failure.to_string().matches(&marked).count(), 3);
    }

    #[test]
    fn message_place_and_advice() {
        let failure = Failure::usage("remote port must be > 0");
        assert_eq!(failure.to_string(), "error: remote port must be > 0");
        assert_eq!(failure.exit, Exit::Usage);

        let hop = Hop::ApiServer("https://[::1]:6443".to_owned());
        let failure = Failure::new(Exit::Auth, hop, "Error from server (Forbidden): no")
            .because("so")
            .advise("ask for:\n- verbs: [create]");
        assert_eq!(
            failure.to_string(),
            "Error from server (Forbidden): no\n  where: API server https://[::1]:6443\n  why: so\n  what to do: ask for:\n    - verbs: [create]"
        );
    }
}
