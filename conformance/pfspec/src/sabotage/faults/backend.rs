//! Faults of a gateway towards the node.

use super::super::{Act, Fault, Head, LegB};
use super::Breaks;
use super::http::answered;
use crate::case::Way::{self, Spdy, Tunnel, V4};

const WAYS: &[Way] = &[Spdy, Tunnel, V4];

const fn asked(
    id: &'static str,
    title: &'static str,
    breaks: Breaks,
    on: &'static [Way],
    act: fn(&mut Head),
) -> Fault {
    Fault::new(id, title, breaks, on, Act::LegB(LegB::Request(act)))
}

const fn behind(id: &'static str, title: &'static str, act: fn(&mut Vec<u8>)) -> Fault {
    let act = Act::LegB(LegB::Behind(act));
    Fault::new(id, title, &["6.21", "13.9"], &[Spdy, Tunnel], act)
}

/// Changes one word of the start line: method or target.
fn word(head: &mut Head, at: usize, change: impl FnOnce(&str) -> String) {
    let mut words: Vec<String> = head.first.split(' ').map(str::to_owned).collect();
    if let Some(word) = words.get_mut(at) {
        *word = change(word);
    }
    head.first = words.join(" ");
}

fn path(head: &mut Head, change: impl FnOnce(&str) -> String) {
    word(head, 1, |target| match target.split_once('?') {
        Some((path, query)) => format!("{}?{query}", change(path)),
        None => change(target),
    });
}

/// Changes the list of ports, if there is one.
fn ports(head: &mut Head, change: impl FnOnce(Vec<&str>) -> String) {
    word(head, 1, |target| match target.split_once("?port=") {
        Some((path, list)) => format!("{path}{}", change(list.split(',').collect())),
        None => target.to_owned(),
    });
}

pub(super) static FAULTS: &[Fault] = &[
    asked(
        "backend/pod-without-namespace",
        "Asks the node for the pod by its name alone",
        &["6.25"],
        WAYS,
        |head| {
            path(head, |path| {
                let pod = path.rsplit('/').next().unwrap_or_default();
                format!("/portForward/{pod}")
            });
        },
    ),
    asked(
        "backend/another-pod",
        "Asks the node for another pod of the namespace",
        &["6.25"],
        WAYS,
        |head| path(head, |path| format!("{path}-before")),
    ),
    asked(
        "backend/method-get",
        "Asks the node with GET whatever it was asked with",
        &["6.25"],
        &[Spdy],
        |head| word(head, 0, |_| "GET".to_owned()),
    ),
    asked(
        "backend/method-post",
        "Asks the node with POST whatever it was asked with",
        &["6.25"],
        &[V4],
        |head| word(head, 0, |_| "POST".to_owned()),
    ),
    asked(
        "backend/ports-in-order",
        "Sorts the ports on their way to the node",
        &["11.1"],
        &[V4],
        |head| {
            ports(head, |mut list| {
                list.sort_unstable();
                format!("?port={}", list.join(","))
            });
        },
    ),
    asked(
        "backend/ports-as-asked",
        "Gives the node the query as it came",
        &["11.1"],
        &[V4],
        |head| ports(head, |list| format!("?ports={}", list.join(","))),
    ),
    asked(
        "backend/first-port-only",
        "Gives the node the first port only",
        &["11.1"],
        &[V4],
        |head| {
            ports(head, |list| {
                format!("?port={}", list.first().copied().unwrap_or_default())
            });
        },
    ),
    asked(
        "backend/ports-lost",
        "Gives the node no ports",
        &["11.1"],
        &[V4],
        |head| ports(head, |_| String::new()),
    ),
    asked(
        "backend/other-upgrade",
        "Asks the node for another protocol than SPDY/3.1",
        &["6.25"],
        &[Tunnel],
        |head| head.set("Upgrade", "SPDY/3"),
    ),
    behind(
        "backend/behind-101-lost",
        "Loses what it has read together with the node's 101",
        Vec::clear,
    ),
    behind(
        "backend/behind-101-cut",
        "Passes on 1024 bytes of what it has read together with the node's 101",
        |bytes| bytes.truncate(1024),
    ),
    behind(
        "backend/behind-101-twice",
        "Passes on twice what it has read together with the node's 101",
        |bytes| bytes.extend_from_within(..),
    ),
    Fault::new(
        "backend/redirect-followed",
        "Goes where a redirect of the node says",
        &["14.16"],
        WAYS,
        Act::LegB(LegB::Follow),
    ),
    Fault::new(
        "backend/redirect-tried-again",
        "Asks the node again after a redirect",
        &["14.16"],
        WAYS,
        Act::LegB(LegB::Again),
    ),
    answered(
        "backend/redirect-passed-on",
        "Sends the client where a redirect of the node says",
        &["14.16"],
        WAYS,
        |asked, reply| {
            if asked.has("upgrade") && reply.head.status() >= 500 {
                reply.become_status("302 Found");
                reply.head.set("Location", "http://elsewhere.example/");
            }
        },
    ),
    answered(
        "backend/redirect-location",
        "Refuses a redirect of the node, and says where it went",
        &["14.16"],
        WAYS,
        |asked, reply| {
            if asked.has("upgrade") && reply.head.status() >= 500 {
                reply.head.set("Location", "http://elsewhere.example/");
            }
        },
    ),
];
