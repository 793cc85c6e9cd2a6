//! One made-up visitor: a task that owns its socket and does what the crowd tells it.

use std::{
    cell::{Cell, RefCell},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

use crate::{
    crowd::Shared,
    dialect::{Heard, Me, description},
    measure::{Tally, now},
};

/// How many addresses of loopback the visitors come from: each has some 28,000 ports.
const ADDRESSES: usize = 8;
/// How long a handshake, or a server's first answer, may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// A read takes one message, which is little more than its description.
const READ: usize = 4096;

/// What the crowd tells a visitor.
#[derive(Clone, Copy, Debug)]
pub enum Command {
    /// Call somebody; it should have happened at this time.
    Dial(u64),
    /// Say that you are still there.
    Beat,
    /// Have channels with all whom it was offered.
    Connect,
    /// Go to another page: come back with the ticket, or without.
    Navigate(bool),
    /// Go away.
    Leave,
}

/// What the crowd holds of a visitor.
pub struct Peer {
    commands: UnboundedSender<Command>,
    /// Whether the server knows it now.
    pub here: Cell<bool>,
    /// Whether there is somebody whom it may call.
    pub has_partners: Cell<bool>,
}

impl Peer {
    /// Puts a visitor on its way.
    pub fn start(shared: Rc<Shared>, me: Me) -> Rc<Self> {
        let (commands, to_do) = unbounded_channel();
        let peer = Rc::new(Self {
            commands,
            here: Cell::new(false),
            has_partners: Cell::new(false),
        });
        let visitor = Visitor {
            shared,
            peer: peer.clone(),
            me: RefCell::new(me),
        };
        tokio::task::spawn_local(visitor.live(to_do));
        peer
    }

    /// Tells it.
    pub fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
    }
}

/// Why a visit ended.
enum End {
    Navigate(bool),
    Leave,
    Lost,
}

struct Visitor {
    shared: Rc<Shared>,
    peer: Rc<Peer>,
    me: RefCell<Me>,
}

impl Visitor {
    async fn live(self, mut to_do: UnboundedReceiver<Command>) {
        let mut failures = 0;
        loop {
            let end = self.visit(&mut to_do).await;
            self.peer.here.set(false);
            self.peer.has_partners.set(false);
            self.me.borrow_mut().partners.clear();
            match end {
                End::Leave => return,
                End::Navigate(with_ticket) => {
                    failures = 0;
                    let mut me = self.me.borrow_mut();
                    me.id.clear();
                    me.visits += 1;
                    if !with_ticket {
                        me.ticket = None;
                    }
                }
                End::Lost => {
                    self.me.borrow_mut().id.clear();
                    failures += 1;
                    if failures > 3 {
                        self.shared.tally().error("gave up");
                        return;
                    }
                    // Not all at once: what went away for one went away for many.
                    let pause = rand::random_range(100..2000) * failures;
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
            }
        }
    }

    async fn visit(&self, to_do: &mut UnboundedReceiver<Command>) -> End {
        let entering = self.shared.doors.acquire().await;
        let resumes = self.me.borrow().ticket.is_some();
        let entered = timeout(PATIENCE, async {
            let mut socket = self.connect().await.map_err(|error| error.to_string())?;
            let begun = now();
            let hello = self.shared.dialect.hello(&self.me.borrow());
            if let Some(hello) = hello {
                socket
                    .send(hello)
                    .await
                    .map_err(|error| error.to_string())?;
            }
            let (mut joined, mut offered) = (false, !self.shared.dialect.is_paired());
            while !(joined && offered) {
                let message = match socket.next().await {
                    Some(Ok(message)) => message,
                    Some(Err(error)) => return Err(error.to_string()),
                    None => return Err("closed before the welcome".to_owned()),
                };
                let heard = self
                    .shared
                    .dialect
                    .hear(&mut self.me.borrow_mut(), &message);
                match heard {
                    Heard::Joined => joined = true,
                    Heard::Offered => offered = true,
                    Heard::Refused(why) => return Err(why),
                    _ => {}
                }
            }
            let took = now() - begun;
            let tally = self.shared.tally();
            let times = if resumes { &tally.resume } else { &tally.join };
            times.borrow_mut().add(took);
            Ok(socket)
        });
        let socket = match entered.await {
            Ok(Ok(socket)) => socket,
            Ok(Err(why)) => {
                self.shared.tally().error(&why);
                return End::Lost;
            }
            Err(_) => {
                self.shared.tally().error("no welcome in time");
                return End::Lost;
            }
        };
        drop(entering);
        self.peer.here.set(true);
        self.shared.arrived.notify_one();
        match self.stay(socket, to_do).await {
            Ok(end) => end,
            Err(why) => {
                self.shared.tally().error(&why);
                End::Lost
            }
        }
    }

    async fn connect(&self) -> anyhow::Result<WebSocketStream<TcpStream>> {
        let number = self.me.borrow().number;
        let servers = &self.shared.servers;
        let turn = if self.shared.is_page_together {
            self.me.borrow().page
        } else {
            number
        };
        let server = servers[turn % servers.len()];
        let socket = TcpSocket::new_v4()?;
        if server.ip().is_loopback() {
            let last = 2 + (number % ADDRESSES) as u8;
            socket.bind(SocketAddr::new(
                IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)),
                0,
            ))?;
        }
        let stream = socket.connect(server).await?;
        stream.set_nodelay(true)?;
        let request = self
            .shared
            .dialect
            .request(&self.me.borrow(), &server.to_string())?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ)
            .write_buffer_size(0);
        let (socket, _) = client_async_with_config(request, stream, Some(config)).await?;
        Ok(socket)
    }

    async fn stay(
        &self,
        mut socket: WebSocketStream<TcpStream>,
        to_do: &mut UnboundedReceiver<Command>,
    ) -> Result<End, String> {
        let shared = &self.shared;
        loop {
            let partners = !self.me.borrow().partners.is_empty();
            self.peer
                .has_partners
                .set(partners || !shared.dialect.is_paired());
            let mut more = Vec::new();
            let say = tokio::select! {
                message = socket.next() => match message {
                    Some(Ok(Message::Close(frame))) => {
                        return Err(format!("closed by the server: {}", frame.map_or(0, |f| f.code.into())));
                    }
                    Some(Ok(message)) => self.hear(&message),
                    Some(Err(error)) => return Err(error.to_string()),
                    None => return Err("closed".to_owned()),
                },
                command = to_do.recv() => match command {
                    Some(Command::Dial(due)) => self.dial(due),
                    Some(Command::Beat) => shared.dialect.beat(&self.me.borrow()),
                    Some(Command::Connect) => {
                        more = shared.dialect.connected(&self.me.borrow());
                        None
                    }
                    Some(Command::Navigate(with_ticket)) => {
                        self.depart(socket).await;
                        return Ok(End::Navigate(with_ticket));
                    }
                    Some(Command::Leave) | None => {
                        self.depart(socket).await;
                        return Ok(End::Leave);
                    }
                },
            };
            for message in say.into_iter().chain(more) {
                socket
                    .send(message)
                    .await
                    .map_err(|error| error.to_string())?;
            }
        }
    }

    fn dial(&self, due: u64) -> Option<Message> {
        let at = now();
        let lot = rand::random_range(0..usize::MAX);
        let call = self
            .shared
            .dialect
            .offer(&self.me.borrow(), &description(at), lot);
        let tally = self.shared.tally();
        if call.is_some() {
            Tally::count(&tally.sent);
            tally.late.borrow_mut().add(at.saturating_sub(due));
        } else {
            tally.error("nobody to call");
        }
        call
    }

    fn hear(&self, message: &Message) -> Option<Message> {
        let tally = self.shared.tally();
        let heard = self.shared.dialect.hear(&mut self.me.borrow_mut(), message);
        let arrived = |at: u64| {
            Tally::count(&tally.relayed);
            tally.relay.borrow_mut().add(now().saturating_sub(at));
        };
        match heard {
            Heard::Offer(caller, at) => {
                arrived(at);
                Tally::count(&tally.sent);
                let answer = description(now());
                Some(
                    self.shared
                        .dialect
                        .answer(&self.me.borrow(), &caller, &answer),
                )
            }
            Heard::Answer(at) => {
                arrived(at);
                Tally::count(&tally.answered);
                self.shared.answered();
                None
            }
            Heard::Refused(why) => {
                tally.error(&why);
                None
            }
            Heard::Gone => {
                Tally::count(&tally.gone);
                None
            }
            Heard::Joined | Heard::Offered | Heard::Nothing => None,
        }
    }

    async fn depart(&self, mut socket: WebSocketStream<TcpStream>) {
        let farewell = self.shared.dialect.farewell(&self.me.borrow());
        if let Some(farewell) = farewell {
            let _ = socket.send(farewell).await;
        }
        let _ = timeout(Duration::from_secs(1), socket.close(None)).await;
    }
}
