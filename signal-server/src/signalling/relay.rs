//! From client to client: what is handed on, what is dropped, and with whom.

use std::ops::ControlFlow;

use fugitive_signal::ToClient;

use super::{POLICY, Signalling, State};
use crate::{
    cluster::abroad::Deliver,
    matchmaker::{Conn, Output},
    metrics,
    socket::{Outgoing, Unsent},
};

/// To a sender.
const TOO_MUCH: &str = "too much of what you sent waits to be read by others";

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
        match outgoing.relay(&[&envelope, signal], &sender.backlog) {
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
        let (conn, bytes) = match delivery {
            Deliver::Bytes(conn, bytes) => (conn, bytes),
            Deliver::Message(conn, message) => (conn, fugitive_signal::encode(&message)),
        };
        let sent = state.outgoing.get(&conn).map(|way| way.send(&[&bytes]));
        if sent == Some(false) {
            drop_deaf(state, conn, now, out);
        }
    }
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
