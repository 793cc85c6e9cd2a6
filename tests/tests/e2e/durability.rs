//! What is stored survives whatever happens to it: browsers that are killed while they write, records
//! that rot. In a real Chromium, whose profile is opened again.

use anyhow::{Result, ensure};
use fugitive_tests::{
    browser::{Driver, Visitor},
    origin::{Fault, Origin},
    site::{IMAGES, Site},
};
use serde_json::json;
use tempfile::TempDir;

/// Browsers killed one after the other.
const CRASHES: u64 = 6;

/// A promise of all that contradicts itself in the store: what a record says is held and is not, or
/// is and was not counted.
const CONTRADICTIONS: &str = r"(async () => {
  if (!(await indexedDB.databases()).some(({ name }) => name === 'fugitive')) return [];
  const database = await new Promise((done, failed) => {
    const opening = indexedDB.open('fugitive');
    opening.onsuccess = () => done(opening.result);
    opening.onerror = failed;
  });
  const transaction = database.transaction([...database.objectStoreNames]);
  const all = (name, what) => new Promise((done, failed) => {
    const asking = transaction.objectStore(name)[what]();
    asking.onsuccess = () => done(asking.result);
    asking.onerror = failed;
  });
  const [resources, contents, blocks, blockKeys, outboards, outboardKeys, meta, metaKeys] =
    await Promise.all([
      all('resources', 'getAll'), all('contents', 'getAll'),
      all('blocks', 'getAll'), all('blocks', 'getAllKeys'),
      all('outboards', 'getAll'), all('outboards', 'getAllKeys'),
      all('meta', 'getAll'), all('meta', 'getAllKeys'),
    ]);
  database.close();
  const wrong = [];
  const held = new Map(contents.map(({ id }) => [id, new Set()]));
  const kept = new Map(contents.map(({ id }) => [id, 0]));
  blocks.forEach((block, n) => {
    const [id, number] = blockKeys[n];
    if (!held.has(id)) return wrong.push(`block ${number} of nothing`);
    const words = new DataView(block.buffer, block.byteOffset);
    let length = 8 + 64;
    for (let group = 0; group < 16; group++) {
      const word = words.getUint32(8 + 4 * group, true);
      if (word & (1 << 30)) held.get(id).add(number * 16 + group);
      length += word & ((1 << 30) - 1);
    }
    if (length !== block.length) wrong.push(`block ${number} is cut`);
    kept.set(id, kept.get(id) + block.length);
  });
  outboards.forEach((outboard, n) =>
    kept.has(outboardKeys[n])
      ? kept.set(outboardKeys[n], kept.get(outboardKeys[n]) + outboard.length)
      : wrong.push('a tree of nothing'));
  for (const content of contents) {
    const said = new Set();
    for (const [from, to] of content.groups) for (let g = from; g < to; g++) said.add(g);
    const is = held.get(content.id);
    if (said.size !== is.size || [...said].some((group) => !is.has(group)))
      wrong.push(`${content.id} holds ${is.size} groups and says ${said.size}`);
    if (Number(content.kept) !== kept.get(content.id))
      wrong.push(`${content.id} takes ${kept.get(content.id)} and says ${content.kept}`);
  }
  for (const { url, id } of resources) if (!held.has(id)) wrong.push(`${url} of nothing`);
  const usage = meta[metaKeys.indexOf('store.usage')] ?? [0, 0];
  const total = [...kept.values()].reduce((sum, one) => sum + one, 0);
  if (usage[0] !== total || usage[1] !== contents.length)
    wrong.push(`usage is ${[total, contents.length]} and says ${usage}`);
  return wrong;
})()";

async fn is_whole(visitor: &Visitor) -> Result<()> {
    let wrong: Vec<String> = visitor.eval(CONTRADICTIONS).await?;
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn browser_killed_in_the_middle_of_writes_leaves_no_wrong_or_half_record() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::chromium()?);
    let origin = Origin::start(&site).await?;
    let len = std::fs::metadata(site.path("film.mp4"))?.len();
    // Slow enough to be killed in the middle of.
    origin.fault("/film.mp4", Fault::Slow(len as usize / 8));
    let mut profile = TempDir::new()?;
    for round in 0..CRASHES {
        let visitor = Visitor::in_profile(&driver, profile, &[]).await?;
        visitor.goto(&origin.url("/empty.html")).await?;
        visitor.until_controlled().await?;
        is_whole(&visitor).await?;
        // Another part of the film each time, one before all that is held, and pictures beside it; nobody
        // waits for the end.
        let held: u64 = visitor.runs(len).await?.iter().map(|(a, b)| b - a).sum();
        visitor
            .eval::<()>(&format!(
                "void (fugitive.fetch('/film.mp4', {{ headers: {{ range: 'bytes={}-' }} }})
                         .then((response) => response.blob()),
                       new Image().src = '/image{}.jpg')",
                (CRASHES - 1 - round) * len / CRASHES,
                round % IMAGES as u64,
            ))
            .await?;
        // It is at it: blocks have been written since, and more are.
        visitor
            .until(&format!(
                "(await {}).reduce((sum, [from, to]) => sum + to - from, 0) > {held}",
                Visitor::held(len)
            ))
            .await?;
        profile = visitor.kill()?;
    }
    origin.heal("/film.mp4");
    let visitor = Visitor::in_profile(&driver, profile, &[]).await?;
    visitor.goto(&origin.url("/empty.html")).await?;
    visitor.until_controlled().await?;
    is_whole(&visitor).await?;
    assert!(!visitor.runs(len).await?.is_empty());
    let right = visitor
        .body_hash("fetch('/film.mp4', { cache: 'no-store' })")
        .await?;
    assert_eq!(
        visitor.body_hash("fugitive.fetch('/film.mp4')").await?,
        right
    );
    for n in 0..IMAGES {
        let path = json!(format!("/image{n}.jpg"));
        let right = format!("fetch({path}, {{ cache: 'no-store' }})");
        let right = visitor.body_hash(&right).await?;
        let ours = format!("fugitive.fetch({path})");
        assert_eq!(visitor.body_hash(&ours).await?, right, "{path}");
    }
    visitor.fill("/film.mp4", len).await?;
    is_whole(&visitor).await?;
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn record_that_rotted_is_dropped_and_fetched_again() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let visitor = Visitor::new(&driver).await?;
    visitor.goto(&origin.url("/empty.html")).await?;
    visitor.until_controlled().await?;
    visitor.goto(&origin.url("/")).await?;
    visitor.until_images().await?;
    visitor.until_held(IMAGES).await?;
    let right = visitor.pixels("#i0").await?;
    visitor.goto(&origin.url("/empty.html")).await?;
    visitor.stop_workers().await?;
    visitor
        .change_records("blocks", "record[record.length >> 1] ^= 1")
        .await?;
    // What the browser itself has cached would stand in for the origin.
    visitor.clear_cache().await?;
    let before = origin.requests("/image0.jpg")?.len();
    visitor.goto(&origin.url("/")).await?;
    visitor.until_images().await?;
    assert_eq!(visitor.pixels("#i0").await?, right);
    assert_eq!(origin.requests("/image0.jpg")?.len(), before + 1);
    visitor.until_held(IMAGES).await?;
    is_whole(&visitor).await?;
    // And is there again.
    visitor.stop_workers().await?;
    visitor.body_hash("fugitive.fetch('/image0.jpg')").await?;
    assert_eq!(visitor.until_served("/image0.jpg", 2).await?[1].0, "store");
    visitor.quit().await
}
