//! What a run is to be, drawn before it begins.

use super::dice::Dice;
use super::network::{Cut, Rule};
use crate::session::Config;
use std::time::Duration;
use wsstream::Format;

/// A whole run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) links: Vec<LinkPlan>,
    pub(super) config: Config,
}

/// One upgraded connection and what it carries.
#[derive(Debug)]
pub(super) struct LinkPlan {
    pub(super) speaks: Speaks,
    /// A gateway relays it: then there are two hops.
    pub(super) relayed: bool,
    /// To the node and back, for each hop.
    pub(super) hops: [[Rule; 2]; 2],
    pub(super) fault: Option<Fault>,
    pub(super) connections: Vec<ConnectionPlan>,
    /// Percent of the polls of each task that come to nothing, so that others go first.
    pub(super) shuffle: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    Spdy,
    Tunnel,
    Channels(Format),
}

impl Speaks {
    pub(super) const fn is_channels(self) -> bool {
        matches!(self, Self::Channels(_))
    }
}

/// What breaks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// Of a hop and a direction, at a time; [`Rule::cut`] cuts after a number of bytes.
    Cut(usize, usize, Cut, Duration),
    /// A byte count in the rules.
    CutInRule,
    /// The node is told to stop once so many connections have ended in order, as far as it can see.
    StopBehind(usize),
    Crash(Role, Duration),
    /// [`crate::session::Session::close`].
    Close(Duration),
    /// The node is told to stop.
    Stop(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The future that moves the client's session.
    ClientDriver,
    /// The client with all that it forwards.
    Client,
    Gateway,
    Node,
}

/// One forwarded connection.
#[derive(Clone, Debug)]
pub(super) struct ConnectionPlan {
    /// The port it asks for names it.
    pub(super) id: u16,
    pub(super) start: Duration,
    pub(super) app: App,
    pub(super) pod: Pod,
    /// To the client and back; to the pod and back.
    pub(super) app_rules: [Rule; 2],
    pub(super) pod_rules: [Rule; 2],
}

/// The local application.
#[derive(Clone, Copy, Debug)]
pub(super) struct App {
    pub(super) sends: u64,
    pub(super) piece: u64,
    pub(super) pause: Duration,
    pub(super) then: Then,
    pub(super) reads: Reads,
    /// When it resets the connection, come what may.
    pub(super) patience: Duration,
}

/// What an application does once it has sent all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    HalfClose,
    /// Waits for the other side's end.
    Wait,
    Abort(Duration),
    /// Closes both directions.
    Drop(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    All,
    /// So many bytes every 10 ms.
    Slowly(u64),
    /// Nothing behind so many.
    Until(u64),
    /// Nothing for so long, then all.
    Late(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pod {
    Echo,
    /// Sends and ends, and reads until the end.
    Source(u64),
    /// Reads to the end; so much later it answers and ends.
    Answer(Duration, u64),
    /// Sends, reads, has a last word, and resets.
    Reset {
        after: u64,
        says: u64,
        last: u64,
    },
    Refuse,
    /// Never answers the dial.
    Silent,
    /// Reads nothing, says nothing, for so long.
    Deaf(Duration),
}

const KB: u64 = 1 << 10;
/// A stall that no reader here is.
const PATIENT: Duration = Duration::from_secs(3600);

impl Plan {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let mood = match dice.below(100) {
            80..=84 => Mood::Hiccups,
            85..=89 => Mood::Late,
            90..=94 => Mood::Parting,
            95..=99 => Mood::Crowd,
            _ => Mood::Plain,
        };
        let tight = match mood {
            Mood::Plain | Mood::Hiccups => false,
            Mood::Late | Mood::Parting | Mood::Crowd => dice.chance(75),
        };
        let mut config = Config {
            windows: !tight && dice.chance(60),
            ..Config::default()
        };
        // Small, so that budgets are reached with few bytes.
        if config.windows {
            // A window for each stream: one that is not read takes nothing from the others.
            config.spdy.stream_window = dice.pick(&[64 << 10, 100_000, 1 << 20]);
            config.stream_send = dice.pick(&[64 << 10, 16 << 10, 4 << 10]);
        } else if tight || dice.chance(80) {
            config.stream_receive = dice.pick(&[64 << 10, 16 << 10, 4 << 10]);
            if mood == Mood::Crowd {
                // Together they are over it before one of them is alone.
                config.stream_receive = 64 << 10;
            }
            config.session_receive = config.stream_receive * dice.pick(&[4, 2, 1]);
            config.stream_send = dice.pick(&[16 << 10, 4 << 10, 1 << 10]);
            config.session_send = config.stream_send * dice.pick(&[4, 2]);
            if tight || dice.chance(40) {
                // A pause may be long, and nothing but its end wakes who waits for it. No connection
                // begins this late.
                config.stall = PATIENT;
                config.idle_empty = Duration::from_secs(20);
                config.session_receive = config.stream_receive;
            }
        }
        let late = config.windows || config.stall == PATIENT;
        let links = dice.pick(&[1, 1, 2, 3]);
        let mut next = 1;
        let links = (0..links)
            .map(|_| LinkPlan::draw(dice, &mut next, mood, late))
            .collect();
        Self { links, config }
    }

    /// The most that a session may have queued for sending: each stream its budget, or all the session's,
    /// and one chunk beyond it, which is no more than its socket holds.
    pub(super) fn sending(&self) -> usize {
        const TEXT: usize = 512;
        let chunk = |plan: &ConnectionPlan| {
            let rules = [&plan.app_rules[0], &plan.pod_rules[1]];
            let most = rules.map(|rule| match rule.piece {
                0 => rule.capacity,
                piece => rule.capacity.min(piece),
            });
            most[0].max(most[1]) + TEXT
        };
        let budget = |link: &LinkPlan| {
            let streams = link.connections.len() * self.config.stream_send;
            let chunks: usize = link.connections.iter().map(chunk).sum();
            streams.min(self.config.session_send) + chunks
        };
        self.links.iter().map(budget).max().unwrap_or(0)
    }
}

impl LinkPlan {
    fn draw(dice: &mut Dice, next: &mut u16, mood: Mood, late: bool) -> Self {
        let speaks = match dice.below(6) {
            _ if mood == Mood::Parting => Speaks::Spdy,
            0..=2 => Speaks::Spdy,
            3 | 4 => Speaks::Tunnel,
            _ if mood != Mood::Plain => Speaks::Spdy,
            _ => Speaks::Channels(dice.pick(&[Format::Binary, Format::Base64])),
        };
        let relayed = dice.chance(40) && mood != Mood::Parting;
        let (mut hops, slow) = (
            [[hop(dice), hop(dice)], [hop(dice), hop(dice)]],
            dice.chance(10) && mood == Mood::Plain,
        );
        if slow {
            let (a, b) = (dice.pick(&[0, 1]), dice.pick(&[0, 1]));
            hops[a][b].piece = dice.pick(&[1, 3, 17]);
        }
        let fault = match mood {
            Mood::Parting => Some(Fault::StopBehind(1)),
            Mood::Late => None,
            _ => draw_fault(dice, speaks, relayed, &mut hops),
        };
        // Bytes of the whole link; drip-fed ones cost a poll each.
        let most = if slow {
            2 * KB
        } else {
            dice.pick(&[32 * KB, 8 * KB, 256 * KB])
        };
        let volume = Volume { most, late };
        let mut count = if speaks.is_channels() {
            1
        } else {
            1 + dice.below(dice.clone().pick(&[2, 4, 7]))
        };
        if mood == Mood::Hiccups {
            // Longer than the client's second for a verdict behind FIN. SYN_REPLY has 30 s.
            let every = dice.pick(&[60, 24]);
            let hop = usize::from(relayed && dice.chance(50));
            hops[hop][1].hiccup = Some((every, Duration::from_millis(1200)));
        }
        count = match mood {
            Mood::Plain => count,
            Mood::Hiccups | Mood::Late => 1,
            Mood::Parting => count.max(2),
            Mood::Crowd => count.max(4),
        };
        for [up, back] in &mut hops {
            match mood {
                // One read of the node's is full of small frames of all of them, or more than a pod takes
                // at once.
                Mood::Crowd | Mood::Hiccups => {
                    (up.capacity, up.piece, up.rate) = (64 << 10, 0, 0);
                }
                // What is not read waits at the node.
                Mood::Late => back.capacity = back.capacity.min(16 << 10),
                Mood::Plain | Mood::Parting => {}
            }
        }
        let mut connections: Vec<_> = (0..count)
            .map(|_| {
                let id = *next;
                *next += 1;
                ConnectionPlan::draw(dice, id, speaks, volume)
            })
            .collect();
        match mood {
            Mood::Parting | Mood::Late => connections[0].is_read_late(dice, volume),
            Mood::Crowd => connections.iter_mut().for_each(|this| this.uploads(dice)),
            Mood::Hiccups => connections[0].is_reset(dice),
            Mood::Plain => {}
        }
        Self {
            speaks,
            relayed,
            hops,
            fault,
            connections,
            shuffle: dice.pick(&[0, 0, 10, 50]),
        }
    }

    /// Bytes may take seconds.
    pub(super) fn is_slow(&self) -> bool {
        let slow = |rule: &Rule| {
            let narrow = rule.capacity < 16 << 10 || (1..200).contains(&rule.piece);
            let a_second = rule.capacity as u128 * 1000 / (2 * rule.delay.as_millis() + 1);
            rule.rate > 0
                || a_second < 1_000_000
                || rule.stall.is_some()
                || rule.hiccup.is_some()
                || narrow
        };
        self.hops.iter().flatten().any(slow)
    }

    /// The hops that are there.
    pub(super) fn hops(&self) -> usize {
        1 + usize::from(self.relayed)
    }
}

/// What single choices would rarely make together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Plain,
    /// What the node says at once arrives in parts.
    Hiccups,
    /// A single connection, which is over at the node long before it is read.
    Late,
    /// The node stops when the first connection has ended, which is still to be read.
    Parting,
    /// Many uploads, and nothing comes back that would wake a node by chance.
    Crowd,
}

/// What the connections of a link are to carry, at most.
#[derive(Clone, Copy, Debug)]
struct Volume {
    most: u64,
    /// Nobody takes a reader who begins late for a stalled one.
    late: bool,
}

/// Any number up to `high`, or a small one.
fn amount(dice: &mut Dice, high: u64) -> u64 {
    if dice.chance(50) {
        dice.range(high / 4, high)
    } else {
        dice.size(high)
    }
}

fn millis(dice: &mut Dice, high: u64) -> Duration {
    Duration::from_millis(dice.size(high))
}

fn late_by(dice: &mut Dice) -> Duration {
    Duration::from_secs(dice.pick(&[30, 5, 100]))
}

fn hop(dice: &mut Dice) -> Rule {
    let mut rule = Rule::plain();
    rule.delay = millis(dice, 200);
    if dice.chance(30) {
        rule.rate = dice.pick(&[1000, 64, 300]);
    }
    rule.capacity = dice.pick(&[64 << 10, 256 << 10, 16 << 10, 1 << 10, 100]);
    if dice.chance(30) {
        rule.piece = dice.pick(&[1000, 5000, 200]);
    }
    if dice.chance(20) {
        rule.storm = dice.pick(&[10, 50]);
    }
    if dice.chance(15) {
        let from = millis(dice, 5000);
        rule.stall = Some((from, from + millis(dice, 8000)));
    }
    // A small window over a long way would take for ever.
    if rule.capacity < 16 << 10 {
        rule.delay = rule
            .delay
            .min(Duration::from_millis(rule.capacity as u64 / 100));
    }
    rule
}

fn socket_rule(dice: &mut Dice) -> Rule {
    let mut rule = Rule::plain();
    rule.capacity = dice.pick(&[64 << 10, 16 << 10, 1 << 10, 300]);
    if dice.chance(20) {
        rule.delay = millis(dice, 5);
    }
    if dice.chance(30) {
        rule.piece = dice.pick(&[3000, 500, 50]);
    }
    if dice.chance(20) {
        rule.storm = dice.pick(&[10, 50]);
    }
    rule
}

fn draw_fault(
    dice: &mut Dice,
    speaks: Speaks,
    relayed: bool,
    hops: &mut [[Rule; 2]; 2],
) -> Option<Fault> {
    if !dice.chance(45) {
        return None;
    }
    let hop = if relayed { dice.below(2) as usize } else { 0 };
    let lane = dice.below(2) as usize;
    let at = millis(dice, 6000);
    let cut = dice.pick(&[Cut::Reset, Cut::Clean, Cut::Silent]);
    Some(match dice.below(6) {
        0 => Fault::Cut(hop, lane, cut, at),
        1 | 2 => {
            hops[hop][lane].cut = Some((1 + dice.size(40_000), cut));
            Fault::CutInRule
        }
        3 if relayed => Fault::Crash(Role::Gateway, at),
        3 | 4 => {
            let roles = [Role::Node, Role::Client, Role::ClientDriver];
            Fault::Crash(dice.pick(&roles), at)
        }
        _ if speaks.is_channels() || dice.chance(50) => Fault::Stop(at),
        _ => Fault::Close(at),
    })
}

impl ConnectionPlan {
    fn draw(dice: &mut Dice, id: u16, speaks: Speaks, volume: Volume) -> Self {
        let Volume {
            most,
            late: may_be_late,
        } = volume;
        let sends = amount(dice, most);
        let pause = match dice.below(20) {
            0..=12 => Duration::ZERO,
            13 => Duration::from_secs(2),
            _ => millis(dice, 100),
        };
        let late = dice.pick(&[0, 0, 1, 10]);
        let pod = match dice.below(12) {
            3 | 4 => Pod::Source(amount(dice, most)),
            5 | 6 => Pod::Answer(Duration::from_secs(late), amount(dice, most)),
            8 => Pod::Refuse,
            9 => Pod::Silent,
            10 => Pod::Deaf(Duration::from_secs(dice.range(1, 60))),
            7 => Pod::Reset {
                after: dice.size(sends.max(1)),
                says: dice.size(most),
                last: dice.pick(&[0, 0, 100]),
            },
            _ => Pod::Echo,
        };
        let wait = millis(dice, 3000);
        let then = match dice.below(10) {
            0..=5 if speaks.is_channels() => Then::Wait,
            0..=5 => Then::HalfClose,
            6 | 7 => Then::Wait,
            8 => Then::Abort(wait),
            _ => Then::Drop(wait),
        };
        let reads = match dice.below(20) {
            13 if may_be_late && !speaks.is_channels() => Reads::Late(late_by(dice)),
            14..=17 => Reads::Slowly(dice.pick(&[2000, 300])),
            18 | 19 => Reads::Until(dice.size(most)),
            _ => Reads::All,
        };
        let mut this = Self {
            id,
            start: millis(dice, 4000),
            app: App {
                sends,
                piece: dice.pick(&[16 * KB, KB, 100, 64 * KB]).max(sends / 20),
                pause,
                then,
                reads,
                patience: Duration::from_secs(dice.range(20, 60)),
            },
            pod,
            app_rules: [socket_rule(dice), socket_rule(dice)],
            pod_rules: [socket_rule(dice), socket_rule(dice)],
        };
        if this.ends_well(speaks) {
            this.app.patience = Duration::from_secs(3600);
        }
        this
    }

    /// An upload that is heard to its end.
    fn uploads(&mut self, dice: &mut Dice) {
        self.pod = Pod::Answer(Duration::ZERO, dice.size(256));
        (self.app.then, self.app.reads) = (Then::HalfClose, Reads::All);
        self.app.patience = Duration::from_secs(3600);
        self.app_rules[0].capacity = dice.pick(&[1 << 10, 300]);
    }

    /// The pod fails while it is written to.
    fn is_reset(&mut self, dice: &mut Dice) {
        self.app.sends = dice.range(4 * KB, 64 * KB);
        let after = dice.below(self.app.sends / 2);
        let (says, last) = (dice.size(256), dice.pick(&[100, 10]));
        self.pod = Pod::Reset { after, says, last };
        self.app.reads = Reads::All;
        self.pod_rules[0].capacity = 300;
    }

    /// All that the pod says, and its end, waits for a reader who is late.
    fn is_read_late(&mut self, dice: &mut Dice, volume: Volume) {
        self.pod = Pod::Source(amount(dice, volume.most));
        self.app.then = Then::HalfClose;
        self.app.reads = if volume.late {
            Reads::Late(late_by(dice))
        } else {
            Reads::Slowly(300)
        };
        self.app.patience = Duration::from_secs(3600);
    }

    /// Both ends do their part: on a sound link the connection must end well.
    pub(super) fn ends_well(&self, speaks: Speaks) -> bool {
        let reads = !matches!(self.app.reads, Reads::Until(_));
        let ends = match (self.pod, self.app.then) {
            (Pod::Source(_), Then::Wait) => true,
            // A channel cannot say that the application has ended: only pods that end by themselves.
            _ if speaks.is_channels() => false,
            (Pod::Echo | Pod::Answer(..) | Pod::Source(_), Then::HalfClose) => true,
            _ => false,
        };
        reads && ends
    }
}
