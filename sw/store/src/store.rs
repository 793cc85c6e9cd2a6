//! What others call. Each call runs to its end on the connection, waited for or not.

use std::{
    future::Future,
    ops::Range,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use fugitive_core::{content::ContentId, deflate::Kept};
use js_sys::Uint8Array;
use serde::{Serialize, de::DeserializeOwned};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::spawn_local;

use crate::{
    Content, Hit, Resource, StoreError, Stored,
    connection::{Connection, delete_database},
    meta::serialize,
    write::Write,
};

const NAME: &str = "fugitive";

/// A connection to the database. Clones share it; the last one to go closes it.
///
/// It ends when another context deletes or upgrades the database: it gives way at once and every
/// later call is [`StoreError::Gone`].
#[derive(Clone)]
pub struct Store(Rc<Connection>);

impl Store {
    /// Opens the site's database, and makes it if there is none.
    pub async fn open() -> Result<Self, StoreError> {
        Self::open_named(NAME).await
    }

    /// Opens a database of another name, for tests.
    pub async fn open_named(name: &str) -> Result<Self, StoreError> {
        let name = name.to_owned();
        let opening = Call::new(async move { Connection::open(&name).await });
        Ok(Self(Rc::new(opening.await?)))
    }

    /// Deletes the site's database and all that is in it. Connections give way.
    pub async fn delete() -> Result<(), StoreError> {
        Self::delete_named(NAME).await
    }

    /// Deletes a database of another name, for tests.
    pub async fn delete_named(name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        Call::new(async move { delete_database(&name).await }).await
    }

    /// Closes the connection for all clones; every later call is [`StoreError::Gone`].
    pub fn close(&self) {
        self.0.close();
    }

    /// Bytes that all contents together may take. Applies to what is written from now on.
    pub fn set_budget(&self, bytes: u64) {
        self.0.budget.set(bytes);
    }

    /// The response that is held for a URL, without its bytes.
    pub fn resource(&self, url: &str) -> Call<Option<Resource>> {
        let url = url.to_owned();
        self.call(|on| async move { on.resource(&url).await })
    }

    /// The response that is held for a URL and, if it is no longer than a block, its bytes.
    pub fn hit(&self, url: &str) -> Call<Option<Hit>> {
        self.hit_expecting(url, None)
    }

    /// The same, sooner where it is the content that is expected, if that is no longer than a block.
    pub fn hit_expecting(&self, url: &str, expect: Option<ContentId>) -> Call<Option<Hit>> {
        let url = url.to_owned();
        self.call(move |on| async move { on.hit(&url, expect).await })
    }

    /// The bytes of a content that is no longer than a block, if all are held: what a hit takes where it
    /// is known what is under its URL.
    pub fn small(&self, id: &ContentId, len: u64) -> Call<Option<Uint8Array>> {
        let id = *id;
        self.call(move |on| async move { on.small(&id, len).await })
    }

    /// The bytes of a run of groups, at most [`MAX_GROUPS`](crate::MAX_GROUPS);
    /// [`StoreError::Missing`] unless all are held.
    pub fn read(&self, id: &ContentId, len: u64, groups: Range<u32>) -> Call<Vec<u8>> {
        let id = *id;
        self.call(move |on| async move { on.read(&id, len, groups).await })
    }

    /// A run of groups as they are kept, at most [`MAX_GROUPS`](crate::MAX_GROUPS), to be sent;
    /// [`StoreError::Missing`] unless all are held.
    pub fn read_kept(&self, id: &ContentId, len: u64, groups: Range<u32>) -> Call<Vec<Kept>> {
        let id = *id;
        self.call(move |on| async move { on.read_kept(&id, len, groups).await })
    }

    /// What is held of a content.
    pub fn content(&self, id: &ContentId) -> Call<Option<Content>> {
        let id = *id;
        self.call(move |on| async move { on.content(&id).await })
    }

    /// All contents that may be served to peers.
    pub fn holdings(&self) -> Call<Vec<Content>> {
        self.call(|on| async move { on.holdings().await })
    }

    /// The hash tree of a content, in pre-order, if it is held.
    pub fn outboard(&self, id: &ContentId) -> Call<Option<Vec<u8>>> {
        let id = *id;
        self.call(move |on| async move { on.outboard(&id).await })
    }

    /// Puts a response, whose bytes come by [`Store::put_groups`] or are held already.
    pub fn put_resource(&self, resource: Resource) -> Call<Stored> {
        self.call(|on| async move { on.put(Write::response(resource, Vec::new())).await })
    }

    /// Puts a response and all its bytes, at most [`MAX_GROUPS`](crate::MAX_GROUPS) groups.
    pub fn put_whole(&self, resource: Resource, groups: Vec<Kept>) -> Call<Stored> {
        self.call(|on| async move {
            let write = Write::response(resource, groups);
            write.check_whole()?;
            on.put(write).await
        })
    }

    /// Puts verified groups of a content, from `first` on, beside those that are held. `shared`
    /// says that it may be served to peers; once said it stays so until [`Store::set_shared`].
    /// Cheapest when the groups are whole blocks.
    pub fn put_groups(
        &self,
        id: &ContentId,
        len: u64,
        first: u32,
        groups: Vec<Kept>,
        shared: bool,
    ) -> Call<Stored> {
        let write = Write {
            resource: None,
            id: *id,
            len,
            first,
            groups,
            shared,
        };
        self.call(|on| async move { on.put(write).await })
    }

    /// Keeps the hash tree of a content that is held, in pre-order.
    pub fn put_outboard(&self, id: &ContentId, outboard: Vec<u8>) -> Call<()> {
        let id = *id;
        self.call(move |on| async move { on.put_outboard(&id, &outboard).await })
    }

    /// Says whether a content may be served to peers, where it is held.
    pub fn set_shared(&self, id: &ContentId, shared: bool) -> Call<()> {
        let id = *id;
        self.call(move |on| async move { on.set_shared(&id, shared).await })
    }

    /// Says that contents were used now, so that they are evicted later. At most 256, later ones are
    /// left out; unknown ones are ignored.
    pub fn touch(&self, ids: Vec<ContentId>) -> Call<()> {
        self.call(|on| async move { on.touch(&ids).await })
    }

    /// Says how many peers have these contents: what is rare among them is evicted later. At most 256,
    /// later ones are left out; unknown ones are ignored.
    pub fn set_near(&self, near: Vec<(ContentId, u32)>) -> Call<()> {
        self.call(|on| async move { on.set_near(&near).await })
    }

    /// Writes down what these responses may be answered by before any wasm runs
    /// ([`Resource::cold`]); what is held for their URLs by now may be something else, and then stays.
    pub fn put_cold(&self, resources: Vec<Resource>) -> Call<()> {
        self.call(|on| async move { on.put_cold(&resources).await })
    }

    /// Removes a response. Its bytes stay until they are evicted: other URLs may have them, and a
    /// page may be reading them.
    pub fn remove_resource(&self, url: &str) -> Call<()> {
        let url = url.to_owned();
        self.call(|on| async move { on.remove_resource(&url).await })
    }

    /// Removes a content, and the responses and the hash tree that belong to it.
    pub fn remove(&self, id: &ContentId) -> Call<()> {
        let id = *id;
        self.call(move |on| async move { on.remove(&id).await })
    }

    /// Evicts what is least worth until `bytes` more fit into the budget, and says what went.
    /// Several transactions.
    pub fn make_room(&self, bytes: u64) -> Call<Vec<ContentId>> {
        self.call(move |on| async move { on.make_room(bytes).await })
    }

    /// Bytes that all contents together take.
    pub fn usage(&self) -> Call<u64> {
        self.call(|on| async move { Ok(on.look_at_usage().await?.bytes) })
    }

    /// The value under `key`; nothing if there is none or it is not a `T`.
    pub async fn meta_get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let value = self.meta_get_js(key).await?;
        Ok(value.and_then(|value| serde_wasm_bindgen::from_value(value).ok()))
    }

    /// Puts a value under `key`.
    pub async fn meta_put<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
    ) -> Result<(), StoreError> {
        self.meta_put_js(key, serialize(value)?).await
    }

    /// The value under `key`, for what only the browser can read, such as an `RTCCertificate`.
    pub fn meta_get_js(&self, key: &str) -> Call<Option<JsValue>> {
        let key = key.to_owned();
        self.call(|on| async move { on.meta_get(&key).await })
    }

    /// Puts a value under `key`, for what only the browser can write.
    pub fn meta_put_js(&self, key: &str, value: JsValue) -> Call<()> {
        let key = key.to_owned();
        self.call(|on| async move { on.meta_put(&key, &value).await })
    }

    /// Removes the value under `key`.
    pub fn meta_remove(&self, key: &str) -> Call<()> {
        let key = key.to_owned();
        self.call(|on| async move { on.meta_remove(&key).await })
    }

    fn call<T, F>(&self, work: impl FnOnce(Rc<Connection>) -> F) -> Call<T>
    where
        F: Future<Output = Result<T, StoreError>> + 'static,
    {
        Call::new(work(self.0.clone()))
    }
}

/// A call of the store: a future that runs to its end even when it is dropped on the way.
///
/// A transaction whose next request nobody makes commits what it has, which would be half of a
/// write, and an event for a request that nobody waits for is an error in the console. A call that
/// was never polled does nothing.
pub struct Call<T: 'static> {
    work: Option<Work<T>>,
    begun: bool,
}

type Work<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>>>>;

impl<T> Call<T> {
    fn new(work: impl Future<Output = Result<T, StoreError>> + 'static) -> Self {
        Self {
            work: Some(Box::pin(work)),
            begun: false,
        }
    }
}

impl<T> Future for Call<T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.begun = true;
        let Some(work) = &mut self.work else {
            return Poll::Pending;
        };
        let outcome = work.as_mut().poll(context);
        if outcome.is_ready() {
            self.work = None;
        }
        outcome
    }
}

impl<T> Drop for Call<T> {
    fn drop(&mut self) {
        if let (Some(work), true) = (self.work.take(), self.begun) {
            spawn_local(async move {
                let _ = work.await;
            });
        }
    }
}
