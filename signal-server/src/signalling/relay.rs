//! From client to client: what is handed on, what is dropped, and with whom.

use std::ops::ControlFlow;

use fugitive_signal::{Signal, ToClient};

use super::{POLICY, Signalling, State};
use crate::{
    backlog::TOO_MUCH,
    cluster::abroad::Deliver,
    matchmaker::{Conn, Output},
    metrics,
    socket::{Outgoing, Unsent},
    ticket::Id,
};

impl Signalling {
    /// Hands a signal on as it stands: the server has no business with what is in it.
    pub(super) fn relay(
        &self,
        (conn, sender): (Conn, &Outgoing),
        to: &str,
        signal: &[u8],
        message: &[u8],
    ) -> ControlFlow<()> {
        let now = self.now();
        let way = self.with(|state, out| {
            if !state.matchmaker.heard(conn, now, out) {
                return Err(ControlFlow::Break(()));
            }
            let abroad = state.abroad.as_ref();
            if abroad.is_some_and(|abroad| abroad.say(conn, to, message)) {
                return Err(ControlFlow::Continue(()));
            }
            let way = state.matchmaker.way(conn, to, now, out);
            let (from, to) = way.ok_or(ControlFlow::Continue(()))?;
            if let Some(abroad) = abroad.filter(|abroad| abroad.is_guest(to)) {
                let envelope = fugitive_signal::envelope(&from.to_string());
                abroad.relay(to, &envelope, signal);
                return Err(ControlFlow::Continue(()));
            }
            let outgoing = state.outgoing.get(&to).cloned();
            Ok((from, to, outgoing.ok_or(ControlFlow::Continue(()))?))
        });
        let (from, to, outgoing) = match way {
            Ok(way) => way,
            Err(flow) => return flow,
        };
        let envelope = fugitive_signal::envelope(&from.to_string());
        match outgoing.relay_now(&[&envelope, signal], &sender.backlog) {
            Ok(()) => {
                self.metrics.relayed.inc();
            }
            Err(Unsent::Deaf) => self.with(|state, out| drop_deaf(state, to, now, out)),
            Err(Unsent::TooMuch) => {
                if sender.backlog.is_first_time() {
                    tracing::warn!("signal: not relayed for {}: {TOO_MUCH}", sender.remote);
                }
                sender.send(&[&refused(TOO_MUCH)]);
            }
        }
        ControlFlow::Continue(())
    }
}

/// Sends what came from other servers for clients of ours.
pub(super) fn hand_out(state: &mut State, deliver: Vec<Deliver>, now: u64, out: &mut Vec<Output>) {
    for delivery in deliver {
        match delivery {
            Deliver::Signal(to, from, bytes) => {
                let unsent = foreign(state, from, to, &bytes, now, out);
                if unsent == Some(Unsent::TooMuch)
                    && let Some(abroad) = &state.abroad
                {
                    abroad.unread(to, from);
                }
            }
            Deliver::Message(to, message) => {
                let bytes = fugitive_signal::encode(&message);
                let sent = state.outgoing.get(&to).map(|way| way.send(&[&bytes]));
                if sent == Some(false) {
                    drop_deaf(state, to, now, out);
                }
            }
        }
    }
}

/// Sends what a guest says to a client of ours.
pub(super) fn hand_on(
    state: &mut State,
    (from, signal): (String, Signal),
    to: Conn,
    now: u64,
    out: &mut Vec<Output>,
) {
    let Ok(id) = from.parse() else { return };
    let bytes = fugitive_signal::encode(&ToClient::Signal { from, signal });
    if foreign(state, id, to, &bytes, now, out) == Some(Unsent::TooMuch)
        && let Some(to) = state.matchmaker.connection_of(id)
    {
        let why = TOO_MUCH.into();
        let message = ToClient::Refused { why };
        out.push(Output::Send { to, message });
    }
}

/// Sends what comes from a peer of another server; tells if that is not to be.
fn foreign(
    state: &mut State,
    from: Id,
    to: Conn,
    bytes: &[u8],
    now: u64,
    out: &mut Vec<Output>,
) -> Option<Unsent> {
    let outgoing = state.outgoing.get(&to)?;
    let backlog = state.foreign.entry(from).or_default();
    let unsent = outgoing.relay(&[bytes], backlog).err();
    match unsent {
        None => {
            state.metrics.relayed.inc();
        }
        Some(Unsent::Deaf) => drop_deaf(state, to, now, out),
        Some(Unsent::TooMuch) if backlog.is_first_time() => {
            tracing::warn!("signal: not relayed for a peer of another server: {TOO_MUCH}");
        }
        Some(Unsent::TooMuch) => {}
    }
    unsent
}

/// Who does not read what is sent is dropped.
pub(super) fn drop_deaf(state: &mut State, conn: Conn, now: u64, out: &mut Vec<Output>) {
    if let Some(outgoing) = state.outgoing.remove(&conn) {
        tracing::warn!("signal: dropped {}: it does not read", outgoing.remote);
        metrics::count(&state.metrics.closed, "why", "it does not read");
        outgoing.cut();
        state.matchmaker.closed(conn, now, out);
    }
}

pub(super) fn say_goodbye(outgoing: &Outgoing, why: &str) {
    outgoing.send(&[&refused(why)]);
    outgoing.close(POLICY);
}

fn refused(why: &str) -> Vec<u8> {
    fugitive_signal::encode(&ToClient::Refused { why: why.into() })
}
