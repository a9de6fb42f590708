//! Every kind of target, against servers in this process, and Kubernetes' own streaming server if
//! `conformance/peers/go/build` has built it (`PF_PEERS_DIR`, by default `~/.cache/pf-peers`).
#![cfg(unix)]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

#[path = "targets/support.rs"]
mod support;

use clap::Parser as _;
use pfspec::case::{Role, Stop, Way, Word};
use pfspec::dice::Dice;
use pfspec::probe::log::Log;
use pfspec::probe::session::PATIENCE;
use pfspec::run::{Plan, choose, reserved, run};
use pfspec::target::{
    ApiServerArgs, KubeletArgs, RuntimeArgs, ServerArgs, Service, Target, Trouble, Unusable, check,
};
use pfspec::trial::Trial;
use std::sync::Arc;
use support::{Api, Cri, Relay, always, nobody, relay};
use tokio::sync::watch;

#[derive(clap::Parser)]
struct Cli {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(clap::Subcommand)]
enum Kind {
    Apiserver(Box<ApiServerArgs>),
    Kubelet(Box<KubeletArgs>),
    Runtime(Box<RuntimeArgs>),
    Server(Box<ServerArgs>),
}

/// Opens a target as the command line names it.
async fn open(line: &str) -> anyhow::Result<Target> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let words = std::iter::once("pfspec").chain(line.split(' '));
    match Cli::try_parse_from(words)?.kind {
        Kind::Apiserver(args) => args.open(None).await,
        Kind::Kubelet(args) => args.open(None).await,
        Kind::Runtime(args) => args.open(None).await,
        Kind::Server(args) => args.open(None).await,
    }
}

/// Why it cannot be judged.
async fn refused(line: &str) -> Unusable {
    let target = open(line).await.unwrap();
    check(&target, PATIENCE).await.unwrap_err()
}

fn trial(target: &Arc<Target>, way: Way) -> Trial {
    Trial {
        target: target.clone(),
        way,
        dice: Dice::new(1, "targets"),
        log: Log::default(),
        patience: PATIENCE,
    }
}

/// The target is usable, and bytes go through it and back, on SPDY and on channels.
async fn works(target: Target) -> Arc<Target> {
    check(&target, PATIENCE).await.unwrap();
    let target = Arc::new(target);
    let echo = target.services[&Service::Echo];
    for way in target.ways.clone() {
        let t = trial(&target, way);
        match way {
            Way::Spdy | Way::Tunnel => {
                let mut s = t.session().await.unwrap();
                s.works(echo, "at the start").await.unwrap();
            }
            _ => {
                let mut channels = t.channels(&[echo]).await.unwrap();
                channels.prefaced().await.unwrap();
                channels.echo(0, b"there and back").await.unwrap();
            }
        }
    }
    target
}

/// No case of a group fails.
async fn passes(target: Arc<Target>, group: &str) {
    let catalogue = pfspec::catalogue::all();
    let (cases, _) = choose(&catalogue, &target, &|case, way| {
        let hostile = reserved(case, false, false).is_some();
        (hostile || !case.id.starts_with(group) || way != Way::Spdy).then_some("not here")
    });
    assert!(!cases.is_empty());
    let plan = Plan {
        cases,
        jobs: 4,
        seed: 1,
        patience: PATIENCE,
        began: std::time::Instant::now(),
    };
    let (_stop, stopped) = watch::channel(false);
    for report in run(target, &plan, stopped, &mut |_| {}).await {
        // Baselines look at the others.
        let well = !matches!(report.word, Word::Fail | Word::Inconclusive);
        assert!(well, "{}: {}", report.name(), report.detail());
    }
}

#[tokio::test]
async fn a_server_at_a_path() {
    let relay = relay(Relay::default()).await;
    let target = open(&format!("server {}/any/path", relay.url))
        .await
        .unwrap();
    assert_eq!(target.role, Role::Runtime);
    assert_eq!(target.ways, [Way::Spdy, Way::V4, Way::V4Base64]);
    let target = works(target).await;
    passes(target, "spdy/frame/").await;
}

#[tokio::test]
async fn a_kubelet() {
    let relay = relay(Relay::default()).await;
    let line = format!("kubelet {} --pod ns/web --uid u-1", relay.url);
    let target = works(open(&line).await.unwrap()).await;
    // What is behind the relay switches to the tunnel.
    assert!(target.ways.contains(&Way::Tunnel));
    let asked = relay.paths();
    let with_uid = |path: &String| path.split('?').next() == Some("/portForward/ns/web/u-1");
    assert!(asked.iter().all(with_uid), "{asked:?}");
    assert_eq!(
        target.reach.path_of("a", "b").as_deref(),
        Some("/portForward/a/b")
    );
}

#[tokio::test]
async fn a_runtime_by_its_cri() {
    let relay = relay(Relay::with_tokens()).await;
    let cri = Cri::start(&relay);
    let by_pod = format!("runtime --cri unix://{} --pod ns/web", cri.socket());
    let target = open(&by_pod).await.unwrap();
    assert!(
        target.name.starts_with("testruntime 1.2.3"),
        "{}",
        target.name
    );
    let target = works(target).await;
    passes(target, "spdy/frame/").await;
    let asked = cri.asked();
    // The newest ready one of the pod's sandboxes.
    assert!(asked.iter().all(|(sandbox, _)| sandbox == "new"));
    let echo = 7000;
    assert_eq!(
        asked.iter().filter(|(_, ports)| *ports == [echo]).count(),
        2
    );
    assert!(asked.iter().any(|(_, ports)| ports.is_empty()));
    // Every connection had a token of its own.
    assert_eq!(relay.paths().len(), asked.len());

    let by_id = format!("runtime --cri {} --sandbox new", cri.socket());
    works(open(&by_id).await.unwrap()).await;
    for (flags, expected) in [
        (
            "--pod ns/none",
            "no sandbox of pod ns/none, but 4 of others",
        ),
        ("--pod ns/ended", "no sandbox of pod ns/ended is ready"),
    ] {
        let line = format!("runtime --cri {} {flags}", cri.socket());
        let error = open(&line).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let gone = format!("runtime --cri {} --sandbox gone", cri.socket());
    let unusable = refused(&gone).await;
    assert_eq!(unusable.trouble, Trouble::Address);
    let text = unusable.to_string();
    assert!(text.contains("NotFound: no sandbox gone"), "{text}");
}

#[tokio::test]
async fn a_runtime_by_a_command() {
    let relay = relay(Relay::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("url");
    let seen = folder.path().join("seen");
    let text = format!(
        "echo \"[$PFSPEC_PORTS]\" >>{}\necho {}/x\n",
        seen.display(),
        relay.url
    );
    std::fs::write(&script, text).unwrap();
    let words = ["pfspec", "runtime", "--url-cmd"].map(str::to_owned);
    let command = format!("sh {}", script.display());
    let Kind::Runtime(args) = Cli::try_parse_from(words.into_iter().chain([command]))
        .unwrap()
        .kind
    else {
        panic!("another kind")
    };
    works(args.open(None).await.unwrap()).await;
    let seen = std::fs::read_to_string(seen).unwrap();
    assert!(seen.contains("[]\n") && seen.contains("[7000]\n"), "{seen}");
}

#[tokio::test]
async fn a_url_that_serves_once() {
    let relay = relay(Relay::with_tokens()).await;
    let line = format!("runtime {}", relay.fresh());
    let unusable = refused(&line).await;
    assert_eq!(unusable.trouble, Trouble::NotFound);
    let text = unusable.to_string();
    assert!(
        text.contains("served once")
            && text.contains("--cri")
            && text.contains("404 page not found"),
        "{text}"
    );
    let again = refused(&line).await;
    let text = again.to_string();
    assert!(text.contains("serves once, within a minute"), "{text}");
}

#[tokio::test]
async fn what_cannot_be_judged() {
    let status = |code: u16, message: &str| {
        let body = format!(
            r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","message":"{message}","code":{code}}}"#
        );
        format!(
            "HTTP/1.1 {code} No\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let to_tls =
        "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    let table = [
        (
            ok.to_owned(),
            "gateway",
            Trouble::NoUpgrade,
            "nothing here forwards ports",
        ),
        (
            "SSH-2.0-x\r\n".to_owned(),
            "gateway",
            Trouble::NotHttp,
            "begins \"SSH-2.0-x",
        ),
        (
            "\x15\x03\x01\0\x02\x02\x46".to_owned(),
            "gateway",
            Trouble::NotHttp,
            "https://",
        ),
        (to_tls.to_owned(), "gateway", Trouble::NotHttp, "https://"),
        (
            String::new(),
            "gateway",
            Trouble::NotHttp,
            "connection closed",
        ),
        (
            status(401, "Unauthorized"),
            "gateway",
            Trouble::Unauthenticated,
            "check the user",
        ),
        (
            status(401, "Unauthorized"),
            "node",
            Trouble::Unauthenticated,
            "--cert",
        ),
        (
            status(403, "pods is forbidden: User bob cannot create"),
            "gateway",
            Trouble::Forbidden,
            "User bob cannot create\"; needed are the verbs get and create on pods/portforward",
        ),
        (
            status(403, "Forbidden"),
            "node",
            Trouble::Forbidden,
            "nodes/proxy",
        ),
        (
            status(404, "pods x not found"),
            "gateway",
            Trouble::NotFound,
            "check --pod",
        ),
    ];
    for (answer, role, trouble, words) in table {
        let url = always(answer.clone()).await;
        let unusable = refused(&format!("server {url}/p --role {role}")).await;
        let text = unusable.to_string();
        assert_eq!(unusable.trouble, trouble, "{answer:?}: {text}");
        assert!(text.contains(words) && text.contains(&url), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
    let unusable = refused(&format!("server {}/p", nobody())).await;
    assert_eq!(unusable.trouble, Trouble::Connect);
    assert!(unusable.to_string().contains("refused"), "{unusable}");

    let plain = always(ok.to_owned()).await.replace("http://", "https://");
    let unusable = refused(&format!("server {plain}/p --insecure")).await;
    assert_eq!(unusable.trouble, Trouble::Tls);
    assert!(unusable.to_string().contains("plain HTTP"), "{unusable}");
}

#[tokio::test]
async fn a_pod_of_its_own() {
    let relay = relay(Relay::default()).await;
    let api = Api::start(&relay, "ready").await;
    let line = format!(
        "apiserver --kubeconfig {} --port echo=7000",
        api.kubeconfig()
    );
    let target = open(&line).await.unwrap();
    assert_eq!((target.minor, target.role), (Some(37), Role::Gateway));
    assert!(
        target.name.contains("pfspec-x1/pfspec-x2"),
        "{}",
        target.name
    );
    let target = works(target).await;
    // Nobody with other rights was named.
    let t = trial(&target, Way::Http);
    let viewer = t.connect_as(pfspec::target::Who::Viewer).await;
    assert!(matches!(viewer, Err(Stop::Unsupported(_))));
    target.reach.clean_up().await.unwrap();
    let calls = api.calls();
    // The service account is late once.
    let pods = calls
        .iter()
        .filter(|call| call.as_str() == "POST /api/v1/namespaces/pfspec-x1/pods");
    assert_eq!(pods.count(), 2, "{calls:?}");
    assert_eq!(calls.last().unwrap(), "DELETE /api/v1/namespaces/pfspec-x1");

    let line = format!(
        "apiserver --kubeconfig {} --namespace mine",
        api.kubeconfig()
    );
    let target = open(&line).await.unwrap();
    target.reach.clean_up().await.unwrap();
    assert_eq!(
        api.calls().last().unwrap(),
        "DELETE /api/v1/namespaces/mine/pods/pfspec-x2"
    );
}

#[tokio::test]
async fn a_pod_that_does_not_run() {
    let relay = relay(Relay::default()).await;
    let table = [
        (
            "pull",
            "ImagePullBackOff no such image; see --pod-image",
            true,
        ),
        ("late", "does not run after 1s: ContainerCreating", true),
        (
            "forbidden",
            "User bob cannot create resource namespaces; the rules",
            false,
        ),
        ("stuck", "kubectl delete namespace pfspec-x1", true),
    ];
    for (script, words, deleted) in table {
        let api = Api::start(&relay, script).await;
        let line = format!("apiserver --kubeconfig {} --pod-wait 1", api.kubeconfig());
        let error = format!("{:#}", open(&line).await.unwrap_err());
        assert!(error.contains(words), "{script}: {error}");
        let calls = api.calls();
        let last = calls.last().unwrap();
        assert_eq!(last.starts_with("DELETE"), deleted, "{script}: {calls:?}");
    }
}

#[tokio::test]
async fn kubernetes_own_streaming_server() {
    let Some(peer) = support::Peer::start() else {
        eprintln!("SKIPPED: no server of conformance/peers/go/build");
        return;
    };
    let line = format!(
        "apiserver --kubeconfig {} --pod default/peer",
        peer.kubeconfig()
    );
    let target = works(open(&line).await.unwrap()).await;
    passes(target, "spdy/frame/").await;

    // The same by its URL.
    let (url, ca, token) = peer.parts();
    let path = "/api/v1/namespaces/default/pods/peer/portforward";
    let line = format!("server {url}{path} --role gateway --ca {ca} --token-file {token}");
    let target = open(&line).await.unwrap();
    assert!(target.ways.contains(&Way::Tunnel));
    let target = works(target).await;
    let t = trial(&target, Way::Http);
    let (_, answer) = t
        .ask_as(pfspec::target::Who::Stranger, &t.spdy_request())
        .await
        .unwrap();
    assert_eq!(answer.status, 401);
    // Go takes HTTP/2 if it is offered it.
    let no_overlap = t.connect_with_alpn(&[b"no-such-protocol"]).await;
    assert!(no_overlap.is_err());

    let without = format!("server {url}{path} --role gateway --token-file {token}");
    let unusable = refused(&without).await;
    assert_eq!(unusable.trouble, Trouble::Tls, "{unusable}");
    let plain = url.replace("https://", "http://");
    let plain = format!("server {plain}{path} --role gateway");
    let unusable = refused(&plain).await;
    assert_eq!(unusable.trouble, Trouble::NotHttp, "{unusable}");
    let anonymous = format!("server {url}{path} --role gateway --ca {ca}");
    let unusable = refused(&anonymous).await;
    assert_eq!(unusable.trouble, Trouble::Unauthenticated, "{unusable}");
}
