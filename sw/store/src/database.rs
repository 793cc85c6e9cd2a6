//! The connection, its transactions and its keys. Not for what is kept under them.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use fugitive_core::content::ContentId;
use js_sys::Array;
use rexie::{KeyRange, ObjectStore, Rexie, Transaction, TransactionMode, TransactionResult};
use wasm_bindgen::JsValue;

use crate::{DEFAULT_BUDGET, StoreError, error::opening, meta::Usage};

pub(crate) const RESOURCES: &str = "resources";
pub(crate) const CONTENTS: &str = "contents";
pub(crate) const BLOCKS: &str = "blocks";
pub(crate) const OUTBOARDS: &str = "outboards";
pub(crate) const META: &str = "meta";
pub(crate) const EVERYTHING: &[&str] = &[RESOURCES, CONTENTS, BLOCKS, OUTBOARDS, META];

/// Index of `resources` by content id.
pub(crate) const BY_ID: &str = "id";
/// Index of `contents` by the time of last use.
pub(crate) const BY_USE: &str = "used";

const NAME: &str = "fugitive";
const VERSION: u32 = 1;

/// A connection to the database. Clones share it; the last one to go closes it.
///
/// It ends when another context deletes or upgrades the database: it gives way at once and every
/// later call is [`StoreError::Gone`].
#[derive(Clone)]
pub struct Store(pub(crate) Rc<Connection>);

pub(crate) struct Connection {
    database: RefCell<Option<Rexie>>,
    pub(crate) budget: Cell<u64>,
    /// As the last transaction of this connection that looked found it.
    pub(crate) usage: Cell<Option<Usage>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(database) = self.database.take() {
            database.close();
        }
    }
}

impl Store {
    /// Opens the site's database, and makes it if there is none.
    pub async fn open() -> Result<Self, StoreError> {
        Self::open_named(NAME).await
    }

    /// Opens a database of another name, for tests.
    pub async fn open_named(name: &str) -> Result<Self, StoreError> {
        let mut database = build(name).await?;
        if !is_ours(&database) {
            // The name is taken by something with our version that we cannot use. It is a cache:
            // start anew.
            database.close();
            Self::delete(name).await?;
            database = build(name).await?;
        }
        Ok(Self(Rc::new(Connection {
            database: RefCell::new(Some(database)),
            budget: Cell::new(DEFAULT_BUDGET),
            usage: Cell::new(None),
        })))
    }

    /// Deletes the database `name` and all that is in it. Connections give way.
    pub async fn delete(name: &str) -> Result<(), StoreError> {
        Rexie::delete(name).await.map_err(opening)
    }

    /// Closes the connection for all clones; every later call is [`StoreError::Gone`].
    pub fn close(&self) {
        if let Some(database) = self.0.database.take() {
            database.close();
        }
    }

    /// Bytes that all contents together may take. Applies to what is written from now on.
    pub fn set_budget(&self, bytes: u64) {
        self.0.budget.set(bytes);
    }

    pub(crate) fn reading(&self, stores: &[&str]) -> Result<Transaction, StoreError> {
        self.begin(stores, TransactionMode::ReadOnly)
    }

    pub(crate) fn writing(&self, stores: &[&str]) -> Result<Transaction, StoreError> {
        self.begin(stores, TransactionMode::ReadWrite)
    }

    fn begin(&self, stores: &[&str], mode: TransactionMode) -> Result<Transaction, StoreError> {
        match self.0.database.borrow().as_ref() {
            Some(database) => Ok(database.transaction(stores, mode)?),
            None => Err(StoreError::Gone),
        }
    }
}

async fn build(name: &str) -> Result<Rexie, StoreError> {
    Rexie::builder(name)
        .version(VERSION)
        .add_object_store(
            ObjectStore::new(RESOURCES)
                .key_path("url")
                .add_index(rexie::Index::new(BY_ID, "id")),
        )
        .add_object_store(
            ObjectStore::new(CONTENTS)
                .key_path("id")
                .add_index(rexie::Index::new(BY_USE, "used")),
        )
        .add_object_store(ObjectStore::new(BLOCKS))
        .add_object_store(ObjectStore::new(OUTBOARDS))
        .add_object_store(ObjectStore::new(META))
        .build()
        .await
        .map_err(opening)
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

/// Ends a transaction that wrote: all of it if `outcome` is good, else none of it.
pub(crate) async fn finish<T>(
    transaction: Transaction,
    outcome: Result<T, StoreError>,
) -> Result<T, StoreError> {
    match outcome {
        Err(error) => {
            // Fails if the browser has aborted it already.
            let _ = transaction.abort().await;
            Err(error)
        }
        Ok(value) => match transaction.done().await? {
            TransactionResult::Committed => Ok(value),
            // All requests succeeded and nobody aborted it: the disk or the quota did at the
            // commit. Which of them, the binding does not say.
            TransactionResult::Aborted => Err(StoreError::Quota),
        },
    }
}

pub(crate) fn content_key(id: &ContentId) -> JsValue {
    JsValue::from_str(&id.to_hex())
}

pub(crate) fn block_key(id: &JsValue, block: u32) -> JsValue {
    Array::of2(id, &JsValue::from(block)).into()
}

/// Blocks `first..=last` of a content.
pub(crate) fn block_range(id: &JsValue, first: u32, last: u32) -> Result<KeyRange, StoreError> {
    Ok(KeyRange::bound(
        &block_key(id, first),
        &block_key(id, last),
        None,
        None,
    )?)
}
