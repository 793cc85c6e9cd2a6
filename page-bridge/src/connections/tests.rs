//! Two windows' halves in one window, with real connections; the test is their signal server and
//! may be as late and as out of order as it likes.

use fugitive_signal::Signal;
use js_sys::{Function, Promise};
use wasm_bindgen::closure::Closure;
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};
use web_sys::{RtcDataChannel, RtcDataChannelState};

use super::*;
use crate::talk;

wasm_bindgen_test_configure!(run_in_browser);

/// One window's half, and what it told its host.
struct Side {
    me: PeerId,
    connections: Rc<Connections>,
    told: Rc<RefCell<Vec<ToHost>>>,
    channels: Rc<RefCell<Vec<(LinkId, RtcDataChannel)>>>,
    _post: Closure<dyn FnMut(JsValue, JsValue)>,
}

impl Side {
    fn new(me: &str) -> Self {
        let told = Rc::new(RefCell::new(Vec::new()));
        let channels = Rc::new(RefCell::new(Vec::new()));
        let (telling, opening) = (told.clone(), channels.clone());
        let post = Closure::<dyn FnMut(JsValue, JsValue)>::new(move |message, _| {
            let (message, beside) = talk::read(message).unwrap();
            if let ToHost::Channel { link, .. } = &message {
                let channel: RtcDataChannel = beside.unchecked_into();
                opening.borrow_mut().push((*link, channel));
            }
            telling.borrow_mut().push(message);
        });
        let line = Line::new(post.as_ref().unchecked_ref::<Function>().clone());
        let connections = Connections::new(line, false);
        connections.joined(me.into(), &[]);
        Self {
            me: me.into(),
            connections,
            told,
            channels,
            _post: post,
        }
    }

    /// The signals that wait to be relayed.
    fn signals(&self) -> Vec<Signal> {
        let mut told = self.told.borrow_mut();
        let signals = told.extract_if(.., |message| matches!(message, ToHost::Signal { .. }));
        signals
            .map(|message| match message {
                ToHost::Signal { signal, .. } => signal,
                _ => unreachable!(),
            })
            .collect()
    }

    fn hear(&self, from: &Side, signals: Vec<Signal>) {
        for signal in signals {
            self.connections.signalled(from.me.clone(), signal);
        }
    }

    fn channel(&self) -> RtcDataChannel {
        self.channels.borrow().last().unwrap().1.clone()
    }

    fn is_open(&self) -> bool {
        let channels = self.channels.borrow();
        let newest = channels.last();
        newest.is_some_and(|(_, channel)| channel.ready_state() == RtcDataChannelState::Open)
    }

    fn closed(&self) -> usize {
        let told = self.told.borrow();
        let closed = |message: &&ToHost| matches!(message, ToHost::Closed { .. });
        told.iter().filter(closed).count()
    }
}

async fn pause() {
    let mut timeout = None;
    let waited = Promise::new(&mut |done, _| {
        timeout = Some(Timeout::new(10, move || {
            let _ = done.call0(&JsValue::NULL);
        }));
    });
    JsFuture::from(waited).await.unwrap();
}

/// Relays until both are open.
async fn open(a: &Side, b: &Side) {
    for _ in 0..500 {
        b.hear(a, a.signals());
        a.hear(b, b.signals());
        if a.is_open() && b.is_open() {
            return;
        }
        pause().await;
    }
    panic!("did not open");
}

/// What one sends the other hears: both have their end of the same connection.
async fn talks(from: &Side, to: &Side) {
    let heard = Rc::new(Cell::new(false));
    let hearing = heard.clone();
    let _listener = EventListener::new(&to.channel(), "message", move |_| hearing.set(true));
    from.channel().send_with_str("hello").unwrap();
    for _ in 0..500 {
        if heard.get() {
            return;
        }
        pause().await;
    }
    panic!("was not heard");
}

#[wasm_bindgen_test]
async fn one_dials_and_both_are_open() {
    let (a, b) = (Side::new("a"), Side::new("b"));
    a.connections.dial("b".into());
    open(&a, &b).await;
    talks(&a, &b).await;
    talks(&b, &a).await;
}

#[wasm_bindgen_test]
async fn offers_that_cross_end_in_the_connection_of_the_greater_id() {
    let (a, b) = (Side::new("a"), Side::new("b"));
    a.connections.dial("b".into());
    b.connections.dial("a".into());
    let (mut from_a, mut from_b) = (Vec::new(), Vec::new());
    while from_a.is_empty() || from_b.is_empty() {
        pause().await;
        from_a.extend(a.signals());
        from_b.extend(b.signals());
    }
    a.hear(&b, from_b);
    b.hear(&a, from_a);
    open(&a, &b).await;
    talks(&a, &b).await;
    assert_eq!(a.channels.borrow().len(), 2, "the smaller id gave way");
    assert_eq!(b.channels.borrow().len(), 1, "the greater did not");
    assert_eq!((a.closed(), b.closed()), (0, 0), "and nobody had to know");
}

#[wasm_bindgen_test]
async fn candidates_that_come_before_the_description_are_kept() {
    let (a, b) = (Side::new("a"), Side::new("b"));
    a.connections.dial("b".into());
    let mut held = Vec::new();
    for _ in 0..500 {
        b.hear(&a, a.signals());
        held.extend(b.signals());
        if held.len() > 1 {
            break;
        }
        pause().await;
    }
    held.reverse();
    a.hear(&b, held);
    open(&a, &b).await;
    talks(&a, &b).await;
}

#[wasm_bindgen_test]
async fn offer_of_a_peers_next_page_takes_the_place_of_what_stood() {
    let (a, b) = (Side::new("a"), Side::new("b"));
    a.connections.dial("b".into());
    open(&a, &b).await;
    let before = a.channel();
    // Nothing of b is closed: as far as a knows it still stands.
    let next = Side::new("b");
    next.connections.dial("a".into());
    open(&a, &next).await;
    talks(&a, &next).await;
    talks(&next, &a).await;
    assert_ne!(before.ready_state(), RtcDataChannelState::Open);
}

#[wasm_bindgen_test]
async fn attempt_is_given_up_when_the_peer_is_gone_and_a_connection_is_not() {
    let (a, b) = (Side::new("a"), Side::new("b"));
    a.connections.dial("nobody".into());
    a.connections.gone(&"nobody".into());
    assert_eq!(a.closed(), 1);
    a.connections.dial("b".into());
    open(&a, &b).await;
    let link = a.channels.borrow().last().unwrap().0;
    a.connections.opened(&"b".into(), link);
    a.connections.gone(&"b".into());
    talks(&a, &b).await;
}

#[wasm_bindgen_test]
async fn garbage_from_a_peer_ends_its_connection_and_no_other() {
    let (a, b) = (Side::new("a"), Side::new("b"));
    let garbage = |kind: &str| Signal::Description {
        kind: kind.into(),
        sdp: "v=0\r\nnonsense".into(),
    };
    a.connections.dial("b".into());
    open(&a, &b).await;
    for kind in ["offer", "answer", "pranswer", ""] {
        a.connections.signalled("mallory".into(), garbage(kind));
    }
    a.connections.signalled(
        "mallory".into(),
        Signal::Candidate {
            candidate: "nonsense".into(),
            mid: None,
            line: Some(9),
        },
    );
    while a.closed() == 0 {
        pause().await;
    }
    assert_eq!(a.closed(), 1);
    // The newest channel is mallory's, and closed.
    a.channels.borrow_mut().truncate(1);
    talks(&a, &b).await;
}

#[wasm_bindgen_test]
fn more_connections_than_there_may_be_are_refused() {
    let a = Side::new("a");
    for peer in 0..MAX_LINKS {
        a.connections.dial(peer.to_string());
    }
    assert_eq!((a.channels.borrow().len(), a.closed()), (MAX_LINKS, 0));
    a.connections.dial("one more".into());
    assert_eq!((a.channels.borrow().len(), a.closed()), (MAX_LINKS, 1));
    a.connections.close_all();
    let channels = a.channels.borrow();
    let is_open = |(_, channel): &&(LinkId, RtcDataChannel)| {
        channel.ready_state() == RtcDataChannelState::Open
    };
    assert!(!channels.iter().any(|channel| is_open(&channel)));
}
