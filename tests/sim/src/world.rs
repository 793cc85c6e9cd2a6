//! The event loop: visitors come, look at pages and go; everything else follows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fugitive_core::{
    engine::{Engine, Input, PeerId, Read},
    hedge::Pace,
    port::WantId,
};
use fugitive_server::matchmaker::Conn;
use fugitive_signal::{Signal, ToClient, ToServer};
use slotmap::{SlotMap, new_key_type};

pub use crate::parcel::Message;
use crate::{
    Time,
    clock::{Clock, mix},
    link::{Link, LinkKey},
    log::Log,
    net::{Net, NetEvent, Note, PipeKey},
    origin::Fetch,
    people::{Gives, Person},
    player::Player,
    prefetch::{Ahead, Coming, Stocked},
    signal::Server,
    site::{Content, Site},
    told::Told,
    worker::Request,
    workload::Workload,
};

new_key_type! {
    /// A response of the origin on its way.
    pub struct FetchKey;
}

/// As `page-bridge` sets `bufferedAmountLowThreshold`, in bytes.
const LOW_WATER: u64 = fugitive_core::engine::LOW_WATER;
/// Between two looks of the matchmaker at who is silent.
const TICK: Time = 5_000_000;

/// After this a page counts as loaded, whatever it still waits for.
const LOADING: Time = 5_000_000;

/// A page of a visitor, or its bridge by the page that it began with; what is meant for an earlier
/// one finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// Which visitor.
    pub who: usize,
    /// Which of its pages.
    pub look: usize,
}

/// What happens.
pub enum Event {
    /// On a link.
    Net(NetEvent),
    /// A page is navigated to.
    Comes(At),
    /// A page is left.
    Leaves(At),
    /// An image is asked for: its place in the page's list.
    Image(At, usize),
    /// The video is started.
    Play(At),
    /// The player has played a little.
    Player(At),
    /// The worker of a first visit takes control.
    Control(At),
    /// The bridge takes its first step.
    Bridge(At),
    /// The bridge's socket opened.
    Socket(At),
    /// The engine wanted to be woken.
    Wake(At),
    /// A request waited for long enough.
    Timer(At, u32),
    /// The bridge says something of a want.
    Told(usize, WantId, Told),
    /// The bridge says how it stands with peers.
    Peers(At, Peers),
    /// The store has read.
    Read(At, u32, Content, std::ops::Range<u32>),
    /// A message reached the signal server.
    ToServer(Conn, Box<ToServer>),
    /// A client's socket closed, at the server.
    SocketClosed(Conn),
    /// A message of the signal server reached a client.
    ToClient(At, Conn, Box<ToClient>),
    /// The client shows that it is there.
    Heartbeat(At),
    /// The matchmaker looks at who is silent.
    Tick,
    /// A connection of ours has something to say to the other side.
    Signal(At, PeerId, Vec<u8>),
    /// Peers relayed what another's connection has to say.
    Signalled(At, PeerId, Box<Signal>),
    /// The page has loaded.
    Loaded(At),
    /// It is time to fetch what may be wanted next.
    Ahead(At),
    /// A link to this page is pressed.
    Presses(At),
    /// And what nobody had of it, again.
    Prefetch(At),
    /// A visitor gives less or more than before.
    Reconfigure(At),
    /// Two dialled each other, and it worked or not.
    Linked(LinkKey, bool),
    /// The other end of a link learns that it is over.
    HungUp(LinkKey, usize),
    /// The origin begins to answer.
    Answers(FetchKey),
    /// The origin learns that nobody wants its answer any more.
    Aborted(FetchKey),
}

impl From<NetEvent> for Event {
    fn from(event: NetEvent) -> Self {
        Self::Net(event)
    }
}

/// What the worker knows of peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    /// No bridge yet.
    Unknown,
    /// There is a bridge, and none yet.
    Coming,
    /// There is a bridge, and none to be had.
    None,
    /// Open.
    Here,
}

/// What a visitor has beyond a page.
pub struct Visitor {
    /// Learnt of the origin and its peers.
    pub pace: Pace,
    /// To come back to the signal server as who it was.
    pub ticket: Option<String>,
    /// Runs of groups held.
    pub store: BTreeMap<Content, Vec<(u32, u32)>>,
    /// The origin's warm connection.
    pub origin: PipeKey,
    /// What the worker has learnt of the origin: its first byte, in milliseconds.
    pub learnt: Option<f64>,
    /// What was fetched ahead and not shown yet.
    pub stocked: BTreeMap<Content, Stocked>,
    /// What an earlier page began to fetch ahead.
    pub left_behind: BTreeMap<WantId, Coming>,
    /// Whether its page still loads.
    pub loads: bool,
    /// Which page it is at.
    pub look: usize,
    /// That page.
    pub page: Option<Page>,
    /// Of this page, or one that is still open.
    pub bridge: Option<Bridge>,
    /// The page that it began with.
    pub since: usize,
    /// The last number given.
    pub last_want: WantId,
}

/// What ends with a page.
pub struct Page {
    /// What the worker knows.
    pub peers: Peers,
    /// When the page first asked for something of which peers may have a part.
    pub first_request: Option<Time>,
    /// When verified bytes last came.
    pub bytes_at: Option<Time>,
    /// By their number.
    pub requests: BTreeMap<u32, Request>,
    /// Whose each want is.
    pub wants: BTreeMap<WantId, u32>,
    /// If there is a video.
    pub player: Option<Player>,
    /// What is fetched ahead: the want under way, and what comes after it.
    pub ahead: Ahead,
}

/// What holds the swarm: of a page, and with it gone, or of a tab that stays open beside it.
pub struct Bridge {
    /// Its engine.
    pub engine: Engine,
    /// When it will be woken.
    pub wake: Option<Time>,
    /// By the signal server.
    pub me: Option<PeerId>,
    /// The socket.
    pub conn: Option<Conn>,
    /// The server knows where the visitor was before.
    pub said_been: bool,
    /// And that it serves.
    pub said_serves: bool,
    /// Begun or open.
    pub links: BTreeMap<PeerId, LinkKey>,
    /// Sent to since the engine last heard what their channels have buffered.
    pub sent_to: BTreeSet<PeerId>,
    /// What it last said.
    pub peers: Peers,
}

/// All there is.
pub struct World<'a> {
    pub(crate) workload: &'a Workload,
    pub(crate) site: &'a Site,
    pub(crate) people: &'a [Person],
    pub(crate) seed: u64,
    /// Whether there is Fugitive.
    pub(crate) together: bool,
    pub(crate) clock: Clock<Event>,
    pub(crate) net: Net,
    pub(crate) visitors: Vec<Visitor>,
    pub(crate) links: SlotMap<LinkKey, Link>,
    pub(crate) pipes: HashMap<PipeKey, (LinkKey, usize)>,
    pub(crate) fetches: SlotMap<FetchKey, Fetch>,
    pub(crate) server: Server,
    /// Who holds anything of a content.
    pub(crate) holders: BTreeMap<Content, BTreeSet<usize>>,
    /// Who is called what; only ever looked up.
    pub(crate) names: HashMap<PeerId, usize>,
    pub(crate) log: Log,
    left: usize,
}

impl<'a> World<'a> {
    /// Before the first visitor.
    pub fn new(
        workload: &'a Workload,
        site: &'a Site,
        people: &'a [Person],
        seed: u64,
        together: bool,
    ) -> Self {
        let buffer = (workload.world.buffer_ms * 1e3) as Time;
        let jitter = match workload.world.jitter_ms {
            crate::workload::Dist::Exponential(mean) => mean * 1e3,
            _ => 0.0,
        };
        let mut net = Net::new(buffer, jitter, LOW_WATER);
        let mut visitors = Vec::with_capacity(people.len());
        let mut clock = Clock::default();
        for (who, person) in people.iter().enumerate() {
            net.node(person.up, person.down);
            let way = workload.world.between_ms[person.region][workload.origin.region];
            let way = person.access + (way * 1e3) as Time;
            let origin = net.pipe(None, who, way, person.loss, mix(seed, who as u64));
            visitors.push(Visitor {
                pace: Pace::default(),
                ticket: None,
                store: BTreeMap::new(),
                origin,
                learnt: None,
                stocked: BTreeMap::new(),
                left_behind: BTreeMap::new(),
                loads: false,
                look: 0,
                page: None,
                bridge: None,
                since: 0,
                last_want: 0,
            });
            clock.at(person.comes(), Event::Comes(At { who, look: 0 }));
        }
        if together {
            clock.at(0, Event::Tick);
        }
        Self {
            workload,
            site,
            people,
            seed,
            together,
            clock,
            net,
            visitors,
            links: SlotMap::with_key(),
            pipes: HashMap::new(),
            fetches: SlotMap::with_key(),
            server: Server::new(seed),
            holders: BTreeMap::new(),
            names: HashMap::new(),
            log: Log::new(people.len()),
            left: people.len(),
        }
    }

    /// To the end of the last visit.
    pub fn run(mut self, progress: &mut dyn FnMut(&str)) -> Log {
        let last = self.people.iter().map(Person::leaves).max().unwrap_or(0);
        let mut told = 0;
        while self.left > 0
            && let Some(event) = self.clock.turn()
        {
            self.happens(event);
            let tenth = self.clock.now() * 10 / last.max(1);
            if tenth > told {
                told = tenth;
                progress(&format!(
                    "{} % of {} s, {} events",
                    tenth * 10,
                    last / 1_000_000,
                    self.clock.events()
                ));
            }
        }
        self.log.events = self.clock.events();
        self.log.seconds = self.clock.now() as f64 / 1e6;
        self.log
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Net(event) => match self.net.happened(event, &mut self.clock) {
                None => {}
                Some(Note::Message(pipe, message)) => self.message_came(pipe, message),
                Some(Note::Body(fetch, bytes)) => self.body_came(fetch, bytes),
                Some(Note::Low(pipe)) => self.ran_low(pipe),
            },
            Event::Comes(at) => self.comes(at),
            Event::Leaves(at) => self.leaves(at),
            Event::Image(at, index) => self.image(at, index),
            Event::Play(at) => self.play(at),
            Event::Player(at) => self.played(at),
            Event::Control(at) => self.adopt(at),
            Event::Bridge(at) => self.start_bridge(at),
            Event::Socket(at) => self.join(at),
            Event::Wake(at) => self.woken(at),
            Event::Timer(at, number) => self.timer(at, number),
            Event::Told(who, want, told) => self.told(who, want, told),
            Event::Peers(at, peers) => self.told_peers(at, peers),
            Event::Read(at, ticket, content, groups) => self.has_read(at, ticket, content, groups),
            Event::ToServer(conn, message) => self.server_hears(conn, *message),
            Event::SocketClosed(conn) => self.server_loses(conn),
            Event::ToClient(at, conn, message) => self.client_hears(at, conn, *message),
            Event::Heartbeat(at) => self.heartbeat(at),
            Event::Tick => {
                self.server_ticks();
                self.clock.after(TICK, Event::Tick);
            }
            Event::Signal(at, to, signal) => {
                if self.bridge(at).is_some() {
                    self.tell(at.who, Input::Signal { to, signal });
                }
            }
            Event::Signalled(at, from, signal) => {
                if self.bridge(at).is_some() {
                    self.signalled(at, &from, *signal);
                }
            }
            Event::Loaded(at) => self.loaded(at),
            Event::Presses(at) => self.presses(at),
            Event::Ahead(at) => self.begin_prefetch(at),
            Event::Prefetch(at) => self.prefetch(at),
            Event::Reconfigure(at) => {
                if self.bridge(at).is_some() {
                    self.reconfigure(at.who);
                }
            }
            Event::Linked(link, well) => self.linked(link, well),
            Event::HungUp(link, side) => self.hung_up(link, side),
            Event::Answers(fetch) => self.origin_answers(fetch),
            Event::Aborted(fetch) => self.origin_aborts(fetch),
        }
    }

    /// In milliseconds, as the engine counts.
    pub(crate) fn ms(&self) -> u64 {
        self.clock.now() / 1_000
    }

    /// The page, if it is still there.
    pub(crate) fn page(&mut self, at: At) -> Option<&mut Page> {
        let visitor = &mut self.visitors[at.who];
        visitor.page.as_mut().filter(|_| visitor.look == at.look)
    }

    /// The bridge, if it is still there.
    pub(crate) fn bridge(&mut self, at: At) -> Option<&mut Bridge> {
        let visitor = &mut self.visitors[at.who];
        visitor.bridge.as_mut().filter(|_| visitor.since == at.look)
    }

    /// What a visitor's bridge is known by.
    pub(crate) fn here(&self, who: usize) -> At {
        At {
            who,
            look: self.visitors[who].since,
        }
    }

    /// One way between two visitors.
    pub(crate) fn way(&self, a: usize, b: usize) -> Time {
        let (a, b) = (&self.people[a], &self.people[b]);
        let between = self.workload.world.between_ms[a.region][b.region];
        a.access + b.access + (between * 1e3) as Time
    }

    fn comes(&mut self, at: At) {
        let person = &self.people[at.who];
        let look = &person.looks[at.look];
        let visitor = &mut self.visitors[at.who];
        visitor.look = at.look;
        visitor.loads = visitor.bridge.is_none();
        let bridge = visitor.bridge.as_ref();
        visitor.page = Some(Page {
            peers: bridge.map_or(Peers::Unknown, |bridge| bridge.peers),
            first_request: None,
            bytes_at: None,
            requests: BTreeMap::new(),
            wants: BTreeMap::new(),
            player: None,
            ahead: Ahead::default(),
        });
        if at.look == 0 {
            self.bring(at.who);
        }
        for (index, (when, _)) in look.images.iter().enumerate() {
            self.clock.at(*when, Event::Image(at, index));
        }
        if let Some(play) = look.play {
            self.clock.at(play, Event::Play(at));
        }
        if self.together && look.bridge < look.left {
            self.clock.at(look.bridge, Event::Bridge(at));
        }
        if self.together && person.worker > look.at && person.worker < look.left {
            self.clock.at(person.worker, Event::Control(at));
        }
        self.clock.at(look.html + LOADING, Event::Loaded(at));
        self.clock.at(look.left, Event::Leaves(at));
        if self.together
            && self.people[at.who].tabs
            && at.look + 1 < self.people[at.who].looks.len()
        {
            let press = (self.workload.browser.press_ms * 1e3) as Time;
            let next = At {
                look: at.look + 1,
                ..at
            };
            self.clock
                .at(look.left.saturating_sub(press), Event::Presses(next));
        }
        self.log.comes(self.clock.now(), at.look == 0);
    }

    fn leaves(&mut self, at: At) {
        let look = &self.people[at.who].looks[at.look];
        let is_last = at.look + 1 == self.people[at.who].looks.len();
        self.abandon_all(at);
        if is_last || !self.people[at.who].tabs {
            let bridge = self.here(at.who);
            self.close_all(bridge, look.silently);
            self.visitors[at.who].bridge = None;
        }
        if let Some(page) = self.visitors[at.who].page.take() {
            self.log.page_ends(at.who, &page);
        }
        if is_last {
            self.left -= 1;
            self.clear(at.who);
            self.net.close(self.visitors[at.who].origin);
        } else {
            let next = At {
                who: at.who,
                look: at.look + 1,
            };
            self.clock.after(0, Event::Comes(next));
        }
        self.log.leaves(self.clock.now(), is_last);
    }

    /// Tells an engine something and does what follows.
    pub(crate) fn tell(&mut self, who: usize, input: Input) {
        let now = self.ms();
        if let Some(bridge) = self.visitors[who].bridge.as_mut() {
            bridge.engine.handle(input, now);
            self.carry_out(who);
        }
    }

    fn has_read(&mut self, at: At, ticket: u32, content: Content, run: std::ops::Range<u32>) {
        if self.bridge(at).is_none() {
            return;
        }
        let resource = self.site.content(content);
        let kept = |group| fugitive_core::deflate::Kept {
            bytes: resource.run(group..group + 1).to_vec(),
            deflated: false,
        };
        let read = Read {
            groups: run.map(kept).collect(),
            outboard: resource.outboard().clone(),
        };
        let read = Some(read);
        self.tell(at.who, Input::Read { ticket, read });
    }

    /// Whether this visitor gives others what it holds.
    pub(crate) fn gives(&self, who: usize) -> Gives {
        self.people[who].gives
    }
}
