//! What lies in a visitor's store, seen from a page: records read and changed behind the worker's back.

use anyhow::Result;
use serde_json::json;

use crate::browser::Visitor;

const ALL: &str = r"(async (name) => {
  // To open a database that is not there would make an empty one.
  if (!(await indexedDB.databases()).some(({ name }) => name === 'fugitive')) return [];
  return new Promise((done, failed) => {
    const opening = indexedDB.open('fugitive');
    opening.onerror = failed;
    opening.onsuccess = () => {
      const database = opening.result;
      const all = database.transaction(name).objectStore(name).getAll();
      all.onerror = failed;
      all.onsuccess = () => (database.close(), done(all.result));
    };
  });
})";

const CHANGE: &str = r"(name, change) => new Promise((done, failed) => {
  const opening = indexedDB.open('fugitive');
  opening.onerror = failed;
  opening.onsuccess = () => {
    const database = opening.result;
    const transaction = database.transaction(name, 'readwrite');
    transaction.objectStore(name).openCursor().onsuccess = ({ target }) => {
      const cursor = target.result;
      if (!cursor) return;
      const record = cursor.value;
      change(record);
      cursor.update(record);
      cursor.continue();
    };
    transaction.onabort = failed;
    transaction.oncomplete = () => (database.close(), done(null));
  };
})";

/// All records of an object store, as an expression that is a promise.
pub fn all(store: &str) -> String {
    format!("{ALL}({})", json!(store))
}

impl Visitor {
    /// Does this, a statement, to each `record` of an object store.
    pub async fn change_records(&self, store: &str, change: &str) -> Result<()> {
        let store = json!(store);
        self.eval(&format!("({CHANGE})({store}, (record) => {{ {change} }})"))
            .await
    }
}
