//! Making room: whole contents go, the least worth first, with all that belongs to them. What a content
//! is worth is decided in `fugitive-core`.
//!
//! Where the disk is full the browser refuses every transaction that puts anything, however much it
//! deletes: what is evicted then is counted afterwards.

use fugitive_core::{
    content::ContentId,
    evict::{Kept, worth},
};
use futures_util::future::{join, join3};
use js_sys::Date;
use rexie::{KeyRange, Transaction};
use wasm_bindgen::JsValue;

use crate::{
    Content, MAX_CONTENTS, StoreError,
    connection::{
        BLOCKS, BY_ID, CONTENTS, Connection, META, OUTBOARDS, RESOURCES, block_range, content_key,
        delete,
    },
    meta::Usage,
};

/// Contents that one transaction evicts; requests of pages wait for its end.
const AT_ONCE: usize = 32;
/// When something must go, this part of the budget is freed, so that not every write must evict.
const SPARE_PART: u64 = 16;

/// A content that could go.
struct Candidate {
    key: JsValue,
    /// None if its record cannot be read.
    id: Option<ContentId>,
    worth: f64,
    kept: u64,
}

/// Whether an eviction is counted in the transaction that deletes.
#[derive(Clone, Copy, PartialEq)]
enum Counted {
    Now,
    Later,
}

impl Connection {
    pub(crate) async fn make_room(&self, bytes: u64) -> Result<Vec<ContentId>, StoreError> {
        let target = Usage {
            bytes: self.budget.get().saturating_sub(bytes),
            contents: MAX_CONTENTS,
        };
        self.evict_to(target, None, Counted::Now).await
    }

    pub(crate) async fn remove(&self, id: &ContentId) -> Result<(), StoreError> {
        let key = content_key(id);
        match self.drop_contents(&[&key], Counted::Now).await {
            Err(StoreError::Quota) => self.drop_contents(&[&key], Counted::Later).await,
            outcome => outcome,
        }
    }

    /// Evicts if `bytes` more of content `except` would not fit into the budget.
    pub(crate) async fn reserve(
        &self,
        bytes: u64,
        except: &ContentId,
    ) -> Result<Vec<ContentId>, StoreError> {
        let usage = match self.usage.get() {
            Some(usage) => usage,
            None => self.look_at_usage().await?,
        };
        let budget = self.budget.get();
        if usage.bytes.saturating_add(bytes) <= budget && usage.contents < MAX_CONTENTS {
            return Ok(Vec::new());
        }
        let target = Usage {
            bytes: budget.saturating_sub(bytes + budget / SPARE_PART),
            contents: MAX_CONTENTS - MAX_CONTENTS / SPARE_PART as u32,
        };
        self.evict_to(target, Some(except), Counted::Now).await
    }

    /// Evicts because the browser has no room for `bytes` more, whatever the budget is. Call
    /// [`Connection::count`] when there is room again.
    pub(crate) async fn give_back(
        &self,
        bytes: u64,
        except: &ContentId,
    ) -> Result<Vec<ContentId>, StoreError> {
        let (_, usage) = census(&self.reading(&[CONTENTS])?).await?;
        let less = bytes.max(usage.bytes / SPARE_PART);
        let target = Usage {
            bytes: usage.bytes.saturating_sub(less),
            contents: usage.contents,
        };
        self.evict_to(target, Some(except), Counted::Later).await
    }

    /// Counts anew what is held.
    pub(crate) async fn count(&self) -> Result<(), StoreError> {
        let transaction = self.writing(&[CONTENTS, META])?;
        let outcome = async {
            let (_, usage) = census(&transaction).await?;
            usage.put(&transaction).await?;
            Ok(usage)
        }
        .await;
        let usage = self.finish(transaction, outcome).await?;
        self.usage.set(Some(usage));
        Ok(())
    }

    async fn evict_to(
        &self,
        target: Usage,
        except: Option<&ContentId>,
        counted: Counted,
    ) -> Result<Vec<ContentId>, StoreError> {
        let transaction = self.reading(&[CONTENTS, META])?;
        let (there, noted) = join(census(&transaction), Usage::get(&transaction)).await;
        let (mut candidates, mut usage) = there?;
        if usage != noted? && counted == Counted::Now {
            // An eviction that was to be counted later never was.
            self.count().await?;
        }
        candidates.retain(|one| one.id.is_none() || one.id.as_ref() != except);
        let mut going = Vec::new();
        while usage.bytes > target.bytes || usage.contents > target.contents {
            // Looked for each time: a sort is four kilobytes of code, and few go of many.
            let all = candidates.iter().enumerate();
            let Some((least, _)) = all.min_by(|a, b| a.1.worth.total_cmp(&b.1.worth)) else {
                break;
            };
            let one = candidates.swap_remove(least);
            usage.less(one.kept);
            going.push(one);
        }
        let mut evicted = Vec::with_capacity(going.len());
        for some in going.chunks(AT_ONCE) {
            let keys: Vec<_> = some.iter().map(|one| &one.key).collect();
            self.drop_contents(&keys, counted).await?;
            evicted.extend(some.iter().filter_map(|one| one.id));
        }
        Ok(evicted)
    }

    /// Removes contents and all that belongs to them.
    async fn drop_contents(&self, keys: &[&JsValue], counted: Counted) -> Result<(), StoreError> {
        let stores = [RESOURCES, CONTENTS, BLOCKS, OUTBOARDS, META];
        let to = stores.len() - usize::from(counted == Counted::Later);
        let transaction = self.writing(&stores[..to])?;
        let outcome = drop_each(&transaction, keys, counted).await;
        let usage = self.finish(transaction, outcome).await?;
        self.usage.set(usage);
        Ok(())
    }
}

async fn drop_each(
    transaction: &Transaction,
    keys: &[&JsValue],
    counted: Counted,
) -> Result<Option<Usage>, StoreError> {
    let resources = transaction.store(RESOURCES)?;
    let contents = transaction.store(CONTENTS)?;
    let mut usage = None;
    if counted == Counted::Now {
        usage = Some(Usage::get(transaction).await?);
    }
    for &key in keys {
        let of_it = Some(KeyRange::only(key)?);
        let by_id = resources.index(BY_ID)?;
        let (urls, record) = join(by_id.get_all_keys(of_it, None), contents.get(key.clone())).await;
        if let (Some(record), Some(usage)) = (record?, &mut usage) {
            usage.less(read(record).map_or(0, |content| content.kept));
        }
        for url in urls? {
            resources.delete(url).await?;
        }
        let blocks = block_range(key, 0, u32::MAX)?;
        let (blocks, outboard, content) = join3(
            delete(transaction, BLOCKS, blocks.into()),
            delete(transaction, OUTBOARDS, key.clone()),
            delete(transaction, CONTENTS, key.clone()),
        )
        .await;
        blocks.and(outboard).and(content)?;
    }
    if let Some(usage) = usage {
        usage.put(transaction).await?;
    }
    Ok(usage)
}

/// All contents, and what they take.
async fn census(transaction: &Transaction) -> Result<(Vec<Candidate>, Usage), StoreError> {
    let contents = transaction.store(CONTENTS)?;
    let (keys, records) = join(
        contents.get_all_keys(None, None),
        contents.get_all(None, None),
    )
    .await;
    let now = Date::now();
    let mut usage = Usage::default();
    let mut all = Vec::new();
    for (key, record) in keys?.into_iter().zip(records?) {
        let content = read(record);
        let kept = content.as_ref().map_or(0, |content| content.kept);
        usage.bytes += kept;
        usage.contents += 1;
        all.push(Candidate {
            key,
            id: content.as_ref().map(|content| content.id),
            worth: content.map_or(0.0, |content| {
                let kept = Kept {
                    bytes: kept,
                    uses: content.uses,
                    used: content.used,
                    near: content.near,
                };
                worth(&kept, now)
            }),
            kept,
        });
    }
    Ok((all, usage))
}

fn read(record: JsValue) -> Option<Content> {
    serde_wasm_bindgen::from_value(record).ok()
}
