//! Reading: a URL's response, a content's groups. Damage is found here, removed, and told as
//! [`StoreError::Missing`], so that the bytes come from elsewhere and are stored anew.

use std::ops::Range;

use fugitive_core::{
    content::{BLOCK, ContentId, GROUP, GROUPS_PER_BLOCK, MAX_LEN, group_bytes, group_count},
    deflate::{Kept, inflate},
};
use futures_util::future::{OptionFuture, join};
use js_sys::Uint8Array;
use rexie::Transaction;
use wasm_bindgen::{JsCast, JsValue};

use crate::{
    Content, Hit, MAX_CONTENTS, MAX_GROUPS, Resource, StoreError,
    block::{self, Block, Group},
    connection::{
        BLOCKS, CONTENTS, Connection, OUTBOARDS, RESOURCES, block_key, block_range, content_key,
        get,
    },
    runs,
};

/// All bytes, if they are held, and the runs of groups that are.
type Small = (Option<Uint8Array>, Vec<(u32, u32)>);

impl Connection {
    pub(crate) async fn resource(&self, url: &str) -> Result<Option<Resource>, StoreError> {
        resource(&self.reading(&[RESOURCES])?, url).await
    }

    pub(crate) async fn hit(
        &self,
        url: &str,
        expect: Option<ContentId>,
    ) -> Result<Option<Hit>, StoreError> {
        // What is small is not kept waiting by whoever writes down which contents were used.
        let stores: &[&str] = match expect {
            Some(_) => &[RESOURCES, BLOCKS],
            None => &[RESOURCES, CONTENTS, BLOCKS],
        };
        let transaction = self.reading(stores)?;
        // The second round trip is saved where it is known what the first will say.
        let (resource, expected) = join(
            resource(&transaction, url),
            OptionFuture::from(expect.map(|id| first_block(&transaction, id))),
        )
        .await;
        let Some(resource) = resource? else {
            return Ok(None);
        };
        if resource.len > BLOCK {
            if expect.is_some() {
                return Box::pin(self.hit(url, None)).await;
            }
            let key = content_key(&resource.id);
            let content = content(&transaction, key).await?;
            let groups = content.map_or_else(Vec::new, |content| content.groups);
            return Ok(Some(Hit {
                resource,
                bytes: None,
                groups,
            }));
        }
        let record = match expected.filter(|_| expect == Some(resource.id)) {
            Some(record) => record,
            None => first_block(&transaction, resource.id).await,
        };
        let Some((bytes, groups)) = self.small_in(record, &resource.id, resource.len).await? else {
            return Ok(None);
        };
        Ok(Some(Hit {
            resource,
            bytes,
            groups,
        }))
    }

    pub(crate) async fn small(
        &self,
        id: &ContentId,
        len: u64,
    ) -> Result<Option<Uint8Array>, StoreError> {
        if len > BLOCK {
            return Err(StoreError::limit("longer than a block"));
        }
        let record = self.record(block_key(&content_key(id), 0)).await;
        let held = self.small_in(record, id, len).await?;
        Ok(held.and_then(|(bytes, _)| bytes))
    }

    /// Of a content that is no longer than a block: all bytes, if they are held, and the runs of groups
    /// that are. Nothing if it had to be removed.
    async fn small_in(
        &self,
        record: Result<Option<JsValue>, StoreError>,
        id: &ContentId,
        len: u64,
    ) -> Result<Option<Small>, StoreError> {
        let record = match record {
            Err(StoreError::Damaged) => {
                self.remove(id).await?;
                return Ok(None);
            }
            record => record?,
        };
        let Some(record) = record else {
            return Ok(Some((None, Vec::new())));
        };
        let Some(block) = block(&record) else {
            self.forget_block(id, 0).await?;
            return Ok(Some((None, Vec::new())));
        };
        let (all, groups) = (0..group_count(len), held(&block, 0));
        let bytes = if !runs::cover(&groups, all.start, all.end) {
            None
        } else if let Some(within) = block.plain(len) {
            // They are right, and need not be copied again to get to a page.
            let record: Uint8Array = record.unchecked_into();
            Some(record.subarray(within.start, within.end))
        } else {
            let bytes = bytes_of(&[block], len, all).ok();
            bytes.map(|bytes| Uint8Array::from(&bytes[..]))
        };
        Ok(Some((bytes, groups)))
    }

    pub(crate) async fn read(
        &self,
        id: &ContentId,
        len: u64,
        groups: Range<u32>,
    ) -> Result<Vec<u8>, StoreError> {
        let blocks = self.blocks(id, len, groups.clone()).await?;
        match bytes_of(&blocks, len, groups.clone()) {
            Err(StoreError::Damaged) => {
                // The sum is right and the bytes are not: they were never right.
                self.remove(id).await?;
                Err(StoreError::Missing)
            }
            outcome => outcome,
        }
    }

    pub(crate) async fn read_kept(
        &self,
        id: &ContentId,
        len: u64,
        groups: Range<u32>,
    ) -> Result<Vec<Kept>, StoreError> {
        let blocks = self.blocks(id, len, groups.clone()).await?;
        each(&blocks, groups)
            .map(|(_, group)| group.map(block::kept).ok_or(StoreError::Missing))
            .collect()
    }

    pub(crate) async fn content(&self, id: &ContentId) -> Result<Option<Content>, StoreError> {
        content(&self.reading(&[CONTENTS])?, content_key(id)).await
    }

    pub(crate) async fn holdings(&self) -> Result<Vec<Content>, StoreError> {
        let contents = self.reading(&[CONTENTS])?.store(CONTENTS)?;
        let records = contents.get_all(None, Some(MAX_CONTENTS)).await?;
        Ok(records
            .into_iter()
            .filter_map(|record| serde_wasm_bindgen::from_value(record).ok())
            .filter(|content: &Content| content.shared && !content.groups.is_empty())
            .collect())
    }

    pub(crate) async fn outboard(&self, id: &ContentId) -> Result<Option<Vec<u8>>, StoreError> {
        let record = get(&self.reading(&[OUTBOARDS])?, OUTBOARDS, content_key(id)).await?;
        Ok(record
            .and_then(|record| record.dyn_into::<Uint8Array>().ok())
            .map(|bytes| bytes.to_vec()))
    }

    /// The blocks that hold these groups, all of them and undamaged.
    async fn blocks(
        &self,
        id: &ContentId,
        len: u64,
        groups: Range<u32>,
    ) -> Result<Vec<Block>, StoreError> {
        check(len, &groups)?;
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let first = groups.start / GROUPS_PER_BLOCK;
        let last = (groups.end - 1) / GROUPS_PER_BLOCK;
        let range = block_range(&content_key(id), first, last)?;
        let store = self.reading(&[BLOCKS])?.store(BLOCKS)?;
        let records = match store.get_all(Some(range), None).await {
            Ok(records) => records,
            Err(error) => {
                let error = error.into();
                if error == StoreError::Damaged {
                    // The browser cannot read one of them and does not say which.
                    self.remove(id).await?;
                    return Err(StoreError::Missing);
                }
                return Err(error);
            }
        };
        // The records come without their keys: only when none is missing is it known which is which.
        if records.len() as u32 != last - first + 1 {
            return Err(StoreError::Missing);
        }
        let mut blocks = Vec::with_capacity(records.len());
        for (number, record) in (first..).zip(records) {
            match block(&record) {
                Some(block) => blocks.push(block),
                None => {
                    self.forget_block(id, number).await?;
                    return Err(StoreError::Missing);
                }
            }
        }
        Ok(blocks)
    }
}

/// Lengths and runs that no content of ours has.
pub(crate) fn check(len: u64, groups: &Range<u32>) -> Result<(), StoreError> {
    if len > MAX_LEN || groups.end > group_count(len) || groups.len() as u32 > MAX_GROUPS {
        return Err(StoreError::limit("more groups than there are or may be"));
    }
    Ok(())
}

pub(crate) async fn resource(
    transaction: &Transaction,
    url: &str,
) -> Result<Option<Resource>, StoreError> {
    let record = get(transaction, RESOURCES, JsValue::from_str(url)).await?;
    Ok(record.and_then(|record| serde_wasm_bindgen::from_value(record).ok()))
}

async fn first_block(
    transaction: &Transaction,
    id: ContentId,
) -> Result<Option<JsValue>, StoreError> {
    get(transaction, BLOCKS, block_key(&content_key(&id), 0)).await
}

pub(crate) async fn content(
    transaction: &Transaction,
    key: JsValue,
) -> Result<Option<Content>, StoreError> {
    let record = get(transaction, CONTENTS, key).await?;
    Ok(record.and_then(|record| serde_wasm_bindgen::from_value(record).ok()))
}

/// The block in a record; nothing if it is damaged.
pub(crate) fn block(record: &JsValue) -> Option<Block> {
    Block::read(record.dyn_ref::<Uint8Array>()?.to_vec())
}

/// The runs of groups that block `number` holds.
pub(crate) fn held(block: &Block, number: u32) -> Vec<(u32, u32)> {
    let mut held = Vec::new();
    let first = number * GROUPS_PER_BLOCK;
    for (group, kept) in (first..).zip(block.groups()) {
        if kept.is_some() {
            runs::add(&mut held, group, group + 1);
        }
    }
    held
}

/// Each of these groups, out of the blocks that begin with the one that holds the first.
fn each<'a>(
    blocks: &'a [Block],
    groups: Range<u32>,
) -> impl Iterator<Item = (u32, Option<Group<'a>>)> {
    let skip = groups.start % GROUPS_PER_BLOCK;
    let kept = blocks.iter().flat_map(Block::groups).skip(skip as usize);
    groups.zip(kept)
}

/// The bytes of these groups.
fn bytes_of(blocks: &[Block], len: u64, groups: Range<u32>) -> Result<Vec<u8>, StoreError> {
    let all = group_bytes(groups.clone(), len);
    let mut bytes = Vec::with_capacity((all.end - all.start) as usize);
    for (number, group) in each(blocks, groups) {
        let long = group_bytes(number..number + 1, len);
        let long = (long.end - long.start).min(GROUP) as usize;
        match group {
            None => return Err(StoreError::Missing),
            Some((kept, false)) if kept.len() == long => bytes.extend_from_slice(kept),
            Some(group) => match inflate(block::kept(group), long) {
                Ok(group) => bytes.extend_from_slice(&group),
                Err(_) => return Err(StoreError::Damaged),
            },
        }
    }
    Ok(bytes)
}
