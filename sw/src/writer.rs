//! The way into the store: what passed to the page is kept, once it is sure what it is.
//!
//! Writing does not hold the page back: a writer has a queue, and only who is far ahead of the
//! store waits for it, so that memory stays flat however long a video is.
//! Bytes from peers were verified by the bridge. Bytes from the origin are what the page gets, but
//! under the content id of the manifest only what hashes to it is stored; a part of a large
//! resource is checked against the origin's outboard.

use std::{
    cell::{Cell, RefCell},
    ops::Range,
    rc::Rc,
};

use fugitive_core::{
    content::{BLOCK, ContentId, GROUP},
    deflate::{self, Kept},
    manifest::{OUTBOARD_OVER, Variant},
    tree::Outboard,
};
use fugitive_store::{Resource, Store};
use futures_channel::{mpsc, oneshot};
use futures_util::{
    StreamExt,
    future::{Either, select},
};
use gloo::timers::future::TimeoutFuture;
use js_sys::Uint8Array;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{Headers, RequestInit};

use crate::{answer::Head, cold, log, memory::Recent, origin, state::State};

/// A whole resource up to this length is collected and hashed at once, in bytes.
const COLLECT: u64 = 1 << 20;
/// Unlisted resources are collected up to this length, in bytes.
const UNLISTED: u64 = 16 << 20;
/// Runs that may wait to be written; each is at most a block, so this is 16 MiB.
const QUEUE: usize = 64;
/// A store that takes none of them for this long is left behind, in milliseconds.
const STUCK: u32 = 2_000;
/// The outboard is fetched in pieces of this many bytes.
const OUTBOARD_PIECE: u64 = 256 << 10;

/// Takes an answer's bytes in order.
pub struct Writer {
    state: Rc<State>,
    way: Way,
    busy: oneshot::Sender<()>,
}

enum Way {
    /// All of it, to be hashed at the end. `id` is what it must be, if that is known.
    Whole {
        resource: Resource,
        expect: Option<ContentId>,
        bytes: Vec<u8>,
        at: u64,
    },
    /// Whole groups as they come.
    Groups {
        len: u64,
        /// Where `bytes` begins; a multiple of a group.
        start: u64,
        bytes: Vec<u8>,
        from_origin: bool,
        queue: mpsc::UnboundedSender<Run>,
        queued: Rc<Queued>,
    },
}

/// How many runs wait, and who waits for them to become fewer.
#[derive(Default)]
struct Queued {
    runs: Cell<usize>,
    fewer: RefCell<Vec<oneshot::Sender<()>>>,
}

impl Queued {
    fn one_less(&self) {
        self.runs.set(self.runs.get().saturating_sub(1));
        self.fewer.take();
    }

    fn fewer(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.fewer.borrow_mut().push(sender);
        receiver
    }
}

struct Run {
    first: u32,
    bytes: Vec<u8>,
    from_origin: bool,
}

impl Writer {
    /// For a listed resource that comes from several sources.
    pub fn parts(
        state: &Rc<State>,
        head: Rc<Head>,
        bytes: Range<u64>,
        busy: oneshot::Sender<()>,
    ) -> Self {
        let whole = bytes == (0..head.resource.len) && head.resource.len <= COLLECT;
        Self::listed(state, head, whole, busy)
    }

    /// For a listed resource that comes from the origin, from `start` on.
    pub fn from_origin(
        state: &Rc<State>,
        head: Rc<Head>,
        start: u64,
        busy: oneshot::Sender<()>,
    ) -> Self {
        let whole = start == 0 && head.resource.len <= COLLECT;
        Self::listed(state, head, whole, busy)
    }

    fn listed(state: &Rc<State>, head: Rc<Head>, whole: bool, busy: oneshot::Sender<()>) -> Self {
        let way = if whole {
            Way::Whole {
                expect: Some(head.resource.id),
                resource: head.resource.clone(),
                bytes: Vec::new(),
                at: 0,
            }
        } else {
            let (queue, runs) = mpsc::unbounded();
            let queued = Rc::<Queued>::default();
            spawn_local(keep_runs(state.clone(), head.clone(), runs, queued.clone()));
            Way::Groups {
                len: head.resource.len,
                start: 0,
                bytes: Vec::new(),
                from_origin: false,
                queue,
                queued,
            }
        };
        Self {
            state: state.clone(),
            way,
            busy,
        }
    }

    /// For a resource outside the manifest, for this visitor alone.
    pub fn unlisted(state: &Rc<State>, resource: Resource, busy: oneshot::Sender<()>) -> Self {
        Self {
            state: state.clone(),
            way: Way::Whole {
                resource,
                expect: None,
                bytes: Vec::new(),
                at: 0,
            },
            busy,
        }
    }

    /// The next bytes of the answer.
    pub fn push(&mut self, offset: u64, new: &Uint8Array, is_from_origin: bool) {
        if let Way::Groups { start, bytes, .. } = &mut self.way
            && offset != *start + bytes.len() as u64
        {
            // What lies between is held already: what came before it ends here.
            self.cut(true);
            self.clear();
        }
        match &mut self.way {
            Way::Whole { bytes, at, .. } => {
                let room = bytes.len() as u64 + u64::from(new.length()) <= UNLISTED;
                if *at == offset && room {
                    append(bytes, new);
                    *at += u64::from(new.length());
                }
            }
            Way::Groups {
                start,
                bytes,
                from_origin,
                ..
            } => {
                let mut skip = 0;
                if bytes.is_empty() {
                    // Begin with a whole group.
                    *start = offset.next_multiple_of(GROUP);
                    skip = (*start - offset).min(u64::from(new.length())) as u32;
                    *from_origin = false;
                }
                if skip < new.length() {
                    *from_origin |= is_from_origin;
                    append(bytes, &new.subarray(skip, new.length()));
                }
                self.cut(false);
            }
        }
    }

    /// Resolves when there is room for more, or the store seems stuck.
    pub async fn room(&self) {
        let Way::Groups { queued, .. } = &self.way else {
            return;
        };
        while queued.runs.get() >= QUEUE {
            let stuck = TimeoutFuture::new(STUCK);
            if let Either::Right(_) = select(queued.fewer(), stuck).await {
                return;
            }
        }
    }

    fn clear(&mut self) {
        if let Way::Groups { bytes, .. } = &mut self.way {
            bytes.clear();
        }
    }

    /// Queues what is complete: up to the end of a block, or at the end every whole group.
    fn cut(&mut self, is_last: bool) {
        let Way::Groups {
            len,
            start,
            bytes,
            from_origin,
            queue,
            queued,
        } = &mut self.way
        else {
            return;
        };
        // Who waited for room has it for all that came at once: a browser may hand over megabytes.
        let is_full = queued.runs.get() >= QUEUE;
        loop {
            let end = *start + bytes.len() as u64;
            let block_end = ((*start / BLOCK + 1) * BLOCK).min(*len);
            let to = if end >= block_end {
                block_end
            } else if is_last {
                end / GROUP * GROUP
            } else {
                return;
            };
            if to <= *start {
                return;
            }
            let rest = bytes.split_off((to - *start) as usize);
            let run = Run {
                first: (*start / GROUP) as u32,
                bytes: std::mem::replace(bytes, rest),
                from_origin: *from_origin,
            };
            *start = to;
            if !is_full && queue.unbounded_send(run).is_ok() {
                queued.runs.set(queued.runs.get() + 1);
            }
        }
    }

    /// No more bytes come.
    pub fn finish(mut self) {
        self.cut(true);
        let Self { state, way, busy } = self;
        match way {
            Way::Whole {
                mut resource,
                expect,
                bytes,
                at,
            } => {
                let complete = match expect {
                    Some(_) => at == resource.len,
                    None => at == bytes.len() as u64 && at > 0,
                };
                if !complete {
                    return;
                }
                spawn_local(async move {
                    let id = ContentId::of(&bytes);
                    if expect.is_some_and(|expected| expected != id) {
                        state.catalogue.distrust(&resource.url);
                        let store = state.store().await;
                        state.catalogue.refresh(store, true).await;
                        return;
                    }
                    resource.id = id;
                    resource.len = bytes.len() as u64;
                    put_whole(&state, resource, &bytes).await;
                    drop(busy);
                });
            }
            // The queue closes with the sender, and the worker may end when it is empty.
            Way::Groups { queue, queued, .. } => {
                drop(queue);
                spawn_local(async move {
                    while queued.runs.get() > 0 {
                        let _ = queued.fewer().await;
                    }
                    drop(busy);
                });
            }
        }
    }
}

/// Adds bytes of JavaScript's to ours.
pub fn append(bytes: &mut Vec<u8>, new: &Uint8Array) {
    let at = bytes.len();
    bytes.resize(at + new.length() as usize, 0);
    new.copy_to(&mut bytes[at..]);
}

fn keep(bytes: &[u8]) -> Vec<Kept> {
    let pays = deflate::pays(bytes);
    if bytes.is_empty() {
        return vec![deflate::keep(bytes, false)];
    }
    bytes
        .chunks(GROUP as usize)
        .map(|group| deflate::keep(group, pays))
        .collect()
}

/// Puts a resource whose bytes are all here and hash to its id.
pub async fn put_whole(state: &Rc<State>, mut resource: Resource, bytes: &[u8]) {
    let Some(store) = state.store().await else {
        return;
    };
    let own = Uint8Array::from(bytes);
    resource.cold = cold::word(state, &resource, &own).await;
    state.memory.borrow_mut().put(Recent {
        resource: resource.clone(),
        bytes: own,
        is_stated: false,
    });
    let (id, len, listed) = (resource.id, resource.len, resource.listed);
    let stored = match store.put_whole(resource, keep(bytes)).await {
        Ok(stored) if listed => stored,
        Ok(_) => return,
        Err(error) => return state.store_failed(&error),
    };
    if len > OUTBOARD_OVER {
        // Without it no part of something large can be proved to others.
        let nodes = Outboard::of(bytes).nodes().to_vec();
        if let Err(error) = store.put_outboard(&id, nodes).await {
            return state.store_failed(&error);
        }
    }
    state.stored(id, len, stored);
}

/// Puts bytes of the beginning of something large that peers sent ahead, from a group on. The tree that
/// would prove them to others comes from the origin when the page wants the rest, and with it the response:
/// until then it is held for this visitor alone.
pub async fn put_beginning(state: &Rc<State>, variant: &Variant, start: u64, bytes: &[u8]) {
    let Some(store) = state.store().await else {
        return;
    };
    let (id, len, first) = (variant.id, variant.len, (start / GROUP) as u32);
    let has_tree = matches!(store.outboard(&id).await, Ok(Some(_)));
    match store
        .put_groups(&id, len, first, keep(bytes), has_tree)
        .await
    {
        Ok(stored) if has_tree => state.stored(id, len, stored),
        Ok(stored) => state.evicted(stored.evicted),
        Err(error) => state.store_failed(&error),
    }
}

/// Writes runs of groups of one resource as they come.
async fn keep_runs(
    state: Rc<State>,
    head: Rc<Head>,
    mut runs: mpsc::UnboundedReceiver<Run>,
    queued: Rc<Queued>,
) {
    let mut writing = Writing::default();
    while let Some(run) = runs.next().await {
        if let Err(error) = writing.keep(&state, &head, run).await {
            log::debug(&[&head.resource.url, " is not kept: ", &error]);
        }
        queued.one_less();
    }
}

#[derive(Default)]
struct Writing {
    begun: bool,
    outboard: Option<Outboard>,
    outboard_tried: bool,
    refused: bool,
}

impl Writing {
    async fn keep(&mut self, state: &Rc<State>, head: &Head, run: Run) -> Result<(), String> {
        let Some(store) = state.store().await.filter(|_| !self.refused) else {
            return Ok(());
        };
        let resource = &head.resource;
        let (id, len) = (resource.id, resource.len);
        if !self.outboard_tried && len > OUTBOARD_OVER && head.bao {
            self.outboard_tried = true;
            self.outboard = outboard(state, &store, id, len).await?;
        }
        match &self.outboard {
            Some(outboard) => {
                for (group, bytes) in run.bytes.chunks(GROUP as usize).enumerate() {
                    let group = run.first + group as u32;
                    outboard
                        .check(group, bytes)
                        .map_err(|bad| bad.to_string())?;
                }
            }
            None if run.from_origin => return Ok(()), // Nothing proves what it is.
            None => {}
        }
        let fail = |error: fugitive_store::StoreError| {
            state.store_failed(&error);
            error.to_string()
        };
        if !self.begun {
            store.put_resource(resource.clone()).await.map_err(fail)?;
        }
        let groups = keep(&run.bytes);
        let stored = store
            .put_groups(&id, len, run.first, groups, resource.listed)
            .await
            .map_err(|error| {
                self.refused = true;
                fail(error)
            })?;
        if !self.begun {
            self.begun = true;
            if let Some(outboard) = &self.outboard {
                let nodes = outboard.nodes().to_vec();
                store.put_outboard(&id, nodes).await.map_err(fail)?;
            }
        }
        if resource.listed {
            state.stored(id, len, stored);
        }
        Ok(())
    }
}

/// The outboard of a content, from the store or from the origin, every node of it checked.
async fn outboard(
    state: &Rc<State>,
    store: &Store,
    id: ContentId,
    len: u64,
) -> Result<Option<Outboard>, String> {
    if let Ok(Some(nodes)) = store.outboard(&id).await
        && let Ok(outboard) = Outboard::checked(id, len, nodes)
    {
        return Ok(Some(outboard));
    }
    let url = state.catalogue.outboard_url(&id);
    let size = Outboard::size(len) as u64;
    let mut nodes = Vec::with_capacity(size as usize);
    while (nodes.len() as u64) < size {
        let start = nodes.len() as u64;
        let piece = outboard_piece(&url, start, (start + OUTBOARD_PIECE).min(size));
        let piece = piece.await.map_err(|error| log::reason(&error))?;
        if piece.length() == 0 || start + u64::from(piece.length()) > size {
            return Err("its outboard has another length".into());
        }
        append(&mut nodes, &piece);
    }
    Outboard::checked(id, len, nodes)
        .map(Some)
        .map_err(|bad| ["its outboard is wrong: ", &bad.to_string()].concat())
}

async fn outboard_piece(url: &str, start: u64, end: u64) -> Result<Uint8Array, JsValue> {
    let headers = Headers::new()?;
    let range = ["bytes=", &start.to_string(), "-", &(end - 1).to_string()];
    headers.set("range", &range.concat())?;
    let init = RequestInit::new();
    init.set_headers(&headers);
    let response = origin::fetch(url, &init).await?;
    let whole = response.status() == 200 && start == 0;
    if response.status() != 206 && !whole {
        return Err(["outboard: status ", &response.status().to_string()]
            .concat()
            .into());
    }
    let buffer = JsFuture::from(response.array_buffer()?).await?;
    Ok(Uint8Array::new(buffer.unchecked_ref::<JsValue>()))
}
