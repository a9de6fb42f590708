//! `chan/ports/`: the ports in the query.

use super::{HTTP, PROXIES};
use crate::case::{Case, OK, Outcome, Role, Stop, Tag};
use crate::catalogue::check::{V4, answered, status, status_object};
use crate::probe::channels::Channels;
use crate::probe::websocket::WebSocket;
use crate::run;
use crate::target::Service;
use crate::trial::Trial;

pub(in crate::catalogue) const CASES: &[Case] = &[
    Case::must(
        "chan/ports/comma",
        "Ports may be parted by commas",
        &["11.1"],
        run!(comma),
    )
    .over(HTTP)
    .against(PROXIES)
    .why("How the Python and Java clients name several ports.")
    .sends("A query with three ports in one list.")
    .accepts("101, and the ports on channels in the order of the list."),
    Case::must(
        "chan/ports/repeated",
        "The query parameter may be repeated",
        &["11.1"],
        run!(repeated),
    )
    .over(HTTP)
    .against(PROXIES)
    .why("How clients made from the API's description name several ports.")
    .sends("A query with three parameters of one port.")
    .accepts("101, and the ports on channels in the order of the query."),
    Case::must(
        "chan/ports/mixed",
        "Lists and repeated parameters mix",
        &["11.1"],
        run!(mixed),
    )
    .over(HTTP)
    .against(PROXIES)
    .why("A client that adds a port to the query it was given makes this.")
    .sends("A query with a list of two ports and a parameter of one.")
    .accepts("101, and the ports on channels in the order of the query."),
    Case::must(
        "chan/ports/encoded-comma",
        "A comma may be percent-encoded",
        &["11.1"],
        run!(encoded_comma),
    )
    .over(HTTP)
    .against(PROXIES)
    .why("Libraries that build queries write %2C.")
    .sends("A query with two ports and %2C between them.")
    .accepts("101, and both ports on channels."),
    Case::must(
        "chan/ports/order",
        "The order is that of the query, not of the numbers",
        &["11.1", "11.7"],
        run!(order),
    )
    .over(HTTP)
    .against(PROXIES)
    .why("A server that sorts the ports joins applications with the wrong services.")
    .sends("A query with a higher port before a lower one, and the first again.")
    .accepts("Channels in this order."),
    Case::must(
        "chan/ports/zero",
        "Port 0 gets 400",
        &["11.2"],
        run!(zero),
    )
    .over(HTTP)
    .against(PROXIES)
    .why("0 passes as a number everywhere and can be dialled nowhere.")
    .sends("Port 0; on another connection a good port and 0.")
    .accepts("400, no upgrade."),
    Case::must(
        "chan/ports/too-large",
        "A port above 65535 gets 400",
        &["11.2"],
        run!(too_large),
    )
    .over(HTTP)
    .against(PROXIES)
    .tags(&[Tag::Security])
    .why("65536 + 80 cut to 16 bits would be port 80.")
    .sends("65536, 72536 and 4294967376, each in a request of its own.")
    .accepts("400, no upgrade."),
    Case::must(
        "chan/ports/no-number",
        "What is no decimal number gets 400",
        &["11.2"],
        run!(no_number),
    )
    .over(HTTP)
    .against(PROXIES)
    .why("Names of ports are looked up by clients; no server does.")
    .sends("http, -1, +80, 0x50, 80.0 and %2080, each in a request of its own.")
    .accepts("400, no upgrade."),
    Case::must(
        "chan/ports/empty",
        "An empty port gets 400",
        &["11.2"],
        run!(empty),
    )
    .over(HTTP)
    .against(PROXIES)
    .why("A template whose variable is not set makes this.")
    .sends("The parameter without value, and lists with an empty item, each in a request of its own.")
    .accepts("400, no upgrade."),
    Case::must(
        "chan/ports/one-bad-of-three",
        "One malformed port of several gets 400",
        &["11.2"],
        run!(one_bad),
    )
    .over(HTTP)
    .against(PROXIES)
    .why("A server that leaves it out gives the other ports the wrong channels.")
    .sends("A list and repeated parameters of three ports, the second being no number.")
    .accepts("400, no upgrade."),
    Case::should(
        "chan/ports/malformed-is-status-object",
        "The gateway's 400 for a malformed port is a Status object",
        &["6.15", "11.2"],
        run!(malformed_status),
    )
    .over(HTTP)
    .against(&[Role::Gateway])
    .why("Clients show the message of a Status.")
    .sends("A port that is no number.")
    .accepts("400, a Status of reason BadRequest."),
    Case::must(
        "chan/ports/none",
        "A request without ports gets 400",
        &["11.3"],
        run!(none),
    )
    .over(HTTP)
    .against(PROXIES)
    .why("Clients of the tunnel fall back on this answer of an older cluster (kubernetes issue 133913).")
    .sends("The handshake of channels without a query.")
    .accepts("400 with a text, no upgrade."),
    Case::must(
        "chan/ports/as-many-as-channels",
        "127 ports on one WebSocket",
        &["11.7"],
        run!(as_many_as_channels),
    )
    .over(HTTP)
    .tags(&[Tag::Load])
    .why("The channel numbers are one byte: 254 of 256 are used.")
    .sends("The echo 127 times; bytes to the first, the middle and the last.")
    .accepts("Ports on all 254 channels, the bytes back."),
    Case::should(
        "chan/ports/more-than-channels",
        "More ports than channel numbers get 400",
        &["14.14"],
        run!(more_than_channels),
    )
    .over(HTTP)
    .against(PROXIES)
    .tags(&[Tag::Hostile, Tag::Security])
    .why("A channel number that wraps brings the bytes of one port to another.")
    .sends("129 and 300 ports.")
    .accepts("400, no upgrade."),
];

/// What the target calls the parameter.
fn name(t: &Trial) -> &'static str {
    if t.target.role == Role::Gateway {
        "ports"
    } else {
        "port"
    }
}

/// Opens channels with any query and checks their ports.
async fn with_query(t: &Trial, query: &str, ports: &[u16]) -> Outcome {
    let request = t.websocket_request(V4, query);
    let (ready, answer) = t.ask(&request).await?;
    status(&answer, 101, query)?;
    let websocket = WebSocket::new(ready.connection);
    let mut channels = Channels::new(websocket, false, ports.to_vec(), t.patience);
    channels.prefaced().await?;
    OK
}

fn three(t: &Trial) -> Result<[u16; 3], Stop> {
    Ok([
        t.port(Service::Hash)?,
        t.port(Service::Echo)?,
        t.port(Service::Sink)?,
    ])
}

async fn comma(t: &mut Trial) -> Outcome {
    let [a, b, c] = three(t)?;
    with_query(t, &format!("?{}={a},{b},{c}", name(t)), &[a, b, c]).await
}

async fn repeated(t: &mut Trial) -> Outcome {
    let ([a, b, c], name) = (three(t)?, name(t));
    with_query(t, &format!("?{name}={a}&{name}={b}&{name}={c}"), &[a, b, c]).await
}

async fn mixed(t: &mut Trial) -> Outcome {
    let ([a, b, c], name) = (three(t)?, name(t));
    with_query(t, &format!("?{name}={a},{b}&{name}={c}"), &[a, b, c]).await
}

async fn encoded_comma(t: &mut Trial) -> Outcome {
    let [a, b, _] = three(t)?;
    with_query(t, &format!("?{}={a}%2C{b}", name(t)), &[a, b]).await
}

async fn order(t: &mut Trial) -> Outcome {
    let mut ports = three(t)?;
    ports.sort_unstable();
    let [low, _, high] = ports;
    let query = format!("?{}={high},{low},{high}", name(t));
    with_query(t, &query, &[high, low, high]).await
}

/// Each of these values gets 400.
async fn malformed(t: &Trial, values: &[&str]) -> Outcome {
    for value in values {
        let query = format!("?{}={value}", name(t));
        let request = t.websocket_request(V4, &query);
        answered(t, &request, 400, &query).await?;
    }
    OK
}

async fn zero(t: &mut Trial) -> Outcome {
    let good = t.port(Service::Echo)?;
    malformed(t, &["0", &format!("{good},0")]).await
}

async fn too_large(t: &mut Trial) -> Outcome {
    malformed(t, &["65536", "72536", "4294967376"]).await
}

async fn no_number(t: &mut Trial) -> Outcome {
    malformed(t, &["http", "-1", "%2B80", "0x50", "80.0", "%2080"]).await
}

async fn empty(t: &mut Trial) -> Outcome {
    let good = t.port(Service::Echo)?;
    malformed(t, &["", &format!("{good},"), &format!(",{good}")]).await
}

async fn one_bad(t: &mut Trial) -> Outcome {
    let (good, name) = (t.port(Service::Echo)?, name(t));
    malformed(
        t,
        &[
            &format!("{good},x,{good}"),
            &format!("{good}&{name}=x&{name}={good}"),
        ],
    )
    .await
}

async fn malformed_status(t: &mut Trial) -> Outcome {
    let request = t.websocket_request(V4, "?ports=x");
    let (_, answer) = t.ask(&request).await?;
    status_object(&answer, 400, "BadRequest")?;
    OK
}

async fn none(t: &mut Trial) -> Outcome {
    let request = t.websocket_request(V4, "");
    let (_, answer) = answered(t, &request, 400, "a request without ports").await?;
    if answer.text().trim().is_empty() {
        return Err(Stop::departure("a text in the 400", "an empty body"));
    }
    OK
}

async fn as_many_as_channels(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut channels = t.channels(&[port; 127]).await?;
    channels.prefaced().await?;
    for index in [0, 63, 126] {
        let bytes = t.dice.bytes(50);
        channels.echo(index, &bytes).await?;
    }
    OK
}

async fn more_than_channels(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    for count in [129, 300] {
        let query = t.ports_query(&vec![port; count]);
        let request = t.websocket_request(V4, &query);
        answered(t, &request, 400, &format!("{count} ports")).await?;
    }
    OK
}
