//! Connections that are cut: whatever ends one abnormally is a reset at both applications, never an
//! end of file (T35).
//!
//! Client, gateway and node over real sockets; a relay on one of the hops cuts behind a number of
//! bytes, at every boundary of every layer, in the middle of everything, and evenly spread.
//!
//! What the wire itself hides, and is allowed here, is in [`hidden`], one by one.
#![cfg(all(feature = "gateway", feature = "node"))]
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::exhaustive_enums,
    clippy::exhaustive_structs,
    reason = "tests: a panic is the verdict"
)]

mod relay;
mod run;
mod wire;
mod world;

use relay::{Cut, Manner, Way};
use run::{ANSWER, Case, LENGTH, Seen, pattern};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use wire::{Layer, Wire};
use world::World;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Spdy,
    Tunnel,
    Channels,
}

/// Where the relay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    ClientGatewayTls,
    GatewayNodeTls,
    GatewayNodePlain,
    ClientNodePlain,
}

impl Hop {
    fn encrypted(self) -> bool {
        matches!(self, Self::ClientGatewayTls | Self::GatewayNodeTls)
    }

    /// What is spoken on it: a gateway unpacks tunnels.
    fn coding(self, coding: Coding) -> Coding {
        match (self, coding) {
            (Self::GatewayNodeTls | Self::GatewayNodePlain, Coding::Tunnel) => Coding::Spdy,
            _ => coding,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    Download,
    Upload,
}

const CODINGS: [Coding; 3] = [Coding::Spdy, Coding::Tunnel, Coding::Channels];
const HOPS: [Hop; 4] = [
    Hop::ClientGatewayTls,
    Hop::GatewayNodeTls,
    Hop::GatewayNodePlain,
    Hop::ClientNodePlain,
];
const LOADS: [Load; 2] = [Load::Download, Load::Upload];
const WAYS: [Way; 2] = [Way::Up, Way::Down];
const MANNERS: [Manner; 3] = [Manner::Fin, Manner::Rst, Manner::HalfClose];
/// Cut points of one direction of one run that are there for no reason but to be evenly spread.
const EVENLY: usize = 12;
/// Runs at a time. Most wait.
const AT_ONCE: usize = 64;

/// An end of file before the true length that the wire does not show to be one. Shown, and counted.
fn hidden(case: &Case, seen: &Seen) -> Option<&'static str> {
    let pod = seen.pod.as_ref()?;
    // PROTOCOL.md 4.2: a channel has no half-close, so a client never says that its direction is over.
    // Once the pod has ended, its connection is closed; the pod reads an end of file that the
    // application never sent.
    let closed = case.coding == Coding::Channels && case.load == Load::Download;
    (closed && pod.served && pod.how.is_ok() && !pod.other_ended)
        .then_some("channels: a pod that has ended reads an end of file that nobody sent")
}

/// What is wrong with a run, if anything.
fn verdict(case: &Case, seen: &Seen) -> Result<(), String> {
    let whole = pattern(LENGTH);
    let (down, up): (&[u8], &[u8]) = match case.load {
        Load::Download => (&whole, &[]),
        Load::Upload => (ANSWER, &whole),
    };
    let Seen {
        app, pod, result, ..
    } = seen;
    if !down.starts_with(&app.got) {
        return Err("the application read what the pod did not write".to_owned());
    }
    if app.how.is_ok() && app.got != down {
        let (got, of) = (app.got.len(), down.len());
        return Err(format!(
            "CLEAN END at the application after {got} of {of} bytes"
        ));
    }
    if let Some(pod) = pod {
        if !up.starts_with(&pod.got) {
            return Err("the pod read what the application did not write".to_owned());
        }
        let complete = pod.got == up && pod.served;
        let ended = pod.other_ended || case.coding == Coding::Channels && case.load == Load::Upload;
        if pod.how.is_ok() && !(complete && ended) && hidden(case, seen).is_none() {
            let (got, of) = (pod.got.len(), up.len());
            return Err(format!("CLEAN END at the pod after {got} of {of} bytes"));
        }
    }
    match result {
        Ok(_) if app.how.is_err() || pod.as_ref().is_none_or(|pod| pod.got != up) => {
            return Err("reported as a success".to_owned());
        }
        Err(text) if !is_named(text) => return Err(format!("an error that says nothing: {text}")),
        _ => {}
    }
    delivered(case, seen)
}

/// What had come before an end of file was delivered before the reset.
fn delivered(case: &Case, seen: &Seen) -> Result<(), String> {
    let Some(cut) = case.cut else {
        return Ok(());
    };
    // A reset may destroy what is on its way, and encrypted bytes cannot be told.
    if cut.manner == Manner::Rst || case.hop.encrypted() {
        return Ok(());
    }
    let wire = wire_of(case, &seen.passed, cut.way);
    let delivered = match (case.load, cut.way, &seen.pod) {
        (Load::Download, Way::Down, _) => seen.app.got.len(),
        // The request is not in what it got.
        (Load::Upload, Way::Up, Some(pod)) if pod.served => pod.got.len() + 4,
        _ => return Ok(()),
    };
    if delivered == wire.payload {
        return Ok(());
    }
    let came = wire.payload;
    Err(format!("{came} bytes came, {delivered} were delivered"))
}

fn wire_of(case: &Case, passed: &[Vec<u8>; 2], way: Way) -> Wire {
    let coding = case.hop.coding(case.coding);
    let bytes = &passed[way as usize];
    Wire::read(bytes, coding, case.hop.encrypted(), way == Way::Down)
}

/// The error says where it broke, or how.
fn is_named(text: &str) -> bool {
    let (place, reason) = text.split_once(": ").unwrap_or((text, ""));
    let places = [
        "connect",
        "upgrade",
        "session lost",
        "the data stream",
        "the error stream",
    ];
    places.contains(&place) && !reason.is_empty() || text.starts_with("error forwarding port ")
}

/// Every cut, from an uncut run of each kind. A point has one manner, in turns; every layer has each.
async fn plan(world: &Arc<World>) -> Vec<Case> {
    let mut uncut = JoinSet::new();
    for (nth, (coding, hop, load)) in cells().enumerate() {
        let world = Arc::clone(world);
        let cut = None;
        let case = Case {
            coding,
            hop,
            load,
            cut,
        };
        uncut.spawn(async move { (nth, case, run::run(&world, case).await.unwrap()) });
    }
    let mut uncut = uncut.join_all().await;
    uncut.sort_by_key(|(nth, ..)| *nth);
    let (mut cases, mut layers) = (Vec::new(), BTreeMap::new());
    for (nth, case, seen) in uncut {
        verdict(&case, &seen).unwrap_or_else(|fault| panic!("uncut: {case:?}: {fault}: {seen:?}"));
        assert!(seen.result.is_ok(), "uncut: {case:?}: {seen:?}");
        for way in WAYS {
            let wire = wire_of(&case, &seen.passed, way);
            for (i, after) in wire.cuts(EVENLY).into_iter().enumerate() {
                let manner = MANNERS[(nth + i) % MANNERS.len()];
                *layers.entry((wire.layer(after), manner)).or_insert(0) += 1;
                let cut = Some(Cut { way, after, manner });
                cases.push(Case { cut, ..case });
            }
        }
    }
    println!("{} points: {layers:?}", cases.len());
    assert!(cases.len() >= 1000, "{} cut points", cases.len());
    for layer in Layer::CUT {
        for manner in MANNERS {
            let there = layers.contains_key(&(layer, manner));
            assert!(there, "no {manner:?} inside {layer:?}");
        }
    }
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_cut_looks_like_an_end() {
    let began = std::time::Instant::now();
    let world = Arc::new(World::start().await);
    let cases = plan(&world).await;

    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut runs = JoinSet::new();
    let count = cases.len();
    for case in cases {
        let (world, permits) = (Arc::clone(&world), Arc::clone(&permits));
        let permit = permits.acquire_owned().await.unwrap();
        runs.spawn(async move {
            let seen = run::run(&world, case).await;
            drop(permit);
            (case, seen)
        });
    }
    let (mut faults, mut errors, mut shown) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    let mut whole = 0;
    while let Some(done) = runs.join_next().await {
        let (case, seen) = done.unwrap();
        match seen {
            Ok(seen) => {
                if let Err(fault) = verdict(&case, &seen) {
                    let end = (&seen.app.how, seen.pod.as_ref().map(|pod| pod.how));
                    faults.push(format!("{case:?}: {fault}: {end:?} {:?}", seen.result));
                }
                if let Some(why) = hidden(&case, &seen) {
                    *shown.entry(why).or_insert(0) += 1;
                }
                match seen.result {
                    Ok(_) => whole += 1,
                    Err(text) => {
                        let text = text.replace(|c: char| c.is_ascii_digit(), "#");
                        *errors.entry(text).or_insert(0) += 1;
                    }
                }
            }
            Err(fault) => faults.push(format!("{case:?}: {fault}")),
        }
    }
    println!("{whole} of {count} came to a whole end before the cut");
    for (text, count) in errors {
        println!("{count:5} {text}");
    }
    for (why, count) in shown {
        println!("HIDDEN by the wire, {count}: {why}");
    }
    println!("{:?}", began.elapsed());
    let first: Vec<_> = faults.iter().take(20).collect();
    assert!(faults.is_empty(), "{} faults: {first:#?}", faults.len());
}

fn cells() -> impl Iterator<Item = (Coding, Hop, Load)> {
    let of = |coding| {
        HOPS.iter()
            .flat_map(move |hop| LOADS.iter().map(move |load| (coding, *hop, *load)))
    };
    CODINGS.iter().flat_map(move |coding| of(*coding))
}

/// Cut points exist in every layer that there is; else the parser has not seen it.
#[test]
fn layers_are_told_apart() {
    let frame = |head: &[u8], body: &[u8]| [head, body].concat();
    let mut bytes = b"HTTP/1.1 101 x\r\n\r\n".to_vec();
    let head = bytes.len();
    bytes.extend(frame(&[0x80, 3, 0, 2, 0, 0, 0, 6], &[0, 0, 0, 3, 9, 9]));
    bytes.extend(frame(&[0, 0, 0, 3, 0, 0, 0, 2], b"hi"));
    bytes.extend(frame(&[0, 0, 0, 3, 1, 0, 0, 0], &[]));
    bytes.extend(frame(&[0, 0, 0, 1, 1, 0, 0, 0], &[]));
    bytes.extend(frame(&[0x80, 3, 0, 7, 0, 0, 0, 8], &[0; 8]));
    let wire = Wire::read(&bytes, Coding::Spdy, false, true);
    assert_eq!(wire.payload, 2);
    let layers = [
        (1, Layer::Upgrade),
        (head, Layer::Boundary),
        (head + 1, Layer::SpdyHead),
        (head + 9, Layer::HeaderBlock),
        (head + 23, Layer::Payload),
        (head + 25, Layer::Fin),
        (head + 33, Layer::ErrorFin),
        (head + 47, Layer::GoAway),
    ];
    for (at, layer) in layers {
        assert_eq!(wire.layer(at), layer, "at {at}");
    }
}
