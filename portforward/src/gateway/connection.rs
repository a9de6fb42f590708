//! One client connection: requests in turn, until one of them becomes a forwarding.

use super::backend::Leg;
use super::forward::{self, Forwarding};
use super::rest::{self, Query};
use super::route::{NoRoute, Route};
use super::{Shared, watch};
use crate::http1::{ReadError, RequestHead, read_request_head};
use crate::observe::{self, Event, Watch};
use crate::server::admit::Place;
use crate::server::answer::{Answer, finish};
use crate::server::listen::Accepted;
use crate::server::negotiate::{self, Wish};
use crate::status::{Access, Status};
use crate::tls::{self, Subject};
use bytes::BytesMut;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

/// Serves a connection past its handshake.
pub(super) async fn serve(shared: Arc<Shared>, accepted: Accepted) {
    let Accepted { io, peer, place } = accepted;
    // A certificate that passed the handshake and still cannot be read is nobody's.
    let Ok(subject) = tls::peer_subject(io.get_ref().1) else {
        return;
    };
    serve_requests(shared, io, peer, subject, place).await;
}

/// Serves a connection of a known peer.
pub(super) async fn serve_requests<T: Leg>(
    shared: Arc<Shared>,
    io: T,
    peer: SocketAddr,
    subject: Option<Subject>,
    place: Place<IpAddr>,
) {
    let watch = Watch::new(shared.observer.as_ref(), observe::Place::Gateway);
    Client {
        shared,
        peer,
        subject,
        watch,
    }
    .serve(io, place)
    .await;
}

struct Client {
    shared: Arc<Shared>,
    peer: SocketAddr,
    subject: Option<Subject>,
    watch: Watch,
}

/// What becomes of the connection after a request.
enum Next {
    /// The next request.
    Another,
    /// The end, after what was said.
    Close,
    /// The end, because the peer is gone.
    Gone,
    /// A forwarding.
    Forward(Box<Forwarding>),
}

impl Client {
    async fn serve<T: Leg>(self, mut io: T, place: Place<IpAddr>) {
        let limits = self.shared.config.head;
        let mut buf = BytesMut::new();
        let mut place = Some(place);
        loop {
            if place.is_none() && !self.wait(&mut io, &mut buf).await {
                return;
            }
            let head = read_request_head(&mut io, &mut buf, &limits, limits.deadline()).await;
            place = None;
            let next = match head {
                Ok(head) => self.request(&mut io, &mut buf, head).await,
                Err(ReadError::Head(error)) => {
                    let status = Status::new(error.status(), "BadRequest", error.to_string());
                    say(&mut io, &status).await
                }
                Err(ReadError::Closed | ReadError::Timeout | ReadError::Io(_)) => Ok(Next::Gone),
            };
            match next {
                Ok(Next::Another) => {}
                Ok(Next::Close) => return finish(&mut io).await,
                Ok(Next::Gone) | Err(_) => return,
                Ok(Next::Forward(forwarding)) => {
                    return forward::serve(&self.shared, &self.watch, io, buf, *forwarding).await;
                }
            }
        }
    }

    /// Waits for the first byte of a further request.
    async fn wait<T: Leg>(&self, io: &mut T, buf: &mut BytesMut) -> bool {
        !buf.is_empty()
            || matches!(timeout(self.shared.config.idle, io.read_buf(buf)).await, Ok(Ok(n)) if n > 0)
    }

    async fn request<T: Leg>(
        &self,
        io: &mut T,
        buf: &mut BytesMut,
        head: RequestHead,
    ) -> io::Result<Next> {
        self.watch.tell(|| Event::Request {
            method: head.method.clone(),
            path: head.path().to_owned(),
        });
        let wish = negotiate::wish(&head.fields);
        let closes = head
            .fields
            .list("connection")
            .any(|t| t.eq_ignore_ascii_case(b"close"));
        // Bytes behind a request for an upgrade are of no HTTP: whatever the answer, no request is
        // read from them (T12). A body is never expected, so where it ends is not known.
        let last = closes || wish != Wish::Stay || head.content_length() > 0;

        let place = match self.place(&head) {
            Ok(place) => place,
            Err(status) => {
                self.watch.tell(|| Event::Refused {
                    status: status.code,
                });
                return answer(io, Answer::status(&status), last || status.code == 401).await;
            }
        };
        let Request { user, route } = place;
        if let Route::Forward { namespace, pod } = &route {
            return match self.forwarding(&head, wish, user, namespace, pod) {
                Ok(forwarding) => Ok(Next::Forward(Box::new(forwarding))),
                Err(refusal) => {
                    self.watch.tell(|| Event::Refused {
                        status: refusal.code(),
                    });
                    answer(io, refusal, last).await
                }
            };
        }
        if head.method != "GET" {
            return answer(io, Answer::status(&Status::method_not_allowed()), true).await;
        }
        if !rest::accepts_json(&head) {
            let text = "406: Not Acceptable\n\nAvailable representations: application/json";
            return answer(
                io,
                Answer::status(&Status::new(406, "NotAcceptable", text)),
                last,
            )
            .await;
        }
        if let Route::List { kind, namespace } = &route {
            let query = match Query::parse(*kind, namespace.as_deref(), head.query()) {
                Ok(query) => query,
                Err(status) => return answer(io, Answer::status(&status), last).await,
            };
            if let Some(wanted) = &query.watch {
                let open = watch::serve(io, buf, &self.shared.store, &query, wanted).await?;
                return Ok(if open && !last {
                    Next::Another
                } else {
                    Next::Close
                });
            }
        }
        answer(io, rest::answer(&self.shared.store, &route, &head), last).await
    }

    /// Who asks for what, if they may. In this order: browsers, identity, place, right.
    fn place(&self, head: &RequestHead) -> Result<Request, Status> {
        let route = Route::of(head.path());
        if matches!(route, Ok(Route::Forward { .. })) {
            self.check_origin(head)?;
        }
        let user = self
            .shared
            .users
            .identify(self.subject.as_ref(), &head.fields)
            .ok_or_else(Status::unauthorized)?;
        self.watch.tell(|| Event::Authenticated {
            user: user.name.clone(),
        });
        let route = route.map_err(|reason| match reason {
            NoRoute::Unknown => Status::no_such_path(),
            NoRoute::BadName => Status::bad_request("invalid namespace or name"),
        })?;
        let access = match &route {
            Route::List { kind, namespace } => {
                let watch =
                    Query::parse(*kind, None, head.query()).is_ok_and(|q| q.watch.is_some());
                let verb = if watch { "watch" } else { "list" };
                Some((
                    verb,
                    *kind,
                    kind.resource(),
                    namespace.as_deref().unwrap_or_default(),
                    "",
                ))
            }
            Route::Object {
                kind,
                namespace,
                name,
            } => Some((
                "get",
                *kind,
                kind.resource(),
                namespace.as_str(),
                name.as_str(),
            )),
            // Whatever the method: forwarding is no reading (T17).
            Route::Forward { namespace, pod } => Some((
                "create",
                super::Kind::Pod,
                "pods/portforward",
                namespace.as_str(),
                pod.as_str(),
            )),
            _ => None,
        };
        if let Some((verb, kind, resource, namespace, name)) = access {
            let access = Access::new(verb, kind.group(), resource, namespace, name);
            if !self.shared.users.may(&user, &access) {
                return Err(Status::forbidden(&access, &user.name));
            }
            self.watch.tell(|| Event::Authorised);
        }
        Ok(Request { user, route })
    }

    /// A browser sends `Origin`; kubectl and its like do not (T31).
    fn check_origin(&self, head: &RequestHead) -> Result<(), Status> {
        let allowed = &self.shared.config.origins;
        let foreign = head
            .fields
            .all("origin")
            .any(|o| !allowed.iter().any(|a| a.as_bytes() == o));
        if foreign {
            Err(Status::new(
                403,
                "Forbidden",
                "requests from web pages are not served",
            ))
        } else {
            Ok(())
        }
    }

    fn forwarding(
        &self,
        head: &RequestHead,
        wish: Wish,
        user: super::User,
        namespace: &str,
        pod: &str,
    ) -> Result<Forwarding, Answer> {
        let refuse = |status: Status| Answer::status(&status);
        if !matches!(head.method.as_str(), "GET" | "POST") {
            return Err(refuse(Status::method_not_allowed()));
        }
        let object = self.shared.store.get(super::Kind::Pod, namespace, pod);
        let object = object.ok_or_else(|| refuse(Status::not_found("pods", pod)))?;
        let node = object
            .pointer("/spec/nodeName")
            .and_then(|n| n.as_str())
            .unwrap_or_default();
        if node.is_empty() {
            return Err(refuse(Status::no_host(pod)));
        }
        match wish {
            Wish::Stay => return Err(refuse(Status::upgrade_required())),
            // kubectl then asks again for SPDY (PROTOCOL.md 5.5).
            Wish::WebSocket => {
                return Err(refuse(Status::bad_request(
                    "this gateway serves SPDY/3.1 only, no WebSocket",
                )));
            }
            Wish::Other => return Err(negotiate::missing_headers(&head.fields)),
            Wish::Spdy => {}
        }
        if head.content_length() > 0 {
            return Err(refuse(Status::bad_request(
                "an upgrade request has no body",
            )));
        }
        let Some(session) = self.shared.sessions.enter(user.name) else {
            return Err(refuse(Status::too_many_requests(
                "too many forwardings, try again later",
            )));
        };
        let request = forward::request(head, namespace, pod, self.peer.ip())
            .map_err(|e| refuse(Status::bad_request(e.to_string())))?;
        Ok(Forwarding {
            node: node.to_owned(),
            request,
            session,
        })
    }
}

/// Who is where.
struct Request {
    user: super::User,
    route: Route,
}

async fn answer<T: Leg>(io: &mut T, answer: Answer, close: bool) -> io::Result<Next> {
    answer.write(io, close).await?;
    Ok(if close { Next::Close } else { Next::Another })
}

async fn say<T: Leg>(io: &mut T, status: &Status) -> io::Result<Next> {
    answer(io, Answer::status(status), true).await
}
