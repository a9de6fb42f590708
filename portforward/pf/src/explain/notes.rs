//! What a drawing cannot say by itself: which hops are out of sight, and what they do.

use super::Facts;
use super::trace::{Actor, Trace};
use crate::config::Origin;
use kube::Config;

/// How the user is known to the API server; never a value.
pub(super) fn credentials(config: &Config, origin: &Origin) -> String {
    let auth = &config.auth_info;
    let token = auth.token.is_some() || auth.token_file.is_some();
    let mut methods = Vec::new();
    if auth.client_certificate_data.is_some() || auth.client_certificate.is_some() {
        methods.push("a client certificate");
    }
    if token {
        methods.push("a bearer token");
    } else if auth.username.is_some() {
        methods.push("a user name and password");
    }
    if auth.auth_provider.is_some() {
        methods.push("an auth provider");
    }
    let mut text = if methods.is_empty() {
        "no credentials".to_owned()
    } else {
        methods.join(" and ")
    };
    if let Some(from) = origin.credentials {
        text.push_str(" from ");
        text.push_str(from);
    }
    if auth.impersonate.is_some() {
        text.push_str(", as somebody else (impersonation)");
    }
    text
}

/// Adds the hops of a real cluster: they must have happened, when cannot be said.
pub(super) fn add_unseen(facts: &Facts, trace: &Trace) {
    let Some(upgraded) = facts.upgraded else {
        return;
    };
    let behind = trace.unseen(
        upgraded,
        (Actor::Server, Actor::Kubelet),
        &format!(
            "TLS, POST /portForward/{}/{}",
            facts.namespace.as_deref().unwrap_or_default(),
            facts.pod.as_deref().unwrap_or_default()
        ),
    );
    trace.unseen(
        behind,
        (Actor::Kubelet, Actor::Runtime),
        "CRI PortForward, then the same upgrade",
    );
    // The first pair of a session, error stream 1 and data stream 3: the runtime dials once it has both.
    let replies = [1, 3].map(|stream| trace.find("SYN_REPLY", stream));
    if let [Some(one), Some(other)] = replies {
        let reply = one.max(other);
        let port = facts.port.unwrap_or_default();
        trace.unseen(
            reply,
            (Actor::Runtime, Actor::Pod),
            &format!("dials localhost:{port}"),
        );
    }
}

/// One line each.
pub(super) fn of(facts: &Facts) -> Vec<String> {
    let mut notes = vec![
        "Took: how long a step lasted; of an answer, since its request. Look-ups use a connection of their own.",
    ];
    if facts.upgraded.is_some() {
        notes.push(
            if facts.embedded {
                "API server and kubelet only copy bytes behind the 101: no SPDY frame is read between pf and the runtime."
            } else {
                "With a kube-apiserver and a kubelet, both only copy bytes behind the 101: no SPDY frame is read between pf and the runtime. That is known of them, not seen here."
            },
        );
        notes.push(
            "pf waits for no SYN_REPLY. One means that the runtime took the stream, not that the port answered.",
        );
        notes.push(if facts.embedded {
            "Embedded: kubelet and runtime are one node in this process, the pod a server on loopback; both would be apart in a real cluster."
        } else if facts.host_network {
            "The runtime dials localhost in the host's network namespace (hostNetwork). No Service address and no iptables rule of the kubelet is involved."
        } else {
            "A container runtime dials localhost inside the pod's network namespace. No Service address and no iptables rule of the kubelet is involved."
        });
        notes.push("The error stream decides: ended without text, all went well.");
    }
    notes.into_iter().map(str::to_owned).collect()
}
