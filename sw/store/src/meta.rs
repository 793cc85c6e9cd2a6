//! Small things under a name: how much is held, and what the bridge and the worker keep for their
//! next instance. Not for anything that grows.

use js_sys::Array;
use rexie::Transaction;
use serde::Serialize;
use wasm_bindgen::{JsCast, JsValue};

use crate::{
    StoreError,
    connection::{Connection, META, delete, get, put},
};

/// Keys that begin so are the store's own.
const OWN: &str = "store.";
const USAGE: &str = "store.usage";

/// How much is held. It changes in the transaction that changes what it counts, so it is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) bytes: u64,
    pub(crate) contents: u32,
}

impl Usage {
    pub(crate) async fn get(transaction: &Transaction) -> Result<Self, StoreError> {
        let record = get(transaction, META, JsValue::from_str(USAGE)).await?;
        let record = record.and_then(|record| record.dyn_into::<Array>().ok());
        Ok(record.map_or_else(Self::default, |record| Self {
            bytes: record.get(0).as_f64().unwrap_or_default() as u64,
            contents: record.get(1).as_f64().unwrap_or_default() as u32,
        }))
    }

    /// One content less, which took `bytes`.
    pub(crate) fn less(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.contents = self.contents.saturating_sub(1);
    }

    pub(crate) async fn put(self, transaction: &Transaction) -> Result<(), StoreError> {
        let record = Array::of2(
            &JsValue::from_f64(self.bytes as f64),
            &JsValue::from(self.contents),
        );
        put(transaction, META, &record, Some(&JsValue::from_str(USAGE))).await
    }
}

impl Connection {
    pub(crate) async fn look_at_usage(&self) -> Result<Usage, StoreError> {
        let usage = Usage::get(&self.reading(&[META])?).await?;
        self.usage.set(Some(usage));
        Ok(usage)
    }

    pub(crate) async fn meta_get(&self, key: &str) -> Result<Option<JsValue>, StoreError> {
        get(&self.reading(&[META])?, META, JsValue::from_str(key)).await
    }

    pub(crate) async fn meta_put(&self, key: &str, value: &JsValue) -> Result<(), StoreError> {
        own(key)?;
        let transaction = self.writing(&[META])?;
        let outcome = put(&transaction, META, value, Some(&JsValue::from_str(key))).await;
        self.finish(transaction, outcome).await
    }

    pub(crate) async fn meta_remove(&self, key: &str) -> Result<(), StoreError> {
        own(key)?;
        let transaction = self.writing(&[META])?;
        let outcome = delete(&transaction, META, JsValue::from_str(key)).await;
        self.finish(transaction, outcome).await
    }
}

pub(crate) fn serialize<T: Serialize + ?Sized>(value: &T) -> Result<JsValue, StoreError> {
    value
        .serialize(&serde_wasm_bindgen::Serializer::json_compatible())
        .map_err(|_| StoreError::limit("cannot be a record"))
}

fn own(key: &str) -> Result<(), StoreError> {
    if key.starts_with(OWN) {
        return Err(StoreError::limit("key is the store's own"));
    }
    Ok(())
}
