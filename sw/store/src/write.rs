//! Writing: a response, groups of a content, its hash tree. Each write is one transaction, after
//! one that makes room where that is needed. Requests that do not need each other's answers are
//! made together: a round trip to the browser's database costs more than the bytes.

use fugitive_core::{
    content::{ContentId, GROUP, GROUPS_PER_BLOCK, group_bytes, group_count},
    deflate::Kept,
    tree::Outboard,
};
use futures_util::future::{join, join3, join4};
use js_sys::{Array, Date, Reflect, Uint8Array};
use rexie::{KeyRange, Transaction};
use wasm_bindgen::{JsCast, JsValue};

use crate::{
    Content, Resource, StoreError, Stored,
    block::{self, Block},
    connection::{
        BLOCKS, BY_ID, CONTENTS, Connection, META, OUTBOARDS, RESOURCES, block_key, block_range,
        content_key, delete, get, put,
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
pub(crate) struct Write {
    pub(crate) resource: Option<Resource>,
    pub(crate) id: ContentId,
    pub(crate) len: u64,
    pub(crate) first: u32,
    pub(crate) groups: Vec<Kept>,
    pub(crate) shared: bool,
}

impl Connection {
    pub(crate) async fn put(&self, write: Write) -> Result<Stored, StoreError> {
        let bytes = write.check()?;
        if bytes > self.budget.get() / LARGEST_PART {
            return Err(StoreError::TooLarge);
        }
        let mut evicted = self.reserve(bytes, &write.id).await?;
        let mut outcome = self.try_put(&write).await;
        if outcome == Err(StoreError::Quota) {
            // The browser has less room than the budget says.
            evicted.extend(self.give_back(bytes, &write.id).await?);
            outcome = self.try_put(&write).await;
            // Without room to count, the next eviction will.
            let _ = self.count().await;
        }
        evicted.append(&mut self.unreported.take());
        match outcome {
            Ok(groups) => Ok(Stored { groups, evicted }),
            Err(error) => {
                self.unreported.set(evicted);
                Err(error)
            }
        }
    }

    async fn try_put(&self, write: &Write) -> Result<Vec<(u32, u32)>, StoreError> {
        // Only what is needed is locked: a hit that needs another store need not wait.
        let stores = [BLOCKS, CONTENTS, META, RESOURCES];
        let from = usize::from(write.groups.is_empty());
        let to = stores.len() - usize::from(write.resource.is_none());
        let transaction = self.writing(&stores[from..to])?;
        let outcome = write.within(&transaction, self.budget.get()).await;
        let (groups, usage) = self.finish(transaction, outcome).await?;
        self.usage.set(Some(usage));
        Ok(groups)
    }

    pub(crate) async fn put_outboard(
        &self,
        id: &ContentId,
        outboard: &[u8],
    ) -> Result<(), StoreError> {
        self.reserve(outboard.len() as u64, id).await?;
        let transaction = self.writing(&[CONTENTS, OUTBOARDS, META])?;
        let outcome = within_outboard(&transaction, id, outboard).await;
        let usage = self.finish(transaction, outcome).await?;
        self.usage.set(Some(usage));
        Ok(())
    }

    pub(crate) async fn set_shared(&self, id: &ContentId, shared: bool) -> Result<(), StoreError> {
        let shared = JsValue::from_bool(shared);
        self.amend(&[*id], |_, record| {
            Reflect::set(record, &"shared".into(), &shared)
        })
        .await
    }

    pub(crate) async fn touch(&self, ids: &[ContentId]) -> Result<(), StoreError> {
        let now = JsValue::from_f64(Date::now());
        let ids = &ids[..ids.len().min(MAX_TOUCHED)];
        self.amend(ids, |_, record| {
            let uses = Reflect::get(record, &"uses".into())?.as_f64();
            let more = JsValue::from_f64(uses.unwrap_or_default() + 1.0);
            Reflect::set(record, &"uses".into(), &more)?;
            Reflect::set(record, &"used".into(), &now)
        })
        .await
    }

    pub(crate) async fn set_near(&self, near: &[(ContentId, u32)]) -> Result<(), StoreError> {
        let near = &near[..near.len().min(MAX_TOUCHED)];
        let ids: Vec<_> = near.iter().map(|(id, _)| *id).collect();
        self.amend(&ids, |at, record| {
            let near = JsValue::from(near[at].1);
            let known = Reflect::get(record, &"near".into())?;
            Ok(known != near && Reflect::set(record, &"near".into(), &near)?)
        })
        .await
    }

    /// Changes the records of these contents, by their place here, where `change` says that it did.
    async fn amend(
        &self,
        ids: &[ContentId],
        change: impl Fn(usize, &JsValue) -> Result<bool, JsValue>,
    ) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let transaction = self.writing(&[CONTENTS])?;
        let outcome = async {
            for (at, id) in ids.iter().enumerate() {
                if let Some(record) = get(&transaction, CONTENTS, content_key(id)).await?
                    && change(at, &record) == Ok(true)
                {
                    put(&transaction, CONTENTS, &record, None).await?;
                }
            }
            Ok(())
        }
        .await;
        self.finish(transaction, outcome).await
    }

    /// Adds to responses what they may be answered by before any wasm runs, unless they are others now.
    pub(crate) async fn put_cold(&self, resources: &[Resource]) -> Result<(), StoreError> {
        let transaction = self.writing(&[RESOURCES])?;
        let outcome = async {
            for resource in resources {
                let there = read::resource(&transaction, &resource.url).await?;
                let is_same = |there: &Resource| {
                    there.id == resource.id && there.stored_at == resource.stored_at
                };
                if let Some(mut there) = there.filter(is_same) {
                    there.cold.clone_from(&resource.cold);
                    put(&transaction, RESOURCES, &serialize(&there)?, None).await?;
                }
            }
            Ok(())
        }
        .await;
        self.finish(transaction, outcome).await
    }

    pub(crate) async fn remove_resource(&self, url: &str) -> Result<(), StoreError> {
        let transaction = self.writing(&[RESOURCES])?;
        let outcome = delete(&transaction, RESOURCES, JsValue::from_str(url)).await;
        self.finish(transaction, outcome).await
    }

    /// Removes a block if it is damaged, so that its groups can be stored anew.
    pub(crate) async fn forget_block(&self, id: &ContentId, number: u32) -> Result<(), StoreError> {
        let transaction = self.writing(&[BLOCKS, CONTENTS, META])?;
        let outcome = within_forget(&transaction, id, number).await;
        match self.finish(transaction, outcome).await {
            // No room to write down what is left of it.
            Err(StoreError::Quota) => self.remove(id).await,
            Err(error) => Err(error),
            Ok(usage) => {
                self.usage.set(usage.or(self.usage.get()));
                Ok(())
            }
        }
    }
}

impl Write {
    /// A response, and groups from the first on.
    pub(crate) fn response(resource: Resource, groups: Vec<Kept>) -> Self {
        Self {
            id: resource.id,
            len: resource.len,
            first: 0,
            groups,
            shared: resource.listed,
            resource: Some(resource),
        }
    }

    /// Whether it has all groups of its content.
    pub(crate) fn check_whole(&self) -> Result<(), StoreError> {
        if self.groups.len() as u64 != u64::from(group_count(self.len)) {
            return Err(StoreError::limit("not all groups"));
        }
        Ok(())
    }

    /// How many bytes it writes, if it is one that may be.
    fn check(&self) -> Result<u64, StoreError> {
        let end = u64::from(self.first) + self.groups.len() as u64;
        let end = u32::try_from(end).unwrap_or(u32::MAX);
        check(self.len, &(self.first..end))?;
        if let Some(resource) = &self.resource {
            let headers = resource.headers.iter().chain(&resource.request_headers);
            let words: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
            if words + resource.url.len() > MAX_WORDS {
                return Err(StoreError::limit("URL and headers are too long"));
            }
        }
        let mut bytes = 0;
        for (group, kept) in (self.first..).zip(&self.groups) {
            let whole = group_bytes(group..group + 1, self.len);
            let long = kept.bytes.len() as u64;
            if long > GROUP || !kept.deflated && long != whole.end - whole.start {
                return Err(StoreError::limit("group has a wrong length"));
            }
            bytes += long;
        }
        Ok(bytes)
    }

    async fn within(
        &self,
        transaction: &Transaction,
        budget: u64,
    ) -> Result<(Vec<(u32, u32)>, Usage), StoreError> {
        let key = content_key(&self.id);
        let (usage, content, numbers, too_many) = join4(
            Usage::get(transaction),
            read::content(transaction, key.clone()),
            self.blocks_there(transaction, &key),
            self.url_too_many(transaction, &key),
        )
        .await;
        let (mut usage, numbers, too_many) = (usage?, numbers?, too_many?);
        let mut content = match content? {
            Some(content) if content.len != self.len => {
                return Err(StoreError::limit("content has another length"));
            }
            Some(content) => content,
            None => {
                usage.contents += 1;
                Content {
                    id: self.id,
                    len: self.len,
                    shared: false,
                    groups: Vec::new(),
                    used: 0.0,
                    uses: 1,
                    near: None,
                    kept: 0,
                }
            }
        };
        usage.bytes = usage.bytes.saturating_sub(content.kept);
        let mut blocks = Vec::new();
        let (mut first, mut groups) = (self.first, &self.groups[..]);
        while !groups.is_empty() {
            let number = first / GROUPS_PER_BLOCK;
            let place = (GROUPS_PER_BLOCK - first % GROUPS_PER_BLOCK) as usize;
            let (here, rest) = groups.split_at(place.min(groups.len()));
            let key = block_key(&key, number);
            let old = match numbers.contains(&number) {
                true => get(transaction, BLOCKS, key.clone()).await?,
                false => None,
            };
            if let Some(record) = merge(&mut content, first, here, old) {
                blocks.push((record, Some(key)));
            }
            first += here.len() as u32;
            groups = rest;
        }
        if content.groups.len() > MAX_RUNS {
            return Err(StoreError::limit("content is held in too many pieces"));
        }
        if !blocks.is_empty() && content.kept > budget / LARGEST_PART {
            return Err(StoreError::TooLarge);
        }
        content.shared |= self.shared;
        content.used = Date::now();
        usage.bytes += content.kept;
        let record = serialize(&content)?;
        let (blocks, record, counted, resource) = join4(
            put_blocks(transaction, blocks),
            put(transaction, CONTENTS, &record, None),
            usage.put(transaction),
            self.put_resource(transaction, too_many),
        )
        .await;
        blocks.and(record).and(counted).and(resource)?;
        Ok((content.groups, usage))
    }

    /// Which of the blocks that it writes are there, whole or in part.
    async fn blocks_there(
        &self,
        transaction: &Transaction,
        key: &JsValue,
    ) -> Result<Vec<u32>, StoreError> {
        let Some(more) = self.groups.len().checked_sub(1) else {
            return Ok(Vec::new());
        };
        let last = (self.first + more as u32) / GROUPS_PER_BLOCK;
        let range = block_range(key, self.first / GROUPS_PER_BLOCK, last)?;
        let keys = transaction
            .store(BLOCKS)?
            .get_all_keys(Some(range), None)
            .await?;
        Ok(keys
            .into_iter()
            .filter_map(|key| key.dyn_into::<Array>().ok()?.get(1).as_f64())
            .map(|number| number as u32)
            .collect())
    }

    /// The URL that must go if the content has as many as it may.
    async fn url_too_many(
        &self,
        transaction: &Transaction,
        key: &JsValue,
    ) -> Result<Option<JsValue>, StoreError> {
        let Some(resource) = &self.resource else {
            return Ok(None);
        };
        let urls = transaction
            .store(RESOURCES)?
            .index(BY_ID)?
            .get_all_keys(Some(KeyRange::only(key)?), Some(MAX_URLS))
            .await?;
        if (urls.len() as u32) < MAX_URLS || urls.iter().any(|url| *url == resource.url.as_str()) {
            return Ok(None);
        }
        Ok(urls.into_iter().next())
    }

    async fn put_resource(
        &self,
        transaction: &Transaction,
        too_many: Option<JsValue>,
    ) -> Result<(), StoreError> {
        if let Some(url) = too_many {
            delete(transaction, RESOURCES, url).await?;
        }
        match &self.resource {
            Some(resource) => put(transaction, RESOURCES, &serialize(resource)?, None).await,
            None => Ok(()),
        }
    }
}

/// The record of a block with these groups beside those that it holds, and what the content's
/// record says of it put right; nothing if that changes nothing.
fn merge(content: &mut Content, first: u32, new: &[Kept], old: Option<JsValue>) -> Option<JsValue> {
    let before = old.as_ref().map_or(0, record_len);
    // What is damaged is written over.
    let old = old.as_ref().and_then(read::block);
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
        return None;
    }
    let block = Block::new(&all);
    let number = first / GROUPS_PER_BLOCK;
    let begins = number * GROUPS_PER_BLOCK;
    runs::remove(&mut content.groups, begins, begins + GROUPS_PER_BLOCK);
    for (from, to) in read::held(&block, number) {
        runs::add(&mut content.groups, from, to);
    }
    let record = Uint8Array::from(block.record());
    content.kept = content.kept.saturating_sub(before) + u64::from(record.length());
    Some(record.into())
}

async fn put_blocks(
    transaction: &Transaction,
    blocks: Vec<(JsValue, Option<JsValue>)>,
) -> Result<(), StoreError> {
    if blocks.is_empty() {
        return Ok(());
    }
    Ok(transaction
        .store(BLOCKS)?
        .put_all(blocks.into_iter())
        .await?)
}

async fn within_outboard(
    transaction: &Transaction,
    id: &ContentId,
    outboard: &[u8],
) -> Result<Usage, StoreError> {
    let key = content_key(id);
    let (content, usage, old) = join3(
        read::content(transaction, key.clone()),
        Usage::get(transaction),
        get(transaction, OUTBOARDS, key.clone()),
    )
    .await;
    let mut content = content?.ok_or(StoreError::Missing)?;
    if outboard.len() != Outboard::size(content.len) {
        return Err(StoreError::limit("hash tree has a wrong length"));
    }
    let mut usage = usage?;
    if old?.is_none() {
        content.kept += outboard.len() as u64;
        usage.bytes += outboard.len() as u64;
    }
    let record = serialize(&content)?;
    let outboard = Uint8Array::from(outboard);
    let (outboard, record, counted) = join3(
        put(transaction, OUTBOARDS, &outboard, Some(&key)),
        put(transaction, CONTENTS, &record, None),
        usage.put(transaction),
    )
    .await;
    outboard.and(record).and(counted)?;
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
    if read::block(&record).is_some() {
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
    let record = serialize(&content)?;
    let (record, counted) = join(
        put(transaction, CONTENTS, &record, None),
        usage.put(transaction),
    )
    .await;
    record.and(counted)?;
    Ok(Some(usage))
}

fn record_len(record: &JsValue) -> u64 {
    record
        .dyn_ref::<Uint8Array>()
        .map_or(0, |bytes| bytes.length().into())
}
