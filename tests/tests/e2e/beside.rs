//! Beside what a site has already: a worker of its own, Workbox, Turbo, htmx, a server that is not ours.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result, ensure};
use fugitive_core::manifest::Policy;
use fugitive_server::{Config, client_files::ClientFiles, config::Access, export, scan::Rules};
use fugitive_tests::{
    browser::{Driver, Visitor},
    driver::until_listens,
    npm,
    origin::{Fault, Origin, Script},
    site::{IMAGES, LINE, Site},
    visitors::{newcomer, see_the_same},
};
use tempfile::TempDir;

const TURBO: &str = "@hotwired/turbo@8.0.23";
const HTMX: &str = "htmx.org@4.0.1";
const WORKBOX: &str = "workbox-build@7.4.0";
/// The databases and caches that are ours.
const OURS: &str = "(async () => [...await caches.keys(),
  ...(await indexedDB.databases()).map(({ name }) => name)].filter((name) => name.startsWith('fugitive')))()";

/// Somebody who holds the gallery.
async fn holder(driver: &Driver, url: &str) -> Result<Visitor> {
    let holder = Visitor::new(driver).await?;
    holder.goto(url).await?;
    holder.until_held(IMAGES).await?;
    Ok(holder)
}

/// What a visitor's page shows is what another one's shows, and each picture came from a peer.
async fn is_from_a_peer(visitor: &Visitor, other: &Visitor) -> Result<()> {
    ensure!(visitor.until_images().await? as usize == IMAGES);
    see_the_same(visitor, other).await?;
    let served = visitor.until_served(".jpg", IMAGES).await?;
    ensure!(
        served.iter().all(|(source, _)| source == "tier-1"),
        "not from the peer: {served:?}"
    );
    Ok(())
}

/// A site whose own worker has imported ours, as the tag says.
fn carried(worker: &str) -> Result<Site> {
    let site = Site::new()?;
    fs::write(site.path("sw.js"), worker)?;
    let line = LINE.replace("<script", "<script data-sw=/sw.js");
    let theirs = "<script>navigator.serviceWorker.register('/sw.js')</script>";
    ensure!(site.rewrite(LINE, &[theirs, &line].concat())? > 0);
    Ok(site)
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_of_the_sites_own_carries_ours_and_outlives_it() -> Result<()> {
    let site = carried(
        "importScripts('/fugitive-sw.js');
         // What a script of theirs may call as it likes.
         const WASM = 1, CACHE = 2, worker = 3, answer = 4;
         addEventListener('install', (event) => event.waitUntil(skipWaiting()));
         addEventListener('activate', (event) => event.waitUntil(clients.claim()));
         addEventListener('fetch', (event) => {
           if (new URL(event.request.url).pathname === '/theirs') event.respondWith(new Response('theirs'));
         });",
    )?;
    let (origin, driver) = (Origin::start(&site).await?, Driver::start()?);
    let holder = holder(&driver, &origin.url("/again.html")).await?;
    let visitor = newcomer(&driver, &origin).await?;
    visitor.goto(&origin.url("/again.html")).await?;
    is_from_a_peer(&visitor, &holder).await?;
    let theirs = "fetch('/theirs').then((answer) => answer.text())";
    assert_eq!(visitor.eval::<String>(theirs).await?, "theirs");
    let script = "navigator.serviceWorker.getRegistrations()
        .then((all) => all.map(({ active }) => new URL(active.scriptURL).pathname))";

    // It is the site's, and stays when ours is taken out of it.
    visitor.eval::<()>("fugitive.forget()").await?;
    visitor
        .until(&format!("(await {OURS}).length === 0"))
        .await?;
    for page in ["/again.html", "/again.html?fugitive=off"] {
        visitor.goto(&origin.url(page)).await?;
        assert_eq!(visitor.until_images().await? as usize, IMAGES);
        assert_eq!(visitor.eval::<String>(theirs).await?, "theirs");
        assert_eq!(visitor.eval::<[String; 1]>(script).await?, ["/sw.js"]);
        let left: Vec<String> = visitor.eval(OURS).await?;
        assert!(left.is_empty(), "{left:?}");
        let served = visitor.served(".jpg").await?;
        assert!(served.is_empty(), "{served:?}");
    }
    // Until the visitor wants it back.
    visitor.goto(&origin.url("/empty.html")).await?;
    visitor.eval::<()>("fugitive.consent(true)").await?;
    visitor.goto(&origin.url("/empty.html")).await?;
    visitor.until_peers(1).await?;
    let hash = visitor.body_hash("fugitive.fetch('/image1.jpg')").await?;
    assert_eq!(
        hash,
        visitor
            .body_hash("fetch('/image1.jpg', { cache: 'reload' })")
            .await?
    );
    let served = visitor.until_served(".jpg", 1).await?;
    assert_eq!(served[0].0, "tier-1");
    visitor.quit().await?;
    holder.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_of_the_sites_own_works_without_ours_and_no_image_waits_for_it() -> Result<()> {
    let site = carried(
        "importScripts('/fugitive-sw.js');
         addEventListener('install', (event) => event.waitUntil(skipWaiting()));
         addEventListener('activate', (event) => event.waitUntil(clients.claim()));",
    )?;
    let (origin, driver) = (Origin::start(&site).await?, Driver::start()?);
    // The client's files were not all copied.
    let client = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/client/fugitive");
    let wasm = fs::read_dir(client)?
        .filter_map(|file| file.ok()?.file_name().into_string().ok())
        .find(|name| name.starts_with("sw-") && name.ends_with(".wasm"));
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let missing = Script(Arc::new(move |_: &str| {
        count.fetch_add(1, Ordering::SeqCst);
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()
    }));
    let path = format!("/fugitive/{}", wasm.context("no wasm")?);
    origin.fault(&path, Fault::Script(missing));
    let visitor = Visitor::new(&driver).await?;
    visitor.goto(&origin.url("/empty.html")).await?;
    visitor.until_controlled().await?;
    // One after the other, past what the browser has.
    let shown: usize = visitor
        .eval(
            "(async () => {
               let shown = 0;
               for (let n = 0; n < 6; n++) {
                 const image = new Image();
                 image.src = `/image${n}.jpg`;
                 await image.decode();
                 shown += 1;
               }
               return shown;
             })()",
        )
        .await?;
    assert_eq!(shown, 6);
    // At its install, and perhaps once for the bridge.
    let asked = asked.load(Ordering::SeqCst);
    assert!((1..=2).contains(&asked), "asked for {asked} times");
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_that_workbox_made_keeps_what_is_not_ours() -> Result<()> {
    let site = carried("")?;
    fs::write(site.path("style.css"), "body { color: rebeccapurple }")?;
    site.rewrite(
        "<meta charset=utf-8>",
        "<meta charset=utf-8><link rel=stylesheet href=/style.css>",
    )?;
    let made = Command::new("node")
        .current_dir(npm::install(WORKBOX)?)
        .arg("-e")
        .arg(
            "const [folder] = process.argv.slice(1);
             require('workbox-build').generateSW({
               swDest: `${folder}/sw.js`, globDirectory: folder, globPatterns: [], skipWaiting: true,
               clientsClaim: true, inlineWorkboxRuntime: true, sourcemap: false,
               importScripts: ['/fugitive-sw.js'],
               runtimeCaching: [{ urlPattern: /\\.(css|jpg)$/, handler: 'CacheFirst' }],
             });",
        )
        .arg(site.folder())
        .status()?;
    ensure!(made.success(), "generateSW failed");
    // Firefox takes a style sheet that it has just had without asking any worker.
    let (origin, driver) = (Origin::start(&site).await?, Driver::chromium()?);
    let holder = holder(&driver, &origin.url("/again.html")).await?;
    let visitor = newcomer(&driver, &origin).await?;
    visitor.goto(&origin.url("/again.html")).await?;
    is_from_a_peer(&visitor, &holder).await?;
    let kept = "(async () => {
      const paths = [];
      for (const name of (await caches.keys()).filter((name) => !name.startsWith('fugitive'))) {
        for (const { url } of await (await caches.open(name)).keys()) paths.push(new URL(url).pathname);
      }
      return paths;
    })()";
    // It is put there behind the answer.
    visitor.until(&format!("(await {kept}).length")).await?;
    let kept: Vec<String> = visitor.eval(kept).await?;
    assert_eq!(kept, ["/style.css"]);
    visitor.quit().await?;
    holder.quit().await
}

/// A script of a package, copied to the site; says how a page loads it.
fn script(site: &Site, package: &str, file: &str) -> Result<String> {
    let (name, _) = package.rsplit_once('@').context("no version")?;
    let from = npm::install(package)?
        .join("node_modules")
        .join(name)
        .join(file);
    let to = Path::new(file).file_name().context("no file")?;
    fs::copy(&from, site.path(&to.to_string_lossy()))
        .with_context(|| format!("no {}", from.display()))?;
    Ok(format!("<script src=/{}></script>", to.display()))
}

/// A click on the page's link, and the gallery is there, though the document is the same.
async fn turn(visitor: &Visitor) -> Result<()> {
    visitor.eval::<()>("void (self.__same = true)").await?;
    visitor
        .eval::<()>("void document.querySelector('#next').click()")
        .await?;
    visitor.until("document.images.length > 0").await?;
    ensure!(
        visitor.eval::<bool>("self.__same === true").await?,
        "a new document"
    );
    Ok(())
}

/// A page that leads to the gallery, whose library does not load it but takes it in.
async fn is_turned_into_the_gallery(site: &Site, head: &str, link: &str) -> Result<()> {
    let head = [LINE, head].concat();
    site.page_with("door.html", &head, link)?;
    ensure!(site.rewrite(LINE, &head)? > 0);
    let (origin, driver) = (Origin::start(site).await?, Driver::start()?);
    let holder = holder(&driver, &origin.url("/again.html")).await?;
    let visitor = Visitor::new(&driver).await?;
    visitor.goto(&origin.url("/door.html")).await?;
    visitor.until_peers(1).await?;
    turn(&visitor).await?;
    is_from_a_peer(&visitor, &holder).await?;
    // It is known to be on this page now, and to hold what that shows.
    holder.quit().await?;
    visitor
        .until("(await fugitive.stats()).peers === 0")
        .await?;
    visitor.until("location.pathname === '/again.html'").await?;
    visitor.until_held(IMAGES).await?;
    let another = newcomer(&driver, &origin).await?;
    another.goto(&origin.url("/again.html")).await?;
    is_from_a_peer(&another, &visitor).await?;
    another.quit().await?;
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn page_that_turbo_turns_is_the_page_that_it_became() -> Result<()> {
    let site = Site::new()?;
    let head = script(&site, TURBO, "dist/turbo.es2017-umd.js")?;
    is_turned_into_the_gallery(&site, &head, "<a id=next href=/again.html>next</a>").await
}

#[tokio::test(flavor = "multi_thread")]
async fn page_that_htmx_fills_is_the_page_that_it_became() -> Result<()> {
    let site = Site::new()?;
    let head = script(&site, HTMX, "dist/htmx.min.js")?;
    let link =
        "<a id=next href=/again.html hx-get=/again.html hx-target=body hx-push-url=true>next</a>";
    is_turned_into_the_gallery(&site, &head, link).await
}

/// An nginx of its own; ends with this value.
struct Nginx {
    process: Child,
    folder: TempDir,
}

impl Nginx {
    /// Starts one on this port, with what is in `http` of its configuration.
    fn start(port: u16, http: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let here = folder.path().display();
        let program = ["/usr/sbin/nginx", "/usr/bin/nginx"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .unwrap_or("nginx");
        let all = format!(
            "daemon off; master_process off; error_log {here}/error.log; pid {here}/pid;
             events {{}}
             http {{
               include /etc/nginx/mime.types; access_log off;
               client_body_temp_path {here}/a; proxy_temp_path {here}/b; fastcgi_temp_path {here}/c;
               uwsgi_temp_path {here}/d; scgi_temp_path {here}/e;
               {http}
             }}"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, all)?;
        let process = Command::new(program)
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("nginx does not start")?;
        let nginx = Self { process, folder };
        let log = || fs::read_to_string(nginx.folder.path().join("error.log"));
        until_listens(port, || log().unwrap_or_default())?;
        Ok(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// As `fugitive client` and `fugitive manifest` do it, for a site that is at this path of its host.
fn write_files(folder: &Path, base: &str) -> Result<()> {
    let client = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/client");
    ensure!(ClientFiles::Folder(client).write(folder)? > 0);
    let rules = Rules::new(&[], &[])?.below(base);
    let policy = Policy {
        spare_origin: true,
        ..Policy::default()
    };
    struct Silent;
    impl fugitive_server::scan::Progress for Silent {
        fn start(&self, _: u64, _: u64) {}
        fn hashed(&self, _: u64) {}
    }
    ensure!(export::write(folder, rules, policy, &Silent)?.resources > 0);
    Ok(())
}

/// One that is free, most likely.
fn port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Of two visitors of a site the second one gets the gallery from the first.
async fn is_shared(site: &str) -> Result<()> {
    let driver = Driver::start()?;
    let holder = holder(&driver, &[site, "/again.html"].concat()).await?;
    let visitor = Visitor::new(&driver).await?;
    visitor.goto(&[site, "/empty.html"].concat()).await?;
    visitor.until_peers(1).await?;
    visitor.goto(&[site, "/again.html"].concat()).await?;
    is_from_a_peer(&visitor, &holder).await?;
    visitor.quit().await?;
    holder.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn site_behind_nginx_is_shared_as_its_configuration_says() -> Result<()> {
    let (site, port) = (Site::new()?, port()?);
    write_files(site.folder(), "/")?;
    let proxies = ["127.0.0.0/8".parse()?];
    let access = Access {
        trusted_proxies: proxies.to_vec(),
        ..Access::default()
    };
    let signal = Origin::beside(Config {
        access,
        ..Config::default()
    })
    .await?;
    let folder = site.folder().to_string_lossy();
    let mut http = include_str!("../../../signal-server/nginx.conf").to_owned();
    for (theirs, ours) in [
        ("listen 80;", format!("listen 127.0.0.1:{port};")),
        ("/var/www/site", folder.into_owned()),
        ("http://127.0.0.1:8787", signal.url("")),
    ] {
        ensure!(http.contains(theirs), "no {theirs}");
        http = http.replace(theirs, &ours);
    }
    let _nginx = Nginx::start(port, &http)?;
    is_shared(&format!("http://127.0.0.1:{port}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn site_below_a_path_of_a_plain_host_meets_at_another_one() -> Result<()> {
    let (site, port) = (Site::new()?, port()?);
    let access = Access {
        origins: vec![format!("http://127.0.0.1:{port}")],
        ..Access::default()
    };
    let signal = Origin::beside(Config {
        access,
        ..Config::default()
    })
    .await?;
    let socket = signal
        .url("/fugitive/signal")
        .replace("127.0.0.1", "localhost");
    for (root, below) in [("=/", "=/shop/"), ("\"/", "\"/shop/")] {
        site.rewrite(root, below)?;
    }
    let more = format!("data-sw=/shop/fugitive-sw.js data-scope=/shop/ data-signal={socket} async");
    ensure!(site.rewrite("async", &more)? > 0);
    write_files(site.folder(), "/shop/")?;
    // Storage gives what is there, and has no opinion on it.
    let folder = site.folder().display();
    let http =
        format!("server {{ listen 127.0.0.1:{port}; location /shop/ {{ alias {folder}/; }} }}");
    let _nginx = Nginx::start(port, &http)?;
    is_shared(&format!("http://127.0.0.1:{port}/shop")).await
}
