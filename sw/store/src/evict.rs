//! Making room: whole contents go, least recently used first, with all that belongs to them.

use fugitive_core::content::ContentId;
use rexie::{KeyRange, Transaction};
use wasm_bindgen::JsValue;

use crate::{
    Content, MAX_CONTENTS, Store, StoreError,
    database::{
        BLOCKS, BY_ID, BY_USE, CONTENTS, EVERYTHING, OUTBOARDS, RESOURCES, block_range,
        content_key, delete, finish,
    },
    meta::Usage,
    read,
};

/// Contents that one transaction evicts; requests of pages wait for its end.
const AT_ONCE: u32 = 32;
/// When something must go, this part of the budget is freed, so that not every write must evict.
const SPARE_PART: u64 = 16;

impl Store {
    /// Evicts what was used longest ago until `bytes` more fit into the budget, and says what went.
    /// Several transactions.
    pub async fn make_room(&self, bytes: u64) -> Result<Vec<ContentId>, StoreError> {
        let target = Usage {
            bytes: self.0.budget.get().saturating_sub(bytes),
            contents: MAX_CONTENTS,
        };
        self.evict_to(target, None).await
    }

    /// Removes a content, and the responses and the hash tree that belong to it.
    pub async fn remove(&self, id: &ContentId) -> Result<(), StoreError> {
        let transaction = self.writing(EVERYTHING)?;
        let outcome = async {
            let mut usage = Usage::get(&transaction).await?;
            let key = content_key(id);
            if let Some(content) = read::content(&transaction, key.clone()).await? {
                usage.less(content.kept);
            }
            drop_content(&transaction, key).await?;
            usage.put(&transaction).await?;
            Ok(usage)
        }
        .await;
        let usage = finish(transaction, outcome).await?;
        self.0.usage.set(Some(usage));
        Ok(())
    }

    /// Evicts if `bytes` more of content `except` would not fit into the budget.
    pub(crate) async fn reserve(
        &self,
        bytes: u64,
        except: &ContentId,
    ) -> Result<Vec<ContentId>, StoreError> {
        let usage = match self.0.usage.get() {
            Some(usage) => usage,
            None => self.look_at_usage().await?,
        };
        let budget = self.0.budget.get();
        if usage.bytes.saturating_add(bytes) <= budget && usage.contents < MAX_CONTENTS {
            return Ok(Vec::new());
        }
        let target = Usage {
            bytes: budget.saturating_sub(bytes + budget / SPARE_PART),
            contents: MAX_CONTENTS - MAX_CONTENTS / SPARE_PART as u32,
        };
        self.evict_to(target, Some(except)).await
    }

    /// Evicts because the browser has no room for `bytes` more, whatever the budget is.
    pub(crate) async fn give_back(
        &self,
        bytes: u64,
        except: &ContentId,
    ) -> Result<Vec<ContentId>, StoreError> {
        let usage = self.look_at_usage().await?;
        let target = Usage {
            bytes: usage
                .bytes
                .saturating_sub(bytes.max(usage.bytes / SPARE_PART)),
            contents: usage.contents,
        };
        self.evict_to(target, Some(except)).await
    }

    async fn evict_to(
        &self,
        target: Usage,
        except: Option<&ContentId>,
    ) -> Result<Vec<ContentId>, StoreError> {
        let mut evicted = Vec::new();
        loop {
            let transaction = self.writing(EVERYTHING)?;
            let outcome = evict(&transaction, target, except).await;
            let (some, usage, done) = finish(transaction, outcome).await?;
            self.0.usage.set(Some(usage));
            evicted.extend(some);
            if done {
                return Ok(evicted);
            }
        }
    }
}

/// Evicts some contents: which, what is left, and whether that is enough or all that can be done.
async fn evict(
    transaction: &Transaction,
    target: Usage,
    except: Option<&ContentId>,
) -> Result<(Vec<ContentId>, Usage, bool), StoreError> {
    let enough = |usage: &Usage| usage.bytes <= target.bytes && usage.contents <= target.contents;
    let mut usage = Usage::get(transaction).await?;
    let mut evicted = Vec::new();
    if enough(&usage) {
        return Ok((evicted, usage, true));
    }
    let oldest = transaction.store(CONTENTS)?.index(BY_USE)?;
    let keys = oldest.get_all_keys(None, Some(AT_ONCE)).await?;
    let records = oldest.get_all(None, Some(AT_ONCE)).await?;
    let fewer = (keys.len() as u32) < AT_ONCE;
    for (key, record) in keys.into_iter().zip(records) {
        if enough(&usage) {
            break;
        }
        let content: Option<Content> = serde_wasm_bindgen::from_value(record).ok();
        let id = content.as_ref().map(|content| content.id);
        if id.is_some() && id.as_ref() == except {
            continue;
        }
        drop_content(transaction, key).await?;
        // A record that cannot be read goes too; what it counted is unknown.
        usage.less(content.map_or(0, |content| content.kept));
        evicted.extend(id);
    }
    if fewer && !enough(&usage) && except.is_none() {
        // Nothing is left.
        usage = Usage::default();
    }
    let done = fewer || enough(&usage);
    usage.put(transaction).await?;
    Ok((evicted, usage, done))
}

/// Removes all that belongs to a content.
async fn drop_content(transaction: &Transaction, key: JsValue) -> Result<(), StoreError> {
    let resources = transaction.store(RESOURCES)?;
    let urls = resources
        .index(BY_ID)?
        .get_all_keys(Some(KeyRange::only(&key)?), None)
        .await?;
    for url in urls {
        resources.delete(url).await?;
    }
    let blocks = block_range(&key, 0, u32::MAX)?;
    delete(transaction, BLOCKS, blocks.into()).await?;
    delete(transaction, OUTBOARDS, key.clone()).await?;
    delete(transaction, CONTENTS, key).await
}
