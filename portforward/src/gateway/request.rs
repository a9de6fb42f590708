//! What is said to a request, whatever HTTP it came by.

use super::Shared;
use super::forward::{self, Forwarding, Way};
use super::ports;
use super::rest::{self, Query, WatchQuery};
use super::route::{NoRoute, Route};
use crate::http1::RequestHead;
use crate::observe::{self, Event, Watch};
use crate::server::admit::Place;
use crate::server::answer::Answer;
use crate::server::negotiate::{self, Wish};
use crate::server::websocket;
use crate::status::{Access, Status};
use crate::tls::Subject;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

/// Who is at the other end of a connection.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) shared: Arc<Shared>,
    pub(super) watch: Watch,
    peer: SocketAddr,
    subject: Option<Subject>,
    /// The place of its connection among those of its user, from the first request on that was
    /// authenticated. Until then the connection ends with any answer.
    place: Arc<OnceLock<Place<String>>>,
}

/// What is to be done.
pub(super) enum Decision {
    /// This is the answer; with `true` the connection has no further use.
    Answer(Answer, bool),
    /// A watch.
    Watch(Query, WatchQuery),
    /// A forwarding. Only for who asked for an upgrade.
    Forward(Box<Forwarding>),
}

impl Client {
    pub(super) fn new(shared: Arc<Shared>, peer: SocketAddr, subject: Option<Subject>) -> Self {
        let watch = Watch::new(shared.observer.as_ref(), observe::Place::Gateway);
        Self {
            shared,
            watch,
            peer,
            subject,
            place: Arc::default(),
        }
    }

    pub(super) fn decide(&self, head: &RequestHead, wish: Wish) -> Decision {
        let Request { user, route } = match self.place(head) {
            Ok(request) => request,
            Err(status) => {
                let code = status.code;
                self.watch.tell(|| Event::Refused { status: code });
                // Who is nobody here has no use for the connection, and may not keep it.
                let nobody = status.code == 401 || self.is_nobody();
                return Decision::Answer(Answer::status(&status), nobody);
            }
        };
        if let Route::Forward { namespace, pod } = &route {
            return match self.forwarding(head, wish, user, namespace, pod) {
                Ok(forwarding) => Decision::Forward(Box::new(forwarding)),
                Err(refusal) => {
                    self.watch.tell(|| Event::Refused {
                        status: refusal.code(),
                    });
                    Decision::Answer(refusal, false)
                }
            };
        }
        if head.method != "GET" {
            return Decision::Answer(Answer::status(&Status::method_not_allowed()), true);
        }
        if !rest::accepts_json(head) {
            let text = "406: Not Acceptable\n\nAvailable representations: application/json";
            let status = Status::new(406, "NotAcceptable", text);
            return Decision::Answer(Answer::status(&status), false);
        }
        if let Route::List { kind, namespace } = &route {
            match Query::parse(*kind, namespace.as_deref(), head.query()) {
                Err(status) => return Decision::Answer(Answer::status(&status), false),
                Ok(mut query) => {
                    if let Some(watch) = query.watch.take() {
                        return Decision::Watch(query, watch);
                    }
                }
            }
        }
        Decision::Answer(rest::answer(&self.shared.store, &route, head), false)
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
        self.take_place(&user.name)?;
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
                let verbs: &[&str] = if watch { &["watch"] } else { &["list"] };
                Some((
                    verbs,
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
                &["get"][..],
                *kind,
                kind.resource(),
                namespace.as_str(),
                name.as_str(),
            )),
            // Whatever the method: forwarding is no reading (T17). Of GET its own verb before, as the real one does.
            Route::Forward { namespace, pod } => {
                let is_get = head.method == "GET";
                let verbs: &[&str] = if is_get {
                    &["get", "create"]
                } else {
                    &["create"]
                };
                Some((
                    verbs,
                    super::Kind::Pod,
                    "pods/portforward",
                    namespace.as_str(),
                    pod.as_str(),
                ))
            }
            _ => None,
        };
        if let Some((verbs, kind, resource, namespace, name)) = access {
            for verb in verbs {
                let access = Access::new(verb, kind.group(), resource, namespace, name);
                if !self.shared.users.may(&user, &access) {
                    return Err(Status::forbidden(&access, &user.name));
                }
            }
            self.watch.tell(|| Event::Authorised);
        }
        Ok(Request { user, route })
    }

    /// Whether nobody has been authenticated on this connection.
    pub(super) fn is_nobody(&self) -> bool {
        self.place.get().is_none()
    }

    /// Counts the connection as its user's.
    fn take_place(&self, user: &str) -> Result<(), Status> {
        if self.place.get().is_some() {
            return Ok(());
        }
        let place = self.shared.connections.enter(user.to_owned());
        let place = place
            .ok_or_else(|| Status::too_many_requests("too many connections, try again later"))?;
        // Another request of the same connection may have been first: then this one is given back.
        drop(self.place.set(place));
        Ok(())
    }

    /// A browser sends `Origin`; kubectl and its like do not (T31).
    fn check_origin(&self, head: &RequestHead) -> Result<(), Status> {
        let allowed = &self.shared.config.origins;
        let foreign = head
            .fields
            .all("origin")
            .any(|o| !allowed.iter().any(|a| a.as_bytes() == o));
        // Some clients that are no browsers name the server itself.
        if foreign && !wsstream::same_origin(&head.fields.view()) {
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
        // Before the pod is looked for, and whatever the way, as at the real API server.
        let ports = ports::of_query(head.query()).map_err(refuse)?;
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
            Wish::Other => return Err(negotiate::missing_headers(&head.fields)),
            Wish::Spdy | Wish::WebSocket => {}
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
        let way = if wish == Wish::Spdy {
            Way::Spdy
        } else if websocket::tunnelled(&head.fields).is_empty() {
            Way::Channels(ports)
        } else {
            Way::Tunnel(websocket::offer(head)?)
        };
        let request = forward::request(head, namespace, pod, self.peer.ip(), &way)
            .map_err(|e| refuse(Status::bad_request(e.to_string())))?;
        Ok(Forwarding {
            node: node.to_owned(),
            request,
            way,
            session,
        })
    }
}

/// Who is where.
struct Request {
    user: super::User,
    route: Route,
}
