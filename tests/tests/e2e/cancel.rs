//! Peers that are no longer needed send no more, in real browsers.

use std::time::Duration;

use anyhow::{Result, ensure};
use fugitive_tests::{
    browser::{Driver, PATIENCE, Visitor},
    origin::{Fault, Origin},
    site::Site,
    visitors::newcomer,
};

use crate::peers::{HONEST, large_holder, site};

/// What a cancelled sender may still send: the window of the asking side, in bytes.
const WINDOW: u64 = 128 * 16 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn fetch_that_is_aborted_stops_its_sender() -> Result<()> {
    let (site, driver) = (site()?, Driver::start()?);
    let len = lengthen(&site)?;
    let origin = Origin::start(&site).await?;
    let holder = large_holder(&driver, &origin, HONEST, ("/long.mp4", len)).await?;
    let second = newcomer(&driver, &origin).await?;
    origin.fault("/long.mp4", Fault::Delay(PATIENCE));
    let (read, at): (u64, u64) = second
        .eval(
            "(async () => {
               const abort = new AbortController();
               const response = await fugitive.fetch('/long.mp4', { signal: abort.signal });
               const reader = response.body.getReader();
               let read = 0;
               while (read < 4_000_000) read += (await reader.read()).value.length;
               abort.abort();
               return [read, Date.now()];
             })()",
        )
        .await?;
    let (after, total) = sent_after(&holder, at, 0, len).await?;
    println!("aborted after {read} bytes of {len}: {after} sent after that, {total} in all");
    assert!(total >= read);
    assert!(after <= WINDOW, "{after}");
    holder.quit().await?;
    second.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn image_that_is_taken_away_stops_its_sender() -> Result<()> {
    let (site, driver) = (site()?, Driver::start()?);
    // What a decoder can't read it gives up, so this one only looks like an image that goes on.
    let mut large = std::fs::read(site.path("image5.jpg"))?;
    // It is noise, which does not deflate, so that what is sent is what was asked for.
    let film = std::fs::read(site.path("film.mp4"))?;
    let comments = film[..8_000_000].chunks_exact(0xfffd).flat_map(|noise| {
        let head = [0xff, 0xfe, 0xff, 0xff];
        head.into_iter().chain(noise.iter().copied())
    });
    large.splice(2..2, comments.collect::<Vec<_>>().repeat(3));
    std::fs::write(site.path("large.jpg"), &large)?;
    let origin = Origin::start(&site).await?;
    let len = large.len() as u64;
    let holder = large_holder(&driver, &origin, HONEST, ("/large.jpg", len)).await?;
    let second = newcomer(&driver, &origin).await?;
    origin.fault("/large.jpg", Fault::Delay(PATIENCE));
    second
        .eval::<()>("void (document.body.append(self.i = new Image()), i.src = '/large.jpg')")
        .await?;
    holder.until("__sent.length >= 10").await?;
    let at: u64 = second.eval("(i.src = '', i.remove(), Date.now())").await?;
    let (after, total) = sent_after(&holder, at, 0, len).await?;
    println!("image of {len} taken away: {after} sent after that, {total} in all");
    assert!(after <= WINDOW, "{after}");
    holder.quit().await?;
    second.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn seek_stops_what_is_no_longer_needed() -> Result<()> {
    let (site, driver) = (site()?, Driver::start()?);
    let len = lengthen(&site)?;
    let origin = Origin::start(&site).await?;
    let holder = large_holder(&driver, &origin, HONEST, ("/long.mp4", len)).await?;
    let second = newcomer(&driver, &origin).await?;
    origin.fault("/long.mp4", Fault::Delay(PATIENCE));
    site.page("long.html", "<video id=v src=/long.mp4 muted preload=auto>")?;
    second.goto(&origin.url("/long.html")).await?;
    second.until("v.readyState >= 1").await?;
    let at: u64 = second
        .eval(
            "new Promise((done) => {
               v.onseeked = () => done(at);
               v.currentTime = v.duration * 0.9;
               const at = Date.now();
             })",
        )
        .await?;
    let (after, total) = sent_after(&holder, at, 0, len * 3 / 5).await?;
    println!("seek in {len}: {after} of the beginning sent after it, {total} in all");
    assert!(after <= WINDOW, "{after}");
    let beyond: u64 = holder
        .eval(&format!(
            "__sent.filter(({{ offset }}) => offset > {len} * 4 / 5).length"
        ))
        .await?;
    assert!(beyond > 0, "what was sought came from somebody else");
    holder.quit().await?;
    second.quit().await
}

/// A film that is too long to be buffered as a whole.
fn lengthen(site: &Site) -> Result<u64> {
    let status = std::process::Command::new("ffmpeg")
        .args(["-v", "error", "-stream_loop", "7", "-i"])
        .arg(site.path("film.mp4"))
        .args(["-c", "copy", "-movflags", "+faststart"])
        .arg(site.path("long.mp4"))
        .status()?;
    ensure!(status.success());
    Ok(std::fs::metadata(site.path("long.mp4"))?.len())
}

/// Bytes of this part of a content that were sent after a moment, and in all, once no more come.
async fn sent_after(holder: &Visitor, at: u64, from: u64, to: u64) -> Result<(u64, u64)> {
    let sent = format!(
        "[{at}, 0].map((at) => __sent
           .filter((sent) => sent.at > at && sent.offset >= {from} && sent.offset < {to})
           .reduce((sum, {{ bytes }}) => sum + bytes, 0))"
    );
    let mut before = holder.eval(&sent).await?;
    let mut still = 0;
    while still < 4 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = holder.eval(&sent).await?;
        still = if now == before { still + 1 } else { 0 };
        before = now;
    }
    Ok(before)
}
