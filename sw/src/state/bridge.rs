//! The way to the window that holds the swarm, and what its bridge says that is not about a want.

use std::rc::Rc;

use fugitive_core::content::ContentId;
use js_sys::Array;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{Client, MessageChannel};

use super::State;
use crate::{
    link::{Peers, Told},
    log, origin,
};

impl State {
    /// A deadline was missed: if the window that held the swarm is no longer the one that does, the
    /// port is dead.
    pub fn look_again(self: &Rc<Self>) {
        let state = self.clone();
        spawn_local(async move {
            let holder = JsFuture::from(state.shell.holder()).await;
            let holder = holder.ok().and_then(|holder| holder.as_string());
            if !state.link.is_with(holder.as_deref()) {
                state.link.lost("the page that held it is gone");
            }
        });
    }

    /// A page that goes away does not always get to say so, and its port leads nowhere then.
    pub(super) async fn drop_dead_port(&self) {
        let Some(client) = self.link.client() else {
            return;
        };
        let there = JsFuture::from(self.shell.client(&client)).await;
        let is_gone = there.is_ok_and(|there| there.is_undefined());
        if is_gone && self.link.client() == Some(client) {
            self.page_went_away();
        }
    }

    /// The page that had the port; the next one's bridge is waited for anew.
    pub fn page_went_away(&self) {
        self.waiting_since.set(None);
        self.missed.set(false);
        self.link.lost("the page went away");
    }

    /// Asks the window that holds the swarm for a port, where this instance has none.
    pub async fn reach_bridge(self: &Rc<Self>) {
        if self.link.is_up() {
            return;
        }
        if let Err(error) = self.ask_for_port().await {
            log::debug(&["no port: ", &log::reason(&error)]);
        }
    }

    async fn ask_for_port(self: &Rc<Self>) -> Result<(), JsValue> {
        let holder = JsFuture::from(self.shell.holder()).await?;
        let Some(holder) = holder.as_string() else {
            return Ok(());
        };
        let client = JsFuture::from(self.shell.client(&holder)).await?;
        if client.is_undefined() || self.link.is_up() {
            return Ok(());
        }
        let channel = MessageChannel::new()?;
        let message = js_sys::Object::new();
        js_sys::Reflect::set(&message, &"fugitive".into(), &"port".into())?;
        client
            .unchecked_into::<Client>()
            .post_message_with_transfer(&message, &Array::of1(&channel.port2()))?;
        let port = channel.port1();
        self.link.take(port, &holder, false, self.clone());
        Ok(())
    }
}

impl Told for State {
    fn peers(self: Rc<Self>, peers: Peers) {
        self.tell_origin();
        if let Peers::Here(_) = peers {
            self.missed.set(false);
            match self.waiting_since.take() {
                Some(since) => self.pace.borrow_mut().peers_came(origin::clock() - since),
                None => self.pace.borrow_mut().peers_are_here(),
            }
            // The next instance waits for peers only if it knows that there were some.
            self.save_soon();
        }
    }

    fn near(self: Rc<Self>, near: Vec<(ContentId, u32)>) {
        spawn_local(async move {
            if let Some(store) = self.store().await
                && let Err(error) = store.set_near(near).await
            {
                self.store_failed(&error);
            }
        });
    }

    fn manifest(self: Rc<Self>) {
        spawn_local(async move {
            let store = self.store.borrow().clone();
            self.catalogue.refresh(store, true).await;
            if !self.catalogue.is_wanted() {
                self.leave();
            }
        });
    }
}
