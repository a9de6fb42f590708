//! Watches: a list that goes on.

use super::kinds::Kind;
use super::rest::{Query, WatchQuery};
use super::store::{Change, Store};
use crate::http1::{Fields, ResponseHead};
use crate::server::answer::{invalid, push_date, write};
use crate::status::Status;
use bytes::{BufMut, BytesMut};
use serde_json::{Value, json};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, sleep_until};

/// Bytes a client may send ahead while a watch runs; nothing does.
const AHEAD: usize = 4096;

/// Who watches, and how it is told.
pub(super) trait Watcher: Send {
    /// The head of the answer.
    fn begin(&mut self) -> impl Future<Output = io::Result<()>> + Send;
    /// One event.
    fn line(&mut self, line: String) -> impl Future<Output = io::Result<()>> + Send;
    /// The end of the answer.
    fn end(&mut self) -> impl Future<Output = io::Result<()>> + Send;
    /// Returns when nobody watches any more. Dropping it loses nothing.
    fn gone(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}

/// A watcher by HTTP/1.1; what it sends meanwhile is kept in `buf`.
pub(super) struct Chunked<'a, T> {
    pub(super) io: &'a mut T,
    pub(super) buf: &'a mut BytesMut,
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Watcher for Chunked<'_, T> {
    async fn begin(&mut self) -> io::Result<()> {
        let mut fields = head_fields();
        fields.push_static("Transfer-Encoding", "chunked");
        let head = ResponseHead::new(200, fields).encode().map_err(invalid)?;
        write(self.io, &head).await
    }

    /// One event is one chunk is one line.
    async fn line(&mut self, line: String) -> io::Result<()> {
        let mut chunk = BytesMut::with_capacity(line.len().saturating_add(16));
        chunk.put_slice(format!("{:x}\r\n", line.len()).as_bytes());
        chunk.put_slice(line.as_bytes());
        chunk.put_slice(b"\r\n");
        write(self.io, &chunk).await
    }

    async fn end(&mut self) -> io::Result<()> {
        write(self.io, b"0\r\n\r\n").await
    }

    async fn gone(&mut self) -> io::Result<()> {
        while self.buf.len() < AHEAD {
            if self.buf.capacity() == self.buf.len() {
                self.buf.reserve(256);
            }
            if self.io.read_buf(self.buf).await? == 0 {
                return Ok(());
            }
        }
        std::future::pending().await
    }
}

/// The fields that every answer to a watch has.
pub(super) fn head_fields() -> Fields {
    let mut fields = Fields::new();
    fields.push_static("Content-Type", "application/json");
    push_date(&mut fields);
    fields
}

/// Runs a watch to its end; whether it came to it, and the watcher is still there.
pub(super) async fn serve<W: Watcher>(
    watcher: &mut W,
    store: &Store,
    query: &Query,
    watch: &WatchQuery,
) -> io::Result<bool> {
    let now = Instant::now();
    let end = now.checked_add(watch.time).unwrap_or(now);
    // Subscribed first: a change between here and the first look is seen twice rather than not.
    let mut versions = store.subscribe();
    watcher.begin().await?;

    let mut seen = match watch.from {
        Some(version) => version,
        None => begin(watcher, store, query, watch.mark_initial).await?,
    };
    loop {
        versions.mark_unchanged();
        match store.changes(query.kind, query.namespace.as_deref(), seen) {
            Ok((changes, version)) => {
                for change in &changes {
                    if let Some((event, object)) = event_of(query, change) {
                        send(watcher, event, object).await?;
                    }
                }
                seen = seen.max(version);
            }
            Err(oldest) => {
                let status: Value =
                    serde_json::from_slice(&Status::expired(seen, oldest).to_json())
                        .unwrap_or_default();
                send(watcher, "ERROR", &status).await?;
                break;
            }
        }
        tokio::select! {
            () = sleep_until(end) => break,
            changed = versions.changed() => if changed.is_err() { break },
            gone = watcher.gone() => return gone.map(|()| false),
        }
    }
    watcher.end().await?;
    Ok(true)
}

/// All that is there, then, if asked for, the mark that this was all. Gives the version.
async fn begin<W: Watcher>(
    watcher: &mut W,
    store: &Store,
    query: &Query,
    mark: bool,
) -> io::Result<u64> {
    let snapshot = store.list(query.kind, query.namespace.as_deref());
    for object in snapshot
        .objects
        .iter()
        .filter(|object| query.selector.matches(object))
    {
        send(watcher, "ADDED", object).await?;
    }
    if mark {
        send(watcher, "BOOKMARK", &bookmark(query.kind, snapshot.version)).await?;
    }
    Ok(snapshot.version)
}

fn bookmark(kind: Kind, version: u64) -> Value {
    json!({
        "kind": kind.kind(),
        "apiVersion": kind.api_version(),
        "metadata": {
            "resourceVersion": version.to_string(),
            "annotations": {"k8s.io/initial-events-end": "true"},
        },
    })
}

/// What a change is to somebody who sees only what is selected.
fn event_of<'a>(query: &Query, change: &'a Change) -> Option<(&'static str, &'a Value)> {
    let before = change
        .before
        .as_ref()
        .is_some_and(|object| query.selector.matches(object));
    let after = !change.deleted && query.selector.matches(&change.after);
    let event = match (before, after) {
        (false, false) => return None,
        (false, true) => "ADDED",
        (true, true) => "MODIFIED",
        (true, false) => "DELETED",
    };
    Some((event, &change.after))
}

async fn send<W: Watcher>(watcher: &mut W, event: &str, object: &Value) -> io::Result<()> {
    let mut line = json!({"type": event, "object": object}).to_string();
    line.push('\n');
    watcher.line(line).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream, duplex};

    fn pod(name: &str, label: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "ns", "labels": {"app": label}}})
    }

    /// The next event as `TYPE NAME`, or what the line says.
    async fn event(lines: &mut BufReader<DuplexStream>) -> String {
        loop {
            let mut line = String::new();
            lines.read_line(&mut line).await.unwrap();
            if let Ok(event) = serde_json::from_str::<Value>(&line)
                && let Some(kind) = event["type"].as_str()
            {
                let name = event
                    .pointer("/object/metadata/name")
                    .or_else(|| event.pointer("/object/reason"));
                return format!(
                    "{kind} {}",
                    name.and_then(Value::as_str).unwrap_or_default()
                );
            }
            if line == "0\r\n" || line.is_empty() {
                return "end".into();
            }
        }
    }

    fn start(store: &std::sync::Arc<Store>, query: &'static str) -> BufReader<DuplexStream> {
        let (client, mut server) = duplex(1 << 16);
        let store = std::sync::Arc::clone(store);
        tokio::spawn(async move {
            let query = Query::parse(Kind::Pod, Some("ns"), query).unwrap();
            let watch = query.watch.clone().unwrap();
            let mut buf = BytesMut::new();
            let mut watcher = Chunked {
                io: &mut server,
                buf: &mut buf,
            };
            serve(&mut watcher, &store, &query, &watch).await
        });
        BufReader::new(client)
    }

    #[tokio::test(start_paused = true)]
    async fn changes_are_told_as_the_selector_sees_them() {
        let store = std::sync::Arc::new(Store::new());
        store.put(pod("a", "web")).unwrap();
        store.put(pod("b", "db")).unwrap();
        let mut lines = start(
            &store,
            "watch=true&labelSelector=app%3Dweb&timeoutSeconds=60",
        );
        assert_eq!(event(&mut lines).await, "ADDED a");
        store.put(pod("c", "db")).unwrap();
        store.put(pod("b", "web")).unwrap();
        assert_eq!(event(&mut lines).await, "ADDED b");
        store.put(pod("b", "web")).unwrap();
        assert_eq!(event(&mut lines).await, "MODIFIED b");
        store.put(pod("b", "db")).unwrap();
        assert_eq!(event(&mut lines).await, "DELETED b");
        store.delete(Kind::Pod, "ns", "a");
        store.delete(Kind::Pod, "ns", "b");
        assert_eq!(event(&mut lines).await, "DELETED a");
        let begun = Instant::now();
        assert_eq!(event(&mut lines).await, "end");
        assert_eq!(begun.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn versions_and_marks() {
        let store = std::sync::Arc::new(Store::new());
        store.put(pod("a", "x")).unwrap();
        store.put(pod("b", "x")).unwrap();
        let mut lines = start(&store, "watch=true&resourceVersion=2");
        assert_eq!(event(&mut lines).await, "ADDED b");
        let mut lines = start(
            &store,
            "watch=true&sendInitialEvents=true&resourceVersion=3",
        );
        assert_eq!(event(&mut lines).await, "ADDED a");
        assert_eq!(event(&mut lines).await, "ADDED b");
        assert_eq!(event(&mut lines).await, "BOOKMARK ");
        for _ in 0..2000 {
            store.put(pod("c", "x")).unwrap();
        }
        let mut lines = start(&store, "watch=true&resourceVersion=3");
        assert_eq!(event(&mut lines).await, "ERROR Expired");
        assert_eq!(event(&mut lines).await, "end");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_leaves_ends_it() {
        let store = Store::new();
        let (client, mut server) = duplex(1 << 16);
        let query = Query::parse(Kind::Pod, None, "watch=true").unwrap();
        let watch = query.watch.clone().unwrap();
        let leave = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            drop(client);
        };
        let mut buf = BytesMut::new();
        let begun = Instant::now();
        let mut watcher = Chunked {
            io: &mut server,
            buf: &mut buf,
        };
        let (result, ()) = tokio::join!(serve(&mut watcher, &store, &query, &watch), leave);
        assert!(!result.unwrap_or(false));
        assert_eq!(begun.elapsed().as_secs(), 5);
    }
}
