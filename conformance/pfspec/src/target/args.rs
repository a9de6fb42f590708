//! What the command line says of the target. A kind of target has its arguments here, its variant, and its arms below.

use super::{Target, apiserver, embedded};
use crate::exit::Failure;
use crate::report::plain;
use clap::Args;
use pf_program::cluster::{Choice, Unreachable};
use std::path::PathBuf;

/// A target as the command line names it.
#[derive(Debug, Clone)]
pub enum TargetArgs {
    /// `pfspec server`
    Server(ServerArgs),
    /// `pfspec apiserver`
    ApiServer(ApiServerArgs),
}

/// A streaming server, or the embedded cluster.
#[derive(Debug, Clone, Default, Args)]
pub struct ServerArgs {
    /// Judge the cluster that is built in: gateway, node and pods in this process (so it is without any URL)
    #[arg(long)]
    pub embedded: bool,
}

/// An API server and a pod of it.
#[derive(Debug, Clone, Args)]
pub struct ApiServerArgs {
    /// Path to the kubeconfig file
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The name of the kubeconfig context to use
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// The name of the kubeconfig cluster to use
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// The name of the kubeconfig user to use
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Namespace of the pod, unless --pod says it
    #[arg(short, long, value_name = "NS")]
    pub namespace: Option<String>,
    /// A pod that runs the test image: NAME, or NS/NAME
    #[arg(long, value_name = "[NS/]NAME")]
    pub pod: String,
}

/// Makes the target; connects nowhere yet.
///
/// # Errors
/// Usage for what the command line or a kubeconfig says wrong, unreachable for the rest.
pub async fn open(args: &TargetArgs) -> Result<Target, Failure> {
    match args {
        TargetArgs::Server(_) => embedded().await.map_err(|error| failure(&error)),
        TargetArgs::ApiServer(args) => {
            let choice = Choice {
                kubeconfig: args.kubeconfig.clone(),
                context: args.context.clone(),
                cluster: args.cluster.clone(),
                user: args.user.clone(),
            };
            let given = args.namespace.as_deref().unwrap_or("default");
            let (namespace, pod) = args.pod.split_once('/').unwrap_or((given, &args.pod));
            if namespace.is_empty() || pod.is_empty() || pod.contains('/') {
                let text = format!(
                    "--pod {}: a pod is NAME or NAMESPACE/NAME",
                    plain(&args.pod)
                );
                return Err(Failure::usage(text));
            }
            let target = apiserver(&choice, namespace, pod).await;
            target.map_err(|error| failure(&error))
        }
    }
}

/// What kept a target from being made.
fn failure(error: &anyhow::Error) -> Failure {
    let text = format!("{error:#}");
    match error.downcast_ref::<Unreachable>().map(Unreachable::code) {
        Some(2) => Failure::usage(text),
        _ => Failure::unreachable(text),
    }
}

impl TargetArgs {
    /// The words that name the target again, for reports: no secret is among them.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        match self {
            Self::Server(_) => ["server", "--embedded"].map(ToOwned::to_owned).to_vec(),
            Self::ApiServer(args) => {
                let mut words = vec!["apiserver".to_owned()];
                let file = args.kubeconfig.as_ref();
                let file = file.map(|file| file.display().to_string());
                for (flag, value) in [
                    ("--kubeconfig", &file),
                    ("--context", &args.context),
                    ("--cluster", &args.cluster),
                    ("--user", &args.user),
                    ("--namespace", &args.namespace),
                    ("--pod", &Some(args.pod.clone())),
                ] {
                    if let Some(value) = value {
                        words.extend([flag.to_owned(), value.clone()]);
                    }
                }
                words
            }
        }
    }
}
