//! What the command line says of the target. A kind of target has its variant and its arms here, and its arguments in a
//! file of its own.

use super::apiserver::Known;
use super::options::BadUse;
use super::{ApiServerArgs, KubeletArgs, RuntimeArgs, ServerArgs, Target};
use crate::case::Role;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::keylog::KeyFile;
use crate::profile::Profile;
use pf_program::cluster::Unreachable;
use std::fmt;
use std::sync::Arc;

/// A target as the command line names it.
#[derive(Debug, Clone)]
pub enum TargetArgs {
    /// `pfspec server`
    Server(ServerArgs),
    /// `pfspec apiserver`
    ApiServer(ApiServerArgs),
    /// `pfspec kubelet`
    Kubelet(KubeletArgs),
    /// `pfspec runtime`
    Runtime(RuntimeArgs),
}

/// A target of which is known what it is. Nothing was made for it that would have to be taken away.
pub struct Described<'a>(State<'a>);

enum State<'a> {
    There(Box<Target>),
    ToMake(Box<Known<'a>>),
}

/// Finds out what the target is, as the profile says if one is given.
///
/// # Errors
/// Usage for what the command line or a kubeconfig says wrong, unreachable for the rest.
pub async fn describe(
    args: &TargetArgs,
    profile: Option<Profile>,
) -> Result<Described<'_>, Failure> {
    let minor = profile.and_then(Profile::minor);
    let opened = match args {
        TargetArgs::Server(args) => args.open(minor).await,
        TargetArgs::ApiServer(args) => {
            let known = args.known(minor).await.map_err(|error| failure(&error))?;
            return Ok(Described(State::ToMake(Box::new(known))));
        }
        TargetArgs::Kubelet(args) => args.open(minor).await,
        TargetArgs::Runtime(args) => args.open_as(profile).await,
    };
    let mut target = opened.map_err(|error| failure(&error))?;
    target.minor = minor.or(target.minor);
    Ok(Described(State::There(Box::new(target))))
}

impl Described<'_> {
    /// What kind of server it is, and its minor version of Kubernetes if that is known.
    #[must_use]
    pub fn kind(&self) -> (Role, Option<u16>) {
        match &self.0 {
            State::There(target) => (target.role, target.minor),
            State::ToMake(known) => (Role::Gateway, known.minor),
        }
    }

    /// What will be made in the user's cluster, if anything is.
    #[must_use]
    pub fn makes(&self) -> Option<String> {
        match &self.0 {
            State::There(_) => None,
            State::ToMake(known) => known.makes(),
        }
    }

    /// Makes it the target. An interrupt ends that, and takes away what was made.
    ///
    /// # Errors
    /// As [`describe`].
    pub async fn make(self, interrupt: &Interrupt) -> Result<Target, Failure> {
        match self.0 {
            State::There(target) => Ok(*target),
            State::ToMake(known) => known.make(interrupt).await.map_err(|error| failure(&error)),
        }
    }
}

impl fmt::Debug for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Described").field(&self.kind()).finish()
    }
}

/// What kept a target from being made.
fn failure(error: &anyhow::Error) -> Failure {
    let text = format!("{error:#}");
    let code = error.downcast_ref::<Unreachable>().map(Unreachable::code);
    if code == Some(2) || error.is::<BadUse>() {
        return Failure::usage(text);
    }
    Failure::unreachable(text)
}

impl TargetArgs {
    /// The first word, if it stands where a URL may stand and is none: it names cases.
    pub fn take_word(&mut self) -> Option<String> {
        let url = match self {
            Self::Server(args) => &mut args.url,
            Self::Runtime(args) => &mut args.url,
            Self::ApiServer(_) | Self::Kubelet(_) => return None,
        };
        url.take_if(|word| !word.contains("://"))
    }

    /// Has the keys of TLS with the target written to a file.
    pub fn log_keys(&mut self, keys: Arc<KeyFile>) {
        let place = match self {
            Self::Server(args) => &mut args.tls.keys,
            Self::ApiServer(args) => &mut args.keys,
            Self::Kubelet(args) => &mut args.tls.keys,
            Self::Runtime(args) => &mut args.tls.keys,
        };
        *place = Some(keys);
    }

    /// The words that name the target again, for reports. What may hold a secret is elided: the command of `--url-cmd`
    /// and the values of a URL's query.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        match self {
            Self::Server(args) => args.words(),
            Self::ApiServer(args) => args.words(),
            Self::Kubelet(args) => args.words(),
            Self::Runtime(args) => args.words(),
        }
    }
}
