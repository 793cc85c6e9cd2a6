//! The main job in real browsers: a second visitor's media come from the first visitor's browser.

use std::fs;

use anyhow::{Result, ensure};
use fugitive_tests::{
    browser::{Driver, PATIENCE, Visitor},
    origin::{Fault, Origin},
    records,
    site::{IMAGES, Site},
    visitors::{newcomer, see_the_same},
};

/// A visitor who holds the gallery and waits on a page without media.
async fn holder(driver: &Driver, origin: &Origin) -> Result<Visitor> {
    let visitor = Visitor::new(driver).await?;
    visitor.goto(&origin.url("/")).await?;
    visitor.until_controlled().await?;
    visitor.until_images().await?;
    // Adopted, not fetched again: the next page has them from the store.
    visitor.until_held(IMAGES).await?;
    visitor.goto(&origin.url("/empty.html")).await?;
    Ok(visitor)
}

#[tokio::test(flavor = "multi_thread")]
async fn second_visitors_images_come_from_the_first_visitors_browser() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let first = holder(&driver, &origin).await?;
    let second = newcomer(&driver, &origin).await?;
    let before = origin.requests(".jpg")?.len();
    // Far enough away that peers are the faster ones on a busy machine too.
    for n in 0..IMAGES {
        origin.fault(&format!("/image{n}.jpg"), Fault::Delay(PATIENCE));
    }

    second.goto(&origin.url("/again.html")).await?;
    assert_eq!(second.until_images().await? as usize, IMAGES);
    assert_eq!(
        origin.requests(".jpg")?.len(),
        before,
        "the origin was asked"
    );
    for n in 0..IMAGES {
        let served = second.until_served(&format!("/image{n}.jpg"), 1).await?;
        let len = fs::metadata(site.path(&format!("image{n}.jpg")))?.len();
        assert_eq!(served, [("tier-1".to_owned(), len)]);
    }

    // What is rendered is what the origin has.
    for n in 0..IMAGES {
        origin.heal(&format!("/image{n}.jpg"));
    }
    let control = Visitor::new(&driver).await?;
    control.goto(&origin.url("/?fugitive=off")).await?;
    control.until_images().await?;
    see_the_same(&second, &control).await?;
    first.quit().await?;
    second.quit().await?;
    control.quit().await
}

/// With the default policy the nearest wins, which here may be the origin; what is shown is the same.
#[tokio::test(flavor = "multi_thread")]
async fn default_policy_shows_the_same_wherever_it_comes_from() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::unspared(&site).await?;
    let first = holder(&driver, &origin).await?;
    let second = newcomer(&driver, &origin).await?;
    second.goto(&origin.url("/again.html")).await?;
    assert_eq!(second.until_images().await? as usize, IMAGES);
    let control = Visitor::new(&driver).await?;
    control.goto(&origin.url("/?fugitive=off")).await?;
    control.until_images().await?;
    see_the_same(&second, &control).await?;
    for n in 0..IMAGES {
        let served = second.until_served(&format!("/image{n}.jpg"), 1).await?;
        let len = fs::metadata(site.path(&format!("image{n}.jpg")))?.len();
        assert_eq!(served.iter().map(|(_, bytes)| bytes).sum::<u64>(), len);
    }
    first.quit().await?;
    second.quit().await?;
    control.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_the_first_page_are_adopted_without_a_second_download() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let visitor = holder(&driver, &origin).await?;
    visitor.goto(&origin.url("/again.html")).await?;
    visitor.until_images().await?;
    let requests = origin.requests(".jpg")?;
    assert_eq!(requests.len(), IMAGES, "{requests:?}");
    assert!(requests.iter().all(|(status, _)| *status == 200));
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn large_image_that_was_adopted_is_given_to_others() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    // What follows an image's end is not looked at.
    let mut bytes = fs::read(site.path("image0.jpg"))?;
    let rest = 2_000_000 - bytes.len() as u32;
    bytes.extend((0..rest).map(|n| (n.wrapping_mul(n) >> 11) as u8));
    fs::write(site.path("large.jpg"), bytes)?;
    site.page("large.html", "<img src=/large.jpg>")?;
    let origin = Origin::start(&site).await?;
    let first = Visitor::new(&driver).await?;
    first.goto(&origin.url("/large.html")).await?;
    first.until_controlled().await?;
    first.until_held(1).await?;
    assert_eq!(origin.requests("/large.jpg")?.len(), 1, "it was adopted");

    let second = newcomer(&driver, &origin).await?;
    origin.fault("/large.jpg", Fault::Delay(PATIENCE));
    second.body_hash("fugitive.fetch('/large.jpg')").await?;
    let served = second.until_served("/large.jpg", 1).await?;
    assert_eq!(served, [("tier-1".to_owned(), 2_000_000)]);
    first.quit().await?;
    second.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn second_visitors_video_comes_from_the_first_and_seeks() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let first = Visitor::new(&driver).await?;
    first.goto(&origin.url("/empty.html")).await?;
    first.until_controlled().await?;
    first.goto(&origin.url("/video.html")).await?;
    let loaded = "v.readyState === 4 && v.buffered.length && v.buffered.end(0) >= v.duration - 0.1";
    first.until(loaded).await?;
    first.until_held(1).await?;
    first.goto(&origin.url("/empty.html")).await?;

    let second = newcomer(&driver, &origin).await?;
    let before = origin.sent("/film.mp4")?;
    origin.fault("/film.mp4", Fault::Delay(PATIENCE));
    second.goto(&origin.url("/video.html")).await?;
    second.until(loaded).await?;
    assert_eq!(origin.sent("/film.mp4")?, before, "the origin was asked");
    let served = second.until_served("/film.mp4", 1).await?;
    assert!(
        served.iter().all(|(source, _)| source == "tier-1"),
        "{served:?}"
    );

    origin.heal("/film.mp4");
    let control = Visitor::new(&driver).await?;
    control
        .goto(&origin.url("/video.html?fugitive=off"))
        .await?;
    control.until("v.readyState >= 2").await?;
    // Just after the beginning of a frame, so that rounding can not choose another one.
    for at in [0.53, 6.21, 3.41] {
        second.until_same_frame(&control, "#v", at).await?;
    }
    first.quit().await?;
    second.quit().await?;
    control.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_reach_the_page_before_the_last_have_arrived() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let visitor = Visitor::new(&driver).await?;
    visitor.goto(&origin.url("/empty.html")).await?;
    visitor.until_controlled().await?;
    visitor
        .until("fugitive.fetch('/image5.jpg').then((r) => r.headers.has('x-fugitive'))")
        .await?;
    origin.fault("/film.mp4", Fault::Slow(256 * 1024));
    let first_of_many: bool = visitor
        .eval(
            "fugitive.fetch('/film.mp4').then(async (response) => {
               const reader = response.body.getReader();
               const { value } = await reader.read();
               await reader.cancel();
               return value.length > 0 && value.length < Number(response.headers.get('content-length'));
             })",
        )
        .await?;
    assert!(first_of_many);
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn fetch_is_a_drop_in_and_goes_through_peers() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let first = holder(&driver, &origin).await?;
    let second = newcomer(&driver, &origin).await?;
    let by_network = second
        .body_hash("fetch('/image2.jpg', { cache: 'no-store' })")
        .await?;
    for path in ["/image2.jpg", "/image3.jpg"] {
        origin.fault(path, Fault::Delay(PATIENCE));
    }
    let by_peers = second.body_hash("fugitive.fetch('/image2.jpg')").await?;
    assert_eq!(by_network, by_peers);
    assert_eq!(second.until_served("/image2.jpg", 1).await?[0].0, "tier-1");
    let told: (u16, String, String, bool) = second
        .eval(
            "fugitive.fetch('/image3.jpg').then((r) =>
               [r.status, r.url, r.headers.get('content-type'), r.ok])",
        )
        .await?;
    let url = origin.url("/image3.jpg");
    assert_eq!(told, (200, url, "image/jpeg".to_owned(), true));

    let part: (u16, String) = second
        .eval(
            "fugitive.fetch('/image2.jpg', { headers: { range: 'bytes=-10' } })
               .then((r) => [r.status, r.headers.get('content-range')])",
        )
        .await?;
    let len = fs::metadata(site.path("image2.jpg"))?.len();
    let range = format!("bytes {}-{}/{len}", len - 10, len - 1);
    assert_eq!(part, (206, range));
    let unsatisfiable: u16 = second
        .eval(
            "fugitive.fetch('/image2.jpg', { headers: { range: 'bytes=99999999-' } })
               .then((r) => r.status)",
        )
        .await?;
    assert_eq!(unsatisfiable, 416);

    // What is not in the manifest, and what is no plain GET, is fetched as ever.
    let page: u16 = second
        .eval("fugitive.fetch('/empty.html').then((r) => r.status)")
        .await?;
    let missing: u16 = second
        .eval("fugitive.fetch('/nowhere.jpg').then((r) => r.status)")
        .await?;
    let aborted: String = second
        .eval(
            "fugitive.fetch('/film.mp4', { signal: AbortSignal.abort() })
               .then(() => 'came', (error) => error.name)",
        )
        .await?;
    assert_eq!((page, missing, aborted.as_str()), (200, 404, "AbortError"));
    first.quit().await?;
    second.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn page_that_says_off_is_left_alone() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let visitor = holder(&driver, &origin).await?;
    let before = origin.requests(".jpg")?.len();
    visitor.clear_cache().await?;
    visitor
        .goto(&origin.url("/again.html?fugitive=off"))
        .await?;
    visitor.until_images().await?;
    assert_eq!(origin.requests(".jpg")?.len(), before + IMAGES);
    assert!(visitor.eval::<bool>("!('fugitive' in window)").await?);
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_of_somebody_else_at_our_scope_is_not_replaced() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    fs::write(site.path("theirs.js"), "onfetch = () => {};")?;
    site.page_with(
        "theirs.html",
        "<script>navigator.serviceWorker.register('/theirs.js')</script>",
        "",
    )?;
    let origin = Origin::start(&site).await?;
    let visitor = Visitor::new(&driver).await?;
    visitor.goto(&origin.url("/theirs.html")).await?;
    visitor
        .until("(await navigator.serviceWorker.ready).active.state === 'activated'")
        .await?;
    visitor.goto(&origin.url("/empty.html")).await?;
    let ready = visitor.eval::<bool>("fugitive.ready").await?;
    assert!(!ready, "{:?}", visitor.log().await?);
    let script: String = visitor
        .eval("navigator.serviceWorker.getRegistration('/').then((r) => r.active.scriptURL)")
        .await?;
    assert!(script.ends_with("/theirs.js"));
    let log = visitor.log().await?;
    assert!(
        log.iter().any(|line| line.contains("not registered")),
        "{log:?}"
    );
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_not_media_never_reach_the_worker() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    fs::write(site.path("style.css"), "p { color: green }")?;
    site.page_with(
        "styled.html",
        "<script src=/fugitive.js data-consent=implied async></script><link rel=stylesheet href=/style.css>",
        "<p>text</p><img src=/image0.jpg>",
    )?;
    let origin = Origin::start(&site).await?;
    let visitor = holder(&driver, &origin).await?;
    visitor.goto(&origin.url("/styled.html")).await?;
    visitor.until_images().await?;
    // What a worker answers or relays has a worker start; what a static route sent on has none.
    let through: Vec<String> = visitor
        .eval(
            "[...performance.getEntriesByType('resource'),
              ...performance.getEntriesByType('navigation')]
               .filter((entry) => entry.workerStart > 0 && entry.workerRouterSource === '' ||
                                  entry.workerFinalSourceType === 'fetch-event')
               .map((entry) => new URL(entry.name).pathname)",
        )
        .await?;
    assert!(
        through.iter().all(|path| path.ends_with(".jpg")),
        "{through:?}"
    );
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_next_is_prefetched_from_peers_and_the_origin_is_not_asked() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    // Nobody scrolls this far down.
    let below = "<p style=\"height: 90000px\">above</p><img src=/image4.jpg loading=lazy>";
    site.page("below.html", below)?;
    let origin = Origin::start(&site).await?;
    let first = holder(&driver, &origin).await?;
    let second = newcomer(&driver, &origin).await?;
    let before = origin.requests(".jpg")?.len();
    second
        .eval::<()>("fugitive.prefetch(['/image3.jpg'])")
        .await?;
    second.until_held(1).await?;
    // By itself, when the page has been idle for a while.
    second.goto(&origin.url("/below.html")).await?;
    second.until_held(2).await?;
    assert_eq!(
        origin.requests(".jpg")?.len(),
        before,
        "the origin was asked"
    );

    for path in ["/image3.jpg", "/image4.jpg"] {
        let theirs = format!("fetch('{path}', {{ cache: 'no-store' }})");
        let right = second.body_hash(&theirs).await?;
        origin.fault(path, Fault::Delay(PATIENCE));
        let ours = format!("fugitive.fetch('{path}')");
        assert_eq!(second.body_hash(&ours).await?, right);
    }
    // A page knows how much later peers made it, as far as that can be known, and what was wasted.
    let told: (f64, f64, f64) = second
        .eval("fugitive.stats().then((all) => [all['regret-p50'], all['regret-p95'], all.wasted])")
        .await?;
    assert!(told.0 <= told.1, "{told:?}");
    first.quit().await?;
    second.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn beginning_of_a_film_is_prefetched_from_peers_and_it_plays_from_there() -> Result<()> {
    const BEGINNING: u64 = 1 << 20;
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let len = fs::metadata(site.path("film.mp4"))?.len();
    let first = Visitor::new(&driver).await?;
    first.goto(&origin.url("/empty.html")).await?;
    first.until_controlled().await?;
    first.until_listed("/film.mp4").await?;
    first.fill("/film.mp4", len).await?;
    first.goto(&origin.url("/empty.html")).await?;
    let second = newcomer(&driver, &origin).await?;
    let beginning = format!("{{ headers: {{ range: 'bytes=0-{}' }} }}", BEGINNING - 1);
    let theirs = format!("fetch('/film.mp4', {beginning})");
    let right = first.body_hash(&theirs).await?;

    // Neither the film nor the hash tree that would prove it to others.
    let asked = || {
        anyhow::Ok((
            origin.sent("/film.mp4")?,
            origin.sent_below("/fugitive/bao/")?,
        ))
    };
    let before = asked()?;
    second
        .eval::<()>("fugitive.prefetch(['/film.mp4'])")
        .await?;
    let held = Visitor::held(len);
    second.until(&format!("(await {held}).length")).await?;
    let contents = records::all("contents");
    let is_shared = format!("{contents}.then((all) => all.some(({{ shared }}) => shared))");
    assert!(!second.eval::<bool>(&is_shared).await?);
    assert_eq!(second.runs(len).await?, [(0, BEGINNING / 16_384)]);
    assert_eq!(asked()?, before, "the origin was asked");
    let sent = format!("(await fugitive.stats()).sent === {BEGINNING}");
    first.until(&sent).await?;

    origin.fault("/film.mp4", Fault::Delay(PATIENCE));
    let ours = format!(
        "fugitive.fetch('/film.mp4', {beginning}).then((response) =>
           (self.__told = [response.status, response.headers.get('content-range')], response))"
    );
    assert_eq!(second.body_hash(&ours).await?, right);
    let told: (u16, String) = second.eval("__told").await?;
    assert_eq!(told, (206, format!("bytes 0-{}/{len}", BEGINNING - 1)));
    let served = second.until_served("/film.mp4", 1).await?;
    assert_eq!(served, [("store".to_owned(), BEGINNING)]);
    // It is named again, and is there.
    second
        .eval::<()>("fugitive.prefetch(['/film.mp4'])")
        .await?;

    second.goto(&origin.url("/video.html")).await?;
    let loaded = "v.readyState === 4 && v.buffered.length && v.buffered.end(0) >= v.duration - 0.1";
    second.until(loaded).await?;
    let counted: (u64, u64) = second
        .eval("fugitive.stats().then((all) => [all.network?.bytes ?? 0, all.store.bytes])")
        .await?;
    assert!(counted.0 == 0 && counted.1 >= 2 * BEGINNING, "{counted:?}");
    // It came once: what was there was not asked for.
    let sent = format!("(await fugitive.stats()).sent >= {len}");
    first.until(&sent).await?;
    let sent: u64 = first
        .eval("fugitive.stats().then((all) => all.sent)")
        .await?;
    assert!(sent < len + 16_384, "{sent} of {len}");
    // And now it has the tree, and gives it to others.
    second.until(&is_shared).await?;
    assert!(asked()?.1 > before.1);
    first.quit().await?;
    second.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn bridge_hears_how_fast_a_film_is_played() -> Result<()> {
    // In the place of the page's own bridge.
    const HEAR: &str = "(() => {
      const { port1, port2 } = new MessageChannel();
      self.__rates = [];
      port2.onmessage = ({ data: [said] }) => said.pace && __rates.push(said.pace.rate);
      navigator.serviceWorker.controller.postMessage({ fugitive: 'bridge', handed: false }, [port1]);
    })()";
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let len = fs::metadata(site.path("film.mp4"))?.len();
    let visitor = Visitor::new(&driver).await?;
    visitor.goto(&origin.url("/empty.html")).await?;
    visitor.until_controlled().await?;
    visitor.until_listed("/film.mp4").await?;
    visitor.goto(&origin.url("/video.html")).await?;
    visitor.until("v.readyState > 0").await?;
    visitor.until("'peers' in (await fugitive.stats())").await?;
    // It was said before this bridge was there, and is said again when it changes.
    visitor.eval::<()>(HEAR).await?;
    for pace in [1.0, 2.0] {
        visitor
            .eval::<()>(&format!("void (v.playbackRate = {pace})"))
            .await?;
        let rate = format!("Math.floor({len} / (v.duration / {pace}))");
        visitor.until(&format!("__rates.at(-1) === {rate}")).await?;
    }
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_prefetched_while_the_page_waits_for_the_origin() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let only = [fs::read(site.path("image0.jpg"))?, vec![0]].concat();
    fs::write(site.path("only.jpg"), &only)?;
    site.page("slow.html", "<img src=/only.jpg>")?;
    let origin = Origin::start(&site).await?;
    let first = holder(&driver, &origin).await?;
    let second = newcomer(&driver, &origin).await?;
    second.until_listed("/only.jpg").await?;

    origin.fault("/only.jpg", Fault::Slow(only.len() / 4));
    second.goto(&origin.url("/slow.html")).await?;
    second.until_peers(1).await?;
    second
        .eval::<()>("fugitive.prefetch(['/image3.jpg'])")
        .await?;
    // When the store has it, the page has its own.
    let held = Visitor::held(fs::metadata(site.path("image3.jpg"))?.len());
    let came_before = format!(
        "(async () => {{
           while ((await {held}).length === 0) await new Promise(requestAnimationFrame);
           return document.images[0].complete;
         }})()"
    );
    assert!(second.at_length::<bool>(&came_before).await?);
    first.quit().await?;
    second.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn page_that_imports_the_module_of_the_package_is_like_one_that_has_the_line() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let module = concat!(env!("CARGO_MANIFEST_DIR"), "/../page-bridge/npm/index.js");
    fs::copy(module, site.path("fugitive-module.js"))?;
    let import = "<script type=module>
        import { register } from '/fugitive-module.js';
        self.__given = await register({ consent: 'implied', relayOnly: true, panel: false });
        self.__tag = document.querySelector('head script[src$=\"/fugitive.js\"]').dataset;
      </script>";
    site.page_with("module.html", import, "<img id=i0 src=/image0.jpg>")?;
    let origin = Origin::start(&site).await?;
    let visitor = Visitor::new(&driver).await?;
    visitor.goto(&origin.url("/module.html")).await?;
    visitor.until_controlled().await?;
    visitor
        .until("self.__given === fugitive && await fugitive.ready")
        .await?;
    let attributes: serde_json::Value = visitor.eval("({ ...__tag })").await?;
    let expected = serde_json::json!({ "consent": "implied", "relayOnly": "" });
    ensure!(attributes == expected, "{attributes}");
    // Nor does it come back without a word where it is off.
    visitor
        .goto(&origin.url("/module.html?fugitive=off"))
        .await?;
    visitor.until("'__given' in self && !self.__given").await?;
    visitor.quit().await
}
