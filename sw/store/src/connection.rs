//! The connection, its transactions and its keys. Not for what is kept under them.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use fugitive_core::content::ContentId;
use js_sys::Array;
use rexie::{Index, KeyRange, ObjectStore, Rexie, Transaction, TransactionMode, TransactionResult};
use wasm_bindgen::JsValue;

use crate::{DEFAULT_BUDGET, StoreError, error::opening, meta::Usage, together::Together};

pub(crate) const RESOURCES: &str = "resources";
pub(crate) const CONTENTS: &str = "contents";
pub(crate) const BLOCKS: &str = "blocks";
pub(crate) const OUTBOARDS: &str = "outboards";
pub(crate) const META: &str = "meta";
pub(crate) const EVERYTHING: &[&str] = &[RESOURCES, CONTENTS, BLOCKS, OUTBOARDS, META];

/// Index of `resources` by content id.
pub(crate) const BY_ID: &str = "id";

const VERSION: u32 = 1;

/// One open database.
pub(crate) struct Connection {
    database: RefCell<Option<Rexie>>,
    pub(crate) budget: Cell<u64>,
    /// As the last transaction of this connection that looked found it.
    pub(crate) usage: Cell<Option<Usage>>,
    /// The last transaction that others may read in.
    pub(crate) together: RefCell<Option<Rc<Together>>>,
    /// Evicted for a write that then failed; the next one that does not says so.
    pub(crate) unreported: Cell<Vec<ContentId>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

impl Connection {
    pub(crate) async fn open(name: &str) -> Result<Self, StoreError> {
        let mut database = build(name).await?;
        if !is_ours(&database) {
            // The name is taken by something with our version that we cannot use. It is a cache:
            // start anew.
            database.close();
            delete_database(name).await?;
            database = build(name).await?;
        }
        Ok(Self {
            database: RefCell::new(Some(database)),
            budget: Cell::new(DEFAULT_BUDGET),
            usage: Cell::new(None),
            together: RefCell::default(),
            unreported: Cell::default(),
        })
    }

    pub(crate) fn close(&self) {
        if let Some(database) = self.database.take() {
            database.close();
        }
    }

    pub(crate) fn reading(&self, stores: &[&str]) -> Result<Transaction, StoreError> {
        self.begin(stores, TransactionMode::ReadOnly)
    }

    pub(crate) fn writing(&self, stores: &[&str]) -> Result<Transaction, StoreError> {
        self.begin(stores, TransactionMode::ReadWrite)
    }

    /// Ends a transaction that wrote: all of it if `outcome` is good, else none of it.
    pub(crate) async fn finish<T>(
        &self,
        transaction: Transaction,
        outcome: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match outcome {
            Ok(value) => match transaction.done().await? {
                TransactionResult::Committed => Ok(value),
                TransactionResult::Aborted => Err(self.why_aborted()),
            },
            // The browser has aborted it.
            Err(StoreError::Gone) => Err(self.why_aborted()),
            Err(error) => {
                // Fails if the browser was first.
                let _ = transaction.abort().await;
                Err(error)
            }
        }
    }

    /// Why the browser aborted a transaction, which the binding does not say: with the connection,
    /// or for want of room.
    fn why_aborted(&self) -> StoreError {
        match self.reading(&[META]) {
            Ok(_) => StoreError::Quota,
            Err(error) => error,
        }
    }

    fn begin(&self, stores: &[&str], mode: TransactionMode) -> Result<Transaction, StoreError> {
        match self.database.borrow().as_ref() {
            Some(database) => Ok(database.transaction(stores, mode)?),
            None => Err(StoreError::Gone),
        }
    }
}

async fn build(name: &str) -> Result<Rexie, StoreError> {
    let resources = ObjectStore::new(RESOURCES).key_path("url");
    Rexie::builder(name)
        .version(VERSION)
        .add_object_store(resources.add_index(Index::new(BY_ID, "id")))
        .add_object_store(ObjectStore::new(CONTENTS).key_path("id"))
        .add_object_store(ObjectStore::new(BLOCKS))
        .add_object_store(ObjectStore::new(OUTBOARDS))
        .add_object_store(ObjectStore::new(META))
        .build()
        .await
        .map_err(opening)
}

/// Deletes the database `name`; connections to it give way.
pub(crate) async fn delete_database(name: &str) -> Result<(), StoreError> {
    Rexie::delete(name).await.map_err(opening)
}

fn is_ours(database: &Rexie) -> bool {
    let names = database.store_names();
    EVERYTHING
        .iter()
        .all(|store| names.iter().any(|name| name == store))
}

pub(crate) async fn get(
    transaction: &Transaction,
    store: &str,
    key: JsValue,
) -> Result<Option<JsValue>, StoreError> {
    Ok(transaction.store(store)?.get(key).await?)
}

pub(crate) async fn put(
    transaction: &Transaction,
    store: &str,
    value: &JsValue,
    key: Option<&JsValue>,
) -> Result<(), StoreError> {
    transaction.store(store)?.put(value, key).await?;
    Ok(())
}

pub(crate) async fn delete(
    transaction: &Transaction,
    store: &str,
    key: JsValue,
) -> Result<(), StoreError> {
    Ok(transaction.store(store)?.delete(key).await?)
}

pub(crate) fn content_key(id: &ContentId) -> JsValue {
    JsValue::from_str(&id.to_hex())
}

pub(crate) fn block_key(id: &JsValue, block: u32) -> JsValue {
    Array::of2(id, &JsValue::from(block)).into()
}

/// Blocks `first..=last` of a content.
pub(crate) fn block_range(id: &JsValue, first: u32, last: u32) -> Result<KeyRange, StoreError> {
    let (first, last) = (block_key(id, first), block_key(id, last));
    Ok(KeyRange::bound(&first, &last, None, None)?)
}
