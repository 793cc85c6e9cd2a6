//! Writing: a response, groups of a content, its hash tree. Each write is one transaction, after
//! one that makes room where that is needed.

use fugitive_core::{
    content::{ContentId, GROUP, GROUPS_PER_BLOCK, group_bytes, group_count},
    deflate::Kept,
    tree::Outboard,
};
use js_sys::{Date, Reflect, Uint8Array};
use rexie::{KeyRange, Transaction};
use wasm_bindgen::{JsCast, JsValue};

use crate::{
    Content, Resource, Store, StoreError, Stored,
    block::{self, Block},
    database::{
        BLOCKS, BY_ID, CONTENTS, META, OUTBOARDS, RESOURCES, block_key, content_key, delete,
        finish, get, put,
    },
    meta::{Usage, serialize},
    read::{self, check},
    runs,
};

/// URLs that one content has at most; a site that puts a random query behind a picture's name has
/// no end of them.
const MAX_URLS: u32 = 64;
/// Characters in a URL and its headers.
const MAX_WORDS: usize = 32 * 1024;
/// Runs of groups in one content; who seeks about in a video makes some dozens.
const MAX_RUNS: usize = 4096;
/// One content may take this part of the budget, lest a long video evict all else.
const LARGEST_PART: u64 = 2;
/// Contents touched in one transaction.
const MAX_TOUCHED: usize = 256;

/// One write.
struct Write<'a> {
    resource: Option<&'a Resource>,
    id: &'a ContentId,
    len: u64,
    first: u32,
    groups: &'a [Kept],
    shared: bool,
}

impl Store {
    /// Puts a response, whose bytes come by [`Store::put_groups`] or are held already.
    pub async fn put_resource(&self, resource: &Resource) -> Result<Stored, StoreError> {
        self.put_part(resource, &[]).await
    }

    /// Puts a response and all its bytes, at most [`MAX_GROUPS`](crate::MAX_GROUPS) groups.
    pub async fn put_whole(
        &self,
        resource: &Resource,
        groups: &[Kept],
    ) -> Result<Stored, StoreError> {
        if groups.len() as u64 != u64::from(group_count(resource.len)) {
            return Err(StoreError::limit("not all groups"));
        }
        self.put_part(resource, groups).await
    }

    /// Puts verified groups of a content, from `first` on, beside those that are held. `shared`
    /// says that it may be served to peers; once said it stays so until [`Store::set_shared`].
    /// Cheapest when the groups are whole blocks.
    pub async fn put_groups(
        &self,
        id: &ContentId,
        len: u64,
        first: u32,
        groups: &[Kept],
        shared: bool,
    ) -> Result<Stored, StoreError> {
        self.put(&Write {
            resource: None,
            id,
            len,
            first,
            groups,
            shared,
        })
        .await
    }

    async fn put_part(&self, resource: &Resource, groups: &[Kept]) -> Result<Stored, StoreError> {
        let headers = resource.headers.iter().chain(&resource.request_headers);
        let words: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
        if words + resource.url.len() > MAX_WORDS {
            return Err(StoreError::limit("URL and headers are too long"));
        }
        self.put(&Write {
            resource: Some(resource),
            id: &resource.id,
            len: resource.len,
            first: 0,
            groups,
            shared: resource.listed,
        })
        .await
    }

    async fn put(&self, write: &Write<'_>) -> Result<Stored, StoreError> {
        let end = u64::from(write.first) + write.groups.len() as u64;
        let end = u32::try_from(end).unwrap_or(u32::MAX);
        check(write.len, &(write.first..end))?;
        let mut bytes = 0;
        for (group, kept) in (write.first..).zip(write.groups) {
            let whole = group_bytes(group..group + 1, write.len);
            let whole = whole.end - whole.start;
            let long = kept.bytes.len() as u64;
            if long > GROUP || !kept.deflated && long != whole {
                return Err(StoreError::limit("group has a wrong length"));
            }
            bytes += long;
        }
        if bytes > self.0.budget.get() / LARGEST_PART {
            return Err(StoreError::TooLarge);
        }
        let mut evicted = self.reserve(bytes, write.id).await?;
        let mut outcome = self.try_put(write).await;
        if outcome == Err(StoreError::Quota) {
            // The browser has less room than the budget says.
            evicted.extend(self.give_back(bytes, write.id).await?);
            outcome = self.try_put(write).await;
        }
        Ok(Stored {
            groups: outcome?,
            evicted,
        })
    }

    async fn try_put(&self, write: &Write<'_>) -> Result<Vec<(u32, u32)>, StoreError> {
        // Only what is needed is locked: a hit that needs another store need not wait.
        let stores = [BLOCKS, CONTENTS, META, RESOURCES];
        let from = usize::from(write.groups.is_empty());
        let to = stores.len() - usize::from(write.resource.is_none());
        let transaction = self.writing(&stores[from..to])?;
        let outcome = write.within(&transaction, self.0.budget.get()).await;
        let (groups, usage) = finish(transaction, outcome).await?;
        self.0.usage.set(Some(usage));
        Ok(groups)
    }

    /// Keeps the hash tree of a content that is held, in pre-order.
    pub async fn put_outboard(&self, id: &ContentId, outboard: &[u8]) -> Result<(), StoreError> {
        self.reserve(outboard.len() as u64, id).await?;
        let transaction = self.writing(&[CONTENTS, OUTBOARDS, META])?;
        let outcome = within_outboard(&transaction, id, outboard).await;
        let usage = finish(transaction, outcome).await?;
        self.0.usage.set(Some(usage));
        Ok(())
    }

    /// Says whether a content may be served to peers, where it is held.
    pub async fn set_shared(&self, id: &ContentId, shared: bool) -> Result<(), StoreError> {
        self.amend(&[*id], "shared", &JsValue::from_bool(shared))
            .await
    }

    /// Says that contents were used now, so that they are evicted last. At most 256, later ones are
    /// left out; unknown ones are ignored.
    pub async fn touch(&self, ids: &[ContentId]) -> Result<(), StoreError> {
        let ids = &ids[..ids.len().min(MAX_TOUCHED)];
        self.amend(ids, "used", &JsValue::from_f64(Date::now()))
            .await
    }

    /// Sets one field of these contents.
    async fn amend(
        &self,
        ids: &[ContentId],
        field: &str,
        value: &JsValue,
    ) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let transaction = self.writing(&[CONTENTS])?;
        let outcome = async {
            for id in ids {
                if let Some(record) = get(&transaction, CONTENTS, content_key(id)).await?
                    && Reflect::set(&record, &JsValue::from_str(field), value).is_ok()
                {
                    put(&transaction, CONTENTS, &record, None).await?;
                }
            }
            Ok(())
        }
        .await;
        finish(transaction, outcome).await
    }

    /// Removes a response. Its bytes stay until they are evicted: other URLs may have them, and a
    /// page may be reading them.
    pub async fn remove_resource(&self, url: &str) -> Result<(), StoreError> {
        let transaction = self.writing(&[RESOURCES])?;
        let outcome = delete(&transaction, RESOURCES, JsValue::from_str(url)).await;
        finish(transaction, outcome).await
    }

    /// Removes a block if it is damaged, so that its groups can be stored anew.
    pub(crate) async fn forget_block(&self, id: &ContentId, number: u32) -> Result<(), StoreError> {
        let transaction = self.writing(&[BLOCKS, CONTENTS, META])?;
        let outcome = within_forget(&transaction, id, number).await;
        let usage = finish(transaction, outcome).await?;
        self.0.usage.set(usage.or(self.0.usage.get()));
        Ok(())
    }
}

impl Write<'_> {
    async fn within(
        &self,
        transaction: &Transaction,
        budget: u64,
    ) -> Result<(Vec<(u32, u32)>, Usage), StoreError> {
        let key = content_key(self.id);
        if let Some(resource) = self.resource {
            put_url(transaction, resource, &key).await?;
        }
        let mut usage = Usage::get(transaction).await?;
        let mut content = match read::content(transaction, key.clone()).await? {
            Some(content) if content.len != self.len => {
                return Err(StoreError::limit("content has another length"));
            }
            Some(content) => content,
            None => {
                usage.contents += 1;
                Content {
                    id: *self.id,
                    len: self.len,
                    shared: false,
                    groups: Vec::new(),
                    used: 0.0,
                    kept: 0,
                }
            }
        };
        usage.bytes = usage.bytes.saturating_sub(content.kept);
        let mut groups = self.groups;
        let mut first = self.first;
        while !groups.is_empty() {
            let here = (GROUPS_PER_BLOCK - first % GROUPS_PER_BLOCK) as usize;
            let (block, rest) = groups.split_at(here.min(groups.len()));
            put_block(transaction, &mut content, &key, first, block).await?;
            first += block.len() as u32;
            groups = rest;
        }
        if content.groups.len() > MAX_RUNS {
            return Err(StoreError::limit("content is held in too many pieces"));
        }
        if !self.groups.is_empty() && content.kept > budget / LARGEST_PART {
            return Err(StoreError::TooLarge);
        }
        content.shared |= self.shared;
        content.used = Date::now();
        usage.bytes += content.kept;
        put(transaction, CONTENTS, &serialize(&content)?, None).await?;
        usage.put(transaction).await?;
        Ok((content.groups, usage))
    }
}

/// Puts a response, and removes one of the others of this content if they are too many.
async fn put_url(
    transaction: &Transaction,
    resource: &Resource,
    key: &JsValue,
) -> Result<(), StoreError> {
    let resources = transaction.store(RESOURCES)?;
    let urls = resources
        .index(BY_ID)?
        .get_all_keys(Some(KeyRange::only(key)?), Some(MAX_URLS))
        .await?;
    if urls.len() as u32 == MAX_URLS
        && let Some(url) = urls.into_iter().find(|url| *url != resource.url.as_str())
    {
        resources.delete(url).await?;
    }
    put(transaction, RESOURCES, &serialize(resource)?, None).await
}

/// Puts groups of one block beside those that it holds.
async fn put_block(
    transaction: &Transaction,
    content: &mut Content,
    key: &JsValue,
    first: u32,
    new: &[Kept],
) -> Result<(), StoreError> {
    let number = first / GROUPS_PER_BLOCK;
    let key = block_key(key, number);
    let record = get(transaction, BLOCKS, key.clone()).await?;
    let before = record.as_ref().map_or(0, record_len);
    let old = record.and_then(read::block);
    // What is damaged is written over, and what the content's record says of it is put right.
    let mut all = old.as_ref().map_or([None; block::GROUPS], Block::groups);
    let at = (first % GROUPS_PER_BLOCK) as usize;
    let mut more = false;
    for (slot, kept) in all[at..].iter_mut().zip(new) {
        if slot.is_none() {
            *slot = Some((&kept.bytes, kept.deflated));
            more = true;
        }
    }
    if !more {
        return Ok(());
    }
    let block = Block::new(&all);
    let begins = number * GROUPS_PER_BLOCK;
    runs::remove(&mut content.groups, begins, begins + GROUPS_PER_BLOCK);
    for (from, to) in read::held(&block, number) {
        runs::add(&mut content.groups, from, to);
    }
    let record = Uint8Array::from(block.record());
    content.kept = content.kept.saturating_sub(before) + u64::from(record.length());
    put(transaction, BLOCKS, &record, Some(&key)).await
}

async fn within_outboard(
    transaction: &Transaction,
    id: &ContentId,
    outboard: &[u8],
) -> Result<Usage, StoreError> {
    let key = content_key(id);
    let Some(mut content) = read::content(transaction, key.clone()).await? else {
        return Err(StoreError::Missing);
    };
    if outboard.len() != Outboard::size(content.len) {
        return Err(StoreError::limit("hash tree has a wrong length"));
    }
    let mut usage = Usage::get(transaction).await?;
    if get(transaction, OUTBOARDS, key.clone()).await?.is_none() {
        content.kept += outboard.len() as u64;
        usage.bytes += outboard.len() as u64;
    }
    put(
        transaction,
        OUTBOARDS,
        &Uint8Array::from(outboard),
        Some(&key),
    )
    .await?;
    put(transaction, CONTENTS, &serialize(&content)?, None).await?;
    usage.put(transaction).await?;
    Ok(usage)
}

async fn within_forget(
    transaction: &Transaction,
    id: &ContentId,
    number: u32,
) -> Result<Option<Usage>, StoreError> {
    let key = content_key(id);
    let block = block_key(&key, number);
    let Some(record) = get(transaction, BLOCKS, block.clone()).await? else {
        return Ok(None);
    };
    let bytes = record_len(&record);
    if read::block(record).is_some() {
        // Written anew since it was found damaged.
        return Ok(None);
    }
    delete(transaction, BLOCKS, block).await?;
    let Some(mut content) = read::content(transaction, key).await? else {
        return Ok(None);
    };
    let first = number * GROUPS_PER_BLOCK;
    runs::remove(&mut content.groups, first, first + GROUPS_PER_BLOCK);
    let mut usage = Usage::get(transaction).await?;
    usage.bytes = usage.bytes.saturating_sub(bytes.min(content.kept));
    content.kept = content.kept.saturating_sub(bytes);
    put(transaction, CONTENTS, &serialize(&content)?, None).await?;
    usage.put(transaction).await?;
    Ok(Some(usage))
}

fn record_len(record: &JsValue) -> u64 {
    record
        .dyn_ref::<Uint8Array>()
        .map_or(0, |bytes| bytes.length().into())
}
