//! What a caller of the store can do when it fails, and what the browser's errors mean by that.

use idb::Error as Idb;
use wasm_bindgen::{JsCast, JsValue};

/// Why the store did not do it. In every case the page goes on: a request is answered from
/// elsewhere, and what was to be written is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The browser gives us no database: storage is forbidden, full or broken, or a later version
    /// of the client has it. Go on without a store.
    #[error("no database: {0}")]
    Unavailable(String),
    /// This connection has ended: the database was deleted, or another version upgrades it. Open
    /// again; it may be empty.
    #[error("the database is gone")]
    Gone,
    /// It is not held, or was found damaged and removed. Get it from elsewhere.
    #[error("not held")]
    Missing,
    /// There is no room, not even after making some. Go on without writing.
    #[error("no room")]
    Quota,
    /// This content has its part of the budget. What is held of it stays; put no more.
    #[error("content is too large for the budget")]
    TooLarge,
    /// What lies in the database is not what was written, and could not be removed. Delete the
    /// database when it happens again.
    #[error("the database is damaged")]
    Damaged,
    /// A limit of the store, or an error of the browser that has no other name; in words, for the
    /// log.
    #[error("{0}")]
    Other(String),
}

impl StoreError {
    pub(crate) fn limit(words: &str) -> Self {
        Self::Other(words.to_owned())
    }
}

impl From<rexie::Error> for StoreError {
    fn from(error: rexie::Error) -> Self {
        match error {
            rexie::Error::IdbError(error) => error.into(),
            _ => Self::limit("transaction failed"),
        }
    }
}

impl From<Idb> for StoreError {
    fn from(error: Idb) -> Self {
        match error {
            Idb::IndexedDbNotFound(value) | Idb::IndexedDbOpenFailed(value) => {
                Self::Unavailable(words(&value))
            }
            Idb::DomException(exception) => named(exception.as_ref()),
            Idb::TransactionOpenFailed(value)
            | Idb::ObjectStoreNotFound(value)
            | Idb::IndexNotFound(value)
            | Idb::GetFailed(value)
            | Idb::GetAllFailed(value)
            | Idb::GetAllKeysFailed(value)
            | Idb::UpdateFailed(value)
            | Idb::DeleteFailed(value)
            | Idb::KeyRangeCreateFailed(value)
            | Idb::RequestResultNotFound(value)
            | Idb::IndexedDbDeleteFailed(value) => named(&value),
            _ => Self::limit("IndexedDB failed"),
        }
    }
}

/// What a DOMException means to a caller.
fn named(value: &JsValue) -> StoreError {
    match name(value).as_str() {
        "QuotaExceededError" => StoreError::Quota,
        // A connection that was closed under us says so when a transaction is opened; one that is
        // closed during a transaction aborts it. We abort none that still has a reader.
        "InvalidStateError" | "TransactionInactiveError" | "AbortError" => StoreError::Gone,
        // Chromium keeps large records in files of their own, and these can be lost.
        "NotFoundError" | "NotReadableError" | "UnknownError" | "DataError" => StoreError::Damaged,
        _ => StoreError::Other(words(value)),
    }
}

/// An error of opening, where nothing can be retried on the connection.
pub(crate) fn opening(error: rexie::Error) -> StoreError {
    match error {
        rexie::Error::IdbError(Idb::DomException(exception)) => {
            StoreError::Unavailable(words(exception.as_ref()))
        }
        error => match StoreError::from(error) {
            StoreError::Unavailable(words) | StoreError::Other(words) => {
                StoreError::Unavailable(words)
            }
            _ => StoreError::Unavailable("cannot be opened".to_owned()),
        },
    }
}

fn name(value: &JsValue) -> String {
    if value.is_object() {
        value.unchecked_ref::<js_sys::Error>().name().into()
    } else {
        String::new()
    }
}

fn words(value: &JsValue) -> String {
    if value.is_object() {
        let mut words = name(value);
        words.push_str(": ");
        words.push_str(&String::from(
            value.unchecked_ref::<js_sys::Error>().message(),
        ));
        words
    } else {
        "IndexedDB is not there".to_owned()
    }
}
