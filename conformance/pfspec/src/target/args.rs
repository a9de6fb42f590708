//! What the command line says of the target. A kind of target has its variant and its arms here, and its arguments in a
//! file of its own.

use super::options::BadUse;
use super::{ApiServerArgs, KubeletArgs, RuntimeArgs, ServerArgs, Target};
use crate::exit::Failure;
use pf_program::cluster::Unreachable;

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

/// Makes the target, as one of this minor version of Kubernetes if it is given.
///
/// # Errors
/// Usage for what the command line or a kubeconfig says wrong, unreachable for the rest.
pub async fn open(args: &TargetArgs, minor: Option<u16>) -> Result<Target, Failure> {
    let opened = match args {
        TargetArgs::Server(args) => args.open(minor).await,
        TargetArgs::ApiServer(args) => args.open(minor).await,
        TargetArgs::Kubelet(args) => args.open(minor).await,
        TargetArgs::Runtime(args) => args.open(minor).await,
    };
    let mut target = opened.map_err(|error| failure(&error))?;
    target.minor = minor.or(target.minor);
    Ok(target)
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
