//! Reading from the store what a peer asked for, with the hash tree that proves it.
//!
//! Small contents are hashed here, from their bytes; the tree of a large one lies in the store beside
//! it, and is checked against the content id before anything is proved by it.
//!
//! The store keeps blocks, and peers are sent pieces of them, as many of them as pull at the same time: a
//! block is read once for all of its pieces.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    ops::Range,
    rc::Rc,
};

use fugitive_core::{
    content::{ContentId, GROUPS_PER_BLOCK, group_count},
    deflate::Kept,
    engine::Read,
    manifest::OUTBOARD_OVER,
    manners::Ledger,
    tree::{BadProof, Outboard},
};
use fugitive_store::{Content, Store, StoreError};
use futures_util::future::{FutureExt, LocalBoxFuture, Shared};

use crate::log;

/// Under which the store keeps what was served today.
const LEDGER: &str = "ledger";
/// Trees that are kept, the last used last.
const MAX_TREES: usize = 16;
/// The largest tree that is kept, in bytes: that of 4 GiB of content.
const MAX_TREE: usize = 16 << 20;
/// Blocks that are kept, the last begun last: two megabytes.
const MAX_BLOCKS: usize = 8;

/// The groups of a block, if all that there are of it are held; whoever asks while it is read waits for
/// the same.
type Groups = Shared<LocalBoxFuture<'static, Option<Rc<[Kept]>>>>;

/// Why a peer gets nothing of a content; the engine then no longer says that we have it.
#[derive(Debug, thiserror::Error)]
pub enum NotServed {
    /// The store has no such groups, or no store is there.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The tree is not of this content.
    #[error("{0}")]
    Tree(#[from] BadProof),
    /// A large content whose tree was not stored, or one too large to serve.
    #[error("no tree")]
    NoTree,
}

/// The store as the host reads it.
#[derive(Default)]
pub struct Serve {
    /// Opened when it is first needed, and again after it was taken from us.
    store: RefCell<Option<Store>>,
    warned: Cell<bool>,
    trees: RefCell<Vec<Rc<Outboard>>>,
    blocks: RefCell<VecDeque<((ContentId, u32), Groups)>>,
}

impl Serve {
    /// What may be served; nothing where there is no store.
    pub async fn holdings(&self) -> Vec<Content> {
        let held = async { self.store().await?.holdings().await }.await;
        held.unwrap_or_else(|error| {
            self.failed(&error);
            Vec::new()
        })
    }

    /// What was served today, as far as that was written down.
    pub async fn ledger(&self) -> Option<Ledger> {
        let kept = async { self.store().await?.meta_get(LEDGER).await }.await;
        kept.unwrap_or_else(|error| {
            self.failed(&error);
            None
        })
    }

    /// Writes it down for the next page.
    pub async fn keep_ledger(&self, ledger: Ledger) {
        let kept = async { self.store().await?.meta_put(LEDGER, &ledger).await }.await;
        if let Err(error) = kept {
            self.failed(&error);
        }
    }

    /// Groups as they are kept, and their tree.
    pub async fn read(
        &self,
        id: &ContentId,
        len: u64,
        groups: Range<u32>,
    ) -> Result<Read, NotServed> {
        let outcome = self.try_read(id, len, groups).await;
        if let Err(NotServed::Store(error)) = &outcome {
            self.failed(error);
        }
        outcome
    }

    async fn try_read(
        &self,
        id: &ContentId,
        len: u64,
        groups: Range<u32>,
    ) -> Result<Read, NotServed> {
        let store = self.store().await?;
        let outboard = self.tree(&store, id, len).await?;
        let groups = match self.piece(&store, id, len, &groups).await {
            Some(groups) => groups,
            None => store.read_kept(id, len, groups).await?,
        };
        Ok(Read { groups, outboard })
    }

    /// A piece of a block that is held, which is read but once; nothing where it is no such piece.
    async fn piece(
        &self,
        store: &Store,
        id: &ContentId,
        len: u64,
        groups: &Range<u32>,
    ) -> Option<Vec<Kept>> {
        let number = groups.start / GROUPS_PER_BLOCK;
        let start = number * GROUPS_PER_BLOCK;
        let end = (start + GROUPS_PER_BLOCK).min(group_count(len));
        let within = groups.start - start..groups.end.checked_sub(start)?;
        let key = (*id, number);
        let block = self.block(&key).unwrap_or_else(|| {
            let read = store.read_kept(id, len, start..end);
            let block = async move { read.await.ok().map(Rc::from) };
            let block: Groups = block.boxed_local().shared();
            let mut blocks = self.blocks.borrow_mut();
            if blocks.len() >= MAX_BLOCKS {
                blocks.pop_front();
            }
            blocks.push_back((key, block.clone()));
            block
        });
        let groups = block.await;
        if groups.is_none() {
            // A part of it may be there, and the rest come.
            self.blocks.borrow_mut().retain(|(of, _)| *of != key);
        }
        let groups = groups?;
        let piece = groups.get(within.start as usize..within.end as usize)?;
        Some(piece.to_vec())
    }

    fn block(&self, key: &(ContentId, u32)) -> Option<Groups> {
        let blocks = self.blocks.borrow();
        let mut blocks = blocks.iter();
        let (_, groups) = blocks.find(|(of, _)| of == key)?;
        Some(groups.clone())
    }

    async fn store(&self) -> Result<Store, StoreError> {
        if let Some(store) = &*self.store.borrow() {
            return Ok(store.clone());
        }
        let store = Store::open().await?;
        self.store.replace(Some(store.clone()));
        Ok(store)
    }

    fn failed(&self, error: &StoreError) {
        match error {
            StoreError::Missing => {}
            StoreError::Gone => {
                self.store.replace(None);
            }
            error if !self.warned.replace(true) => {
                log::warn(&["peers get nothing from the store: ", &error.to_string()].concat());
            }
            _ => {}
        }
    }

    async fn tree(
        &self,
        store: &Store,
        id: &ContentId,
        len: u64,
    ) -> Result<Rc<Outboard>, NotServed> {
        if let Some(tree) = self.kept(id) {
            return Ok(tree);
        }
        let size = Outboard::size(len);
        if size > MAX_TREE {
            return Err(NotServed::NoTree);
        }
        let tree = match store.outboard(id).await? {
            Some(nodes) => Outboard::checked(*id, len, nodes)?,
            None if len > OUTBOARD_OVER => return Err(NotServed::NoTree),
            None => Outboard::of(&store.read(id, len, 0..group_count(len)).await?),
        };
        if tree.id() != *id {
            return Err(BadProof::Length.into());
        }
        let tree = Rc::new(tree);
        self.keep(&tree);
        Ok(tree)
    }

    fn kept(&self, id: &ContentId) -> Option<Rc<Outboard>> {
        let mut trees = self.trees.borrow_mut();
        let at = trees.iter().position(|tree| tree.id() == *id)?;
        let tree = trees.remove(at);
        trees.push(tree.clone());
        Some(tree)
    }

    fn keep(&self, tree: &Rc<Outboard>) {
        let mut trees = self.trees.borrow_mut();
        trees.retain(|kept| kept.id() != tree.id());
        trees.push(tree.clone());
        // Large ones count by their size, so that what is kept is bounded in bytes as well.
        let mut bytes: usize = trees.iter().map(|tree| tree.nodes().len()).sum();
        while trees.len() > MAX_TREES || (bytes > MAX_TREE && trees.len() > 1) {
            bytes -= trees.remove(0).nodes().len();
        }
    }
}

#[cfg(all(test, target_family = "wasm"))]
mod tests;
