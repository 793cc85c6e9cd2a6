//! What takes many minutes: `./tests/run soak`, not in CI.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use fugitive_tests::{
    browser::{Driver, Visitor},
    origin::Origin,
    site::Site,
};

/// Longer than a browser lets a worker stream.
const PAUSE: Duration = Duration::from_secs(7 * 60);
/// Longer than a browser lets a worker live.
const PLAY: Duration = Duration::from_secs(12 * 60);
const LARGE: u64 = 500 << 20;
/// Of it, what a peer holds.
const HELD: u64 = 100 << 20;

/// A film of thirteen minutes, too large for a browser to have all of it at once.
fn film(to: &Path) -> Result<()> {
    let made = Command::new("ffmpeg")
        .args(["-loglevel", "error", "-y", "-f", "lavfi", "-i"])
        .arg("testsrc2=size=640x360:rate=15:duration=790,noise=alls=30:allf=t")
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-b:v", "1M"])
        .args(["-g", "30", "-pix_fmt", "yuv420p", "-movflags", "+faststart"])
        .arg(to)
        .status()
        .context("ffmpeg does not start")?;
    ensure!(made.success(), "ffmpeg failed");
    Ok(())
}

/// A page that plays the film and keeps what goes wrong.
const FILM: &str = "<video id=v src=/long.mp4 muted preload=auto width=320></video>";
const WATCH: &str = "(() => {
  const v = document.querySelector('#v');
  self.__wrong = [];
  const wrong = (what) => {
    const since = Math.round(performance.now() / 1000);
    __wrong.push(`${what} at ${v.currentTime} of the film, ${since} s after the page began`);
  };
  v.addEventListener('error', () => wrong(`error ${v.error?.message}`));
  v.addEventListener('stalled', () => wrong('stalled'));
  v.addEventListener('waiting', () => {
    const last = v.buffered.length - 1;
    const ahead = last < 0 ? 0 : v.buffered.end(last) - v.currentTime;
    // Where there is more to show, it is the decoder that is late, on a busy machine.
    if (ahead < 1) wrong(`waiting with ${ahead} s ahead`);
  });
  return v.play().then(() => null);
})()";

async fn watch(visitor: &Visitor, origin: &Origin) -> Result<()> {
    visitor.goto(&origin.url("/film.html")).await?;
    visitor.eval::<()>(WATCH).await?;
    visitor
        .until("document.querySelector('#v').currentTime > 1")
        .await?;
    // What happened while it began is not what is looked for.
    visitor.eval("(__wrong.length = 0, null)").await
}

async fn nothing_went_wrong(visitor: &Visitor) -> Result<()> {
    let wrong: Vec<String> = visitor.eval("__wrong").await?;
    if !wrong.is_empty() {
        let served = visitor.served("/long.mp4").await?;
        let log = visitor.log().await?.join("\n");
        bail!("{wrong:?}\nserved {served:?}\n{log}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes thirteen minutes"]
async fn video_paused_for_seven_minutes_and_one_that_plays_for_twelve_go_on() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    film(&site.path("long.mp4"))?;
    site.page("film.html", FILM)?;
    let origin = Origin::start(&site).await?;
    let len = fs::metadata(site.path("long.mp4"))?.len();
    let holder = Visitor::new(&driver).await?;
    holder.goto(&origin.url("/empty.html")).await?;
    holder.until_controlled().await?;
    holder.fill("/long.mp4", len).await?;

    let (pausing, playing) = (Visitor::new(&driver).await?, Visitor::new(&driver).await?);
    for visitor in [&pausing, &playing] {
        visitor.goto(&origin.url("/empty.html")).await?;
        visitor.until_peers(1).await?;
        watch(visitor, &origin).await?;
    }
    let began = Instant::now();
    let position = "document.querySelector('#v').currentTime";
    pausing
        .eval::<()>("(document.querySelector('#v').pause(), null)")
        .await?;
    let before: f64 = pausing.eval(position).await?;
    tokio::time::sleep(PAUSE).await;
    pausing
        .eval::<()>("document.querySelector('#v').play().then(() => null)")
        .await?;
    pausing
        .until(&format!("{position} > {before} + 20"))
        .await?;
    nothing_went_wrong(&pausing).await?;
    println!("paused for {} s, then played on", PAUSE.as_secs());

    tokio::time::sleep(PLAY.saturating_sub(began.elapsed())).await;
    nothing_went_wrong(&playing).await?;
    nothing_went_wrong(&pausing).await?;
    let at: f64 = playing.eval(position).await?;
    ensure!(at > PLAY.as_secs_f64() - 20.0, "played only to {at}");
    let served = playing.served("/long.mp4").await?;
    println!("played to {at:.0} s, served {served:?}");
    for visitor in [holder, pausing, playing] {
        visitor.quit().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "sends 500 MB"]
async fn memory_stays_flat_while_five_hundred_megabytes_stream() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let mut noise = vec![0; LARGE as usize];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    fs::write(site.path("noise.mp4"), &noise)?;
    drop(noise);
    let origin = Origin::start(&site).await?;
    let first = Visitor::new(&driver).await?;
    first.goto(&origin.url("/empty.html")).await?;
    first.until_controlled().await?;
    first.until_listed("/noise.mp4").await?;
    // One content may have its part of a store's room: a peer holds the beginning, and the rest comes
    // from the origin.
    let begin =
        format!("fugitive.fetch('/noise.mp4', {{ headers: {{ range: 'bytes=0-{HELD}' }} }})");
    let held = HELD / 16_384;
    for round in 0.. {
        first.body_hash(&begin).await?;
        let runs = first.runs(LARGE).await?;
        if runs
            .first()
            .is_some_and(|(from, to)| *from == 0 && *to >= held)
        {
            break;
        }
        ensure!(round < 20, "the beginning is never held: {runs:?}");
    }
    let second = Visitor::new(&driver).await?;
    second.goto(&origin.url("/empty.html")).await?;
    second.until_peers(1).await?;
    second
        .eval::<()>(
            "(self.__bytes = 0, self.__failed = null, (async () => {
               const reader = (await fugitive.fetch('/noise.mp4')).body.getReader();
               for (let read; !(read = await reader.read()).done; ) __bytes += read.value.length;
             })().catch((error) => (__failed = String(error))), null)",
        )
        .await?;

    // Of both sides, at every tenth.
    let mut seen: Vec<(u64, u64, u64)> = Vec::new();
    loop {
        let (bytes, failed): (u64, Option<String>) = second.eval("[__bytes, __failed]").await?;
        ensure!(failed.is_none(), "{failed:?} after {bytes}");
        if bytes >= LARGE / 10 * (seen.len() as u64 + 1) {
            seen.push((bytes, first.memory()?, second.memory()?));
            let (bytes, serving, asking) = seen[seen.len() - 1];
            println!(
                "{:4} MB streamed: serving side {} MB, asking side {} MB",
                bytes >> 20,
                serving >> 20,
                asking >> 20
            );
        }
        if bytes == LARGE {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let stats: serde_json::Value = second.eval("fugitive.stats()").await?;
    let from_peers = stats["tier-1"]["bytes"].as_u64().unwrap_or_default();
    println!("of it from the peer: {} MB", from_peers >> 20);
    ensure!(from_peers > HELD / 2);
    // If what streams were kept, the second half would take half of it more than the first. What
    // browsers collect only now and then makes single moments say little.
    let (early, late) = seen.split_at(seen.len() / 2);
    let mean = |part: &[(u64, u64, u64)], of: fn(&(u64, u64, u64)) -> u64| {
        part.iter().map(of).sum::<u64>() / part.len() as u64
    };
    for (side, of) in [
        ("serving", (|seen| seen.1) as fn(&(u64, u64, u64)) -> u64),
        ("asking", |seen| seen.2),
    ] {
        let (before, after) = (mean(early, of), mean(late, of));
        println!("{side}: {} MB, then {} MB", before >> 20, after >> 20);
        ensure!(after < before + LARGE / 4, "{side}: memory grows");
    }
    first.quit().await?;
    second.quit().await
}
