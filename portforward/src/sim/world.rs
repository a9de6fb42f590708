//! A run: the roles of the crate, the peers, and the faults between them.

use super::check::{Case, Outcome};
use super::dice::Dice;
use super::network::{End, Hand, connection};
use super::peers::Connection;
use super::plan::{Fault, LinkPlan, Plan, Pod, Role, Speaks};
use super::trace::Trace;
use super::wire::{Pairs, Tap};
use crate::client::{ForwardError, Forwarder, carry};
use crate::gateway::relay;
use crate::node::{Agreed, Dial, PodRef, Protocol, serve_config};
use crate::observe::{Place, Watch};
use crate::session::{self, CloseReason, Config, Session, channels, gauge};
use crate::websocket::WsByteStream;
use bytes::BytesMut;
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Longer than any patience, deadline of ours and slow transfer together.
const TRANSFERS: Duration = Duration::from_secs(3000);
/// A session whose peer vanished is over after 4 hours without a byte (B26).
const LEAVE: Duration = Duration::from_secs(5 * 3600);

type Future_ = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Loses its turn now and then, so that other tasks go first.
struct Shuffled {
    inner: Future_,
    percent: u64,
    dice: Dice,
}

impl Future for Shuffled {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let percent = self.percent;
        if percent > 0 && self.dice.chance(percent) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.inner.as_mut().poll(cx)
    }
}

/// Reaches the pods of one link.
struct Pods {
    connections: BTreeMap<u16, Connection>,
    dice: Mutex<Dice>,
    trace: Trace,
    tasks: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Dial<End> for Pods {
    fn dial(&self, _: &PodRef, port: u16) -> Pin<Box<dyn Future<Output = io::Result<End>> + Send>> {
        let Some(connection_of) = self.connections.get(&port).cloned() else {
            self.trace
                .wrong(format!("port {port} was dialled, which nobody asked for"));
            return Box::pin(pending());
        };
        connection_of.record().dials += 1;
        let dice = self.dice.lock().unwrap().fork();
        let trace = self.trace.clone();
        let tasks = Arc::clone(&self.tasks);
        Box::pin(async move {
            match connection_of.plan.pod {
                Pod::Refuse => {
                    let text = "dial tcp4 127.0.0.1: connect: connection refused";
                    return Err(io::Error::new(io::ErrorKind::ConnectionRefused, text));
                }
                Pod::Silent => return pending().await,
                _ => {}
            }
            let rules = connection_of.plan.pod_rules.clone();
            let (near, far, _) = connection(u64::from(port) * 1000 + 1, rules, dice, &trace);
            let pod = tokio::spawn(connection_of.run_pod(far));
            tasks.lock().unwrap().push(pod);
            Ok(near)
        })
    }
}

/// One link under way.
struct Link {
    plan: LinkPlan,
    name: u64,
    config: Config,
    connections: Vec<Connection>,
    outcomes: Vec<Arc<Mutex<Option<Outcome>>>>,
    trace: Trace,
    dice: Dice,
    pods: Arc<Mutex<Vec<JoinHandle<()>>>>,
    apps: Arc<Mutex<Vec<JoinHandle<()>>>>,
    forwards: Vec<JoinHandle<()>>,
    roles: BTreeMap<u8, JoinHandle<()>>,
    helpers: Vec<JoinHandle<()>>,
    session: Option<Session>,
    crashed: Arc<Mutex<Vec<Role>>>,
    /// What the node has seen, where it can be seen from outside.
    pairs: Arc<Pairs>,
    /// Connections that had ended when the node was told to stop.
    parted: Arc<Mutex<BTreeSet<u16>>>,
}

impl Link {
    fn new(name: u64, plan: LinkPlan, config: Config, dice: Dice, trace: &Trace) -> Self {
        let each = plan.connections.iter();
        let connections: Vec<_> = each
            .map(|c| Connection::new(c.clone(), trace.clone()))
            .collect();
        Self {
            outcomes: connections.iter().map(|_| Arc::default()).collect(),
            plan,
            name,
            config,
            connections,
            trace: trace.clone(),
            dice,
            pods: Arc::default(),
            apps: Arc::default(),
            forwards: Vec::new(),
            roles: BTreeMap::new(),
            helpers: Vec::new(),
            session: None,
            crashed: Arc::default(),
            pairs: Arc::default(),
            parted: Arc::default(),
        }
    }

    fn spawn(&mut self, future: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        tokio::spawn(Shuffled {
            inner: Box::pin(future),
            percent: self.plan.shuffle,
            dice: self.dice.fork(),
        })
    }

    fn begin(&mut self) {
        let trace = self.trace.clone();
        let mut hands: Vec<Arc<Hand>> = Vec::new();
        let [first, second] = self.plan.hops.clone();
        let (client, mut node, hand) = connection(self.name, first, self.dice.fork(), &trace);
        hands.push(hand);
        if self.plan.hops() > 1 {
            let rules = second;
            let (near, far, hand) = connection(self.name + 1, rules, self.dice.fork(), &trace);
            hands.push(hand);
            let front = std::mem::replace(&mut node, far);
            let gateway = self.spawn(async move {
                let watch = Watch::new(None, Place::Gateway);
                relay::run(front, near, BytesMut::new(), BytesMut::new(), &watch).await;
            });
            self.roles.insert(Role::Gateway as u8, gateway);
        }
        for hand in &hands {
            self.helpers.push(tokio::spawn(Arc::clone(hand).bury()));
        }
        let stop = Arc::new(Notify::new());
        self.begin_node(node, Arc::clone(&stop));
        self.begin_client(client);
        self.begin_fault(hands, stop);
    }

    fn begin_node(&mut self, io: End, stop: Arc<Notify>) {
        let of = |c: &Connection| (c.plan.id, c.clone());
        let pods: Arc<dyn Dial<End>> = Arc::new(Pods {
            connections: self.connections.iter().map(of).collect(),
            dice: Mutex::new(self.dice.fork()),
            trace: self.trace.clone(),
            tasks: Arc::clone(&self.pods),
        });
        let ports = self.connections.iter().map(|c| c.plan.id).collect();
        let protocol = match self.plan.speaks {
            Speaks::Spdy => Protocol::Spdy,
            Speaks::Tunnel => Protocol::Tunnel,
            Speaks::Channels(format) => Protocol::Channels(format, ports),
        };
        let agreed = Agreed::new(PodRef::new("ns", "pod", "uid"), protocol);
        let (config, early) = (self.config.clone(), BytesMut::new());
        let stop = async move { stop.notified().await };
        let node = if self.plan.speaks == Speaks::Spdy {
            let io = Tap::node(io, self.name, self.trace.clone(), &self.pairs);
            self.spawn(serve_config(io, early, agreed, config, pods, stop, None))
        } else {
            self.spawn(serve_config(io, early, agreed, config, pods, stop, None))
        };
        self.roles.insert(Role::Node as u8, node);
    }

    fn begin_client(&mut self, io: End) {
        let early = BytesMut::new();
        let (name, trace, config) = (self.name, self.trace.clone(), self.config.clone());
        let driver: Pin<Box<dyn Future<Output = CloseReason> + Send>> = match self.plan.speaks {
            Speaks::Spdy => {
                let io = Tap::client(io, name, trace.clone());
                let (session, driver) = session::client(io, early, config).unwrap();
                self.forward_over(session);
                Box::pin(driver)
            }
            Speaks::Tunnel => {
                let io = WsByteStream::client(io, BytesMut::new()).unwrap();
                let io = Tap::client(io, name, trace.clone());
                let (session, driver) = session::client(io, early, config).unwrap();
                self.forward_over(session);
                Box::pin(driver)
            }
            Speaks::Channels(format) => {
                let ports: Vec<u16> = self.connections.iter().map(|c| c.plan.id).collect();
                let made = channels::client(io, early, format, &ports, config);
                let (streams, driver) = made.unwrap();
                for (index, pair) in streams.into_iter().enumerate() {
                    self.forward(index, |local| carry(local, pair.data, pair.error));
                }
                Box::pin(driver)
            }
        };
        let driver = self.spawn(async move {
            let reason = driver.await;
            trace.say(format_args!(
                "link {name}: the client's session ends: {reason}"
            ));
        });
        self.roles.insert(Role::ClientDriver as u8, driver);
    }

    fn forward_over(&mut self, session: Session) {
        let forwarder = Forwarder::new(session.clone());
        for index in 0..self.connections.len() {
            let forwarder = forwarder.clone();
            let port = self.connections[index].plan.id;
            self.forward(index, move |local| async move {
                forwarder.forward(local, port).await
            });
        }
        self.session = Some(session);
    }

    fn forward<F>(&mut self, index: usize, over: impl FnOnce(End) -> F + Send + 'static)
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let this = self.connections[index].clone();
        let slot = Arc::clone(&self.outcomes[index]);
        let (apps, dice) = (Arc::clone(&self.apps), self.dice.fork());
        let task = self.spawn(async move {
            let (plan, trace) = (this.plan.clone(), this.trace.clone());
            sleep(plan.start).await;
            let name = u64::from(plan.id) * 1000;
            let (app, local, _) = connection(name, plan.app_rules, dice, &trace);
            apps.lock().unwrap().push(tokio::spawn(this.run_app(app)));
            let outcome = over(local).await;
            trace.event(name, 30, u64::from(outcome.is_ok()));
            trace.say(format_args!("connection {}: {outcome:?}", plan.id));
            *slot.lock().unwrap() = Some(outcome);
        });
        self.forwards.push(task);
    }

    fn begin_fault(&mut self, hands: Vec<Arc<Hand>>, stop: Arc<Notify>) {
        let Some(fault) = self.plan.fault else { return };
        // A node that has no reason to stop keeps no session alive.
        let waits = matches!(fault, Fault::StopBehind(_));
        let session = self.session.clone().filter(|_| !waits);
        let (pairs, parted) = (Arc::clone(&self.pairs), Arc::clone(&self.parted));
        let relayed = self.plan.relayed;
        let (crashed, trace, name) = (Arc::clone(&self.crashed), self.trace.clone(), self.name);
        let role = |role: Role| self.roles.get(&(role as u8)).map(JoinHandle::abort_handle);
        let victims: Vec<_> = match fault {
            Fault::Crash(Role::Client, _) => {
                let forwards = self.forwards.iter().map(JoinHandle::abort_handle);
                forwards.chain(role(Role::ClientDriver)).collect()
            }
            Fault::Crash(which, _) => role(which).into_iter().collect(),
            _ => Vec::new(),
        };
        let task = tokio::spawn(async move {
            match fault {
                Fault::Cut(.., at) | Fault::Crash(_, at) | Fault::Close(at) | Fault::Stop(at) => {
                    sleep(at).await;
                }
                Fault::StopBehind(ended) => pairs.wait_for(ended).await,
                Fault::CutInRule => return,
            }
            trace.say(format_args!("link {name}: {fault:?}"));
            match fault {
                Fault::Cut(hop, lane, kind, _) => hands[hop].cut(lane, kind),
                Fault::CutInRule => {}
                Fault::Crash(which, _) => {
                    crashed.lock().unwrap().push(which);
                    for victim in victims {
                        victim.abort();
                    }
                }
                Fault::Close(_) => {
                    if let Some(session) = &session {
                        session.close();
                    }
                }
                Fault::Stop(_) | Fault::StopBehind(_) => {
                    // A relay may lose what it has not passed on when it cannot write any more.
                    if !relayed {
                        *parted.lock().unwrap() = pairs.ended();
                    }
                    stop.notify_one();
                }
            }
        });
        self.helpers.push(task);
    }

    /// Waits for a task; a panic in it, and not ending, is wrong.
    async fn join(&self, what: &str, task: JoinHandle<()>, limit: Duration) {
        let abort = task.abort_handle();
        match timeout(limit, task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.is_cancelled() => {}
            Ok(Err(error)) => self
                .trace
                .wrong(format!("{what} of link {}: {error}", self.name)),
            Err(_) => {
                abort.abort();
                let line = format!("I6: {what} of link {} does not end", self.name);
                self.trace.wrong(line);
            }
        }
    }

    async fn finish_forwards(&mut self) {
        for task in std::mem::take(&mut self.forwards) {
            self.join("a forwarded connection", task, TRANSFERS).await;
        }
        let apps = std::mem::take(&mut *self.apps.lock().unwrap());
        for task in apps {
            self.join("an application", task, TRANSFERS).await;
        }
    }

    async fn finish(&mut self) {
        self.session = None;
        for helper in std::mem::take(&mut self.helpers) {
            if self.plan.fault.is_none() {
                helper.abort();
            } else {
                self.helpers.push(helper);
            }
        }
        let limit = if self.plan.fault.is_some() {
            LEAVE
        } else {
            Duration::from_secs(120)
        };
        for (role, task) in std::mem::take(&mut self.roles) {
            let what = [
                "the client's driver",
                "the client",
                "the gateway",
                "the node",
            ];
            self.join(what[usize::from(role)], task, limit).await;
        }
        let pods = std::mem::take(&mut *self.pods.lock().unwrap());
        for task in pods {
            self.join("a pod", task, Duration::from_secs(200)).await;
        }
        for helper in std::mem::take(&mut self.helpers) {
            helper.abort();
        }
    }

    /// A session that ended early keeps what it had to send, until its handles are gone.
    fn is_lost(&self) -> bool {
        let lost = |outcome: &Arc<Mutex<Option<Outcome>>>| {
            let outcome = outcome.lock().unwrap();
            matches!(&*outcome, Some(Err(ForwardError::SessionLost(_))))
        };
        self.outcomes.iter().any(lost)
    }

    fn check(&self) {
        let crashed = self.crashed.lock().unwrap();
        let parted = self.parted.lock().unwrap();
        for (connection, outcome) in self.connections.iter().zip(&self.outcomes) {
            let record = connection.record();
            let outcome = outcome.lock().unwrap();
            if outcome.is_none() && !crashed.contains(&Role::Client) {
                let id = connection.plan.id;
                self.trace
                    .wrong(format!("I10: connection {id} was told nothing"));
            }
            let case = Case {
                link: &self.plan,
                plan: &connection.plan,
                record: &record,
                outcome: outcome.as_ref(),
                budget: self.config.stream_receive,
                windows: self.config.windows && !self.plan.speaks.is_channels(),
                parted: parted.contains(&connection.plan.id),
            };
            case.check(&self.trace);
        }
    }
}

pub(super) async fn run(plan: Plan, mut dice: Dice, trace: &Trace) {
    drop(gauge::take());
    let Plan { links, config } = plan;
    let mut all = Vec::new();
    for (index, plan) in links.into_iter().enumerate() {
        trace.say(format_args!("link {index}: {plan:#?}"));
        let name = 10_000_000 * (index as u64 + 1);
        let mut link = Link::new(name, plan, config.clone(), dice.fork(), trace);
        link.begin();
        all.push(link);
    }
    for link in &mut all {
        link.finish_forwards().await;
    }
    if all.iter().all(|link| link.plan.fault.is_none()) {
        // Last words of error streams take 5 s at most, and pods that hear nothing a minute.
        sleep(Duration::from_secs(90)).await;
        let held = gauge::peak();
        if held != (0, 0) && !all.iter().any(Link::is_lost) {
            trace.wrong(format!("I8: sessions at rest hold {held:?} bytes"));
        }
    }
    for link in &mut all {
        link.finish().await;
    }
    for link in &all {
        link.check();
    }
    drop(all);
    // Tasks that were told to stop do.
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    let left = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    if left > 0 {
        trace.wrong(format!("I8: {left} tasks are left"));
    }
    let sessions = gauge::take();
    let left = sessions
        .iter()
        .filter(|gauge| gauge.read().is_some())
        .count();
    if left > 0 {
        trace.wrong(format!("I8: {left} sessions are left"));
    }
}
