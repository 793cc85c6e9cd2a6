//! A new version of the client takes over from the old one while a page is open, and may be taken back.
//! Each build says which script and which wasm it runs.

use std::{
    fs,
    path::Path,
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use anyhow::{Context, Result, ensure};
use fugitive_tests::{
    browser::{Driver, PATIENCE, Visitor},
    origin::{Fault, Origin, Script},
    site::{IMAGES, Site},
};
use serde_json::json;

const SCRIPT: &str = "/fugitive-sw.js";
const MANIFEST: &str = "/fugitive/manifest.json";
/// A response of a build is held back until this is open.
type Gate = Arc<(Mutex<bool>, Condvar)>;

/// The client under another name: its wasm has one section more, and so another hash.
struct Build {
    name: &'static str,
    script: Vec<u8>,
    wasm: Vec<u8>,
    wasm_path: String,
}

impl Build {
    fn new(name: &'static str) -> Result<Self> {
        let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/client");
        let script = fs::read_to_string(client.join("fugitive-sw.js"))?;
        let (_, from) = script.split_once("fugitive/sw-").context("no wasm")?;
        let (hash, _) = from.split_once(".wasm").context("no wasm")?;
        let mut wasm = fs::read(client.join(format!("fugitive/sw-{hash}.wasm")))?;
        // A custom section of the name `build`.
        wasm.extend([0, 6 + name.len() as u8, 5]);
        wasm.extend(b"build");
        wasm.extend(name.as_bytes());
        let other = blake3::hash(&wasm).to_hex()[..16].to_owned();
        // Whatever else is named by a hash is so by the worker's version.
        let own = script
            .match_indices("fugitive-")
            .filter_map(|(at, name)| script.get(at + name.len()..at + name.len() + 16))
            .chain(script.split('"').filter(|text| text.len() == 16))
            .find(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .context("no version")?;
        let script = script.replace(own, &other).replace(hash, &other);
        let probe = format!(
            "{{
               const build = {};
               let wasm;
               for (const how of ['compile', 'compileStreaming', 'instantiate', 'instantiateStreaming']) {{
                 const real = WebAssembly[how];
                 WebAssembly[how] = async (source, ...more) => {{
                   const made = await real.call(WebAssembly, source, ...more);
                   const module = made.module ?? (made instanceof WebAssembly.Module ? made : source);
                   const [section] = WebAssembly.Module.customSections(module, 'build');
                   wasm = new TextDecoder().decode(section);
                   return made;
                 }};
               }}
               addEventListener('message', ({{ data, ports }}) => {{
                 if (data.build) ports[0].postMessage([build, wasm]);
               }});
             }}\n",
            json!(name)
        );
        Ok(Self {
            name,
            script: [probe.into_bytes(), script.into_bytes()].concat(),
            wasm,
            wasm_path: format!("/fugitive/sw-{other}.wasm"),
        })
    }

    /// The origin has this build from now on, and no other.
    fn publish(&self, origin: &Origin) {
        origin.fault(SCRIPT, self.answer(&self.script, "text/javascript"));
        origin.fault(&self.wasm_path, self.answer(&self.wasm, "application/wasm"));
    }

    /// The same, but whoever asks for the wasm waits.
    fn publish_behind(&self, origin: &Origin) -> Gate {
        let gate = Gate::default();
        let (held, wasm) = (gate.clone(), self.wasm.clone());
        let answer = move |_: &str| {
            tokio::task::block_in_place(|| {
                let open = held.0.lock().unwrap_or_else(PoisonError::into_inner);
                // A test that has failed never opens it.
                drop(held.1.wait_timeout_while(open, PATIENCE, |open| !*open));
            });
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/wasm\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n",
                wasm.len()
            );
            [head.as_bytes(), &wasm].concat()
        };
        self.publish(origin);
        origin.fault(&self.wasm_path, Fault::Script(Script(Arc::new(answer))));
        gate
    }

    /// The origin no longer has it.
    fn withdraw(&self, origin: &Origin) {
        let gone = Fault::Answer {
            status: "404 Not Found",
            headers: String::new(),
            body: Vec::new(),
        };
        origin.fault(&self.wasm_path, gone);
    }

    fn answer(&self, body: &[u8], mime: &str) -> Fault {
        Fault::Answer {
            status: "200 OK",
            headers: format!("Content-Type: {mime}\r\nCache-Control: no-cache\r\n"),
            body: body.to_vec(),
        }
    }
}

fn open(gate: &Gate) {
    *gate.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    gate.1.notify_all();
}

/// What a worker of this page's registration says it runs: script and wasm.
fn runs(which: &str) -> String {
    format!(
        "(async () => {{
           const {{ {which}: worker }} = await navigator.serviceWorker.getRegistration();
           if (!worker) return [];
           return new Promise((done) => {{
             const {{ port1, port2 }} = new MessageChannel();
             port1.onmessage = ({{ data }}) => done(data);
             worker.postMessage({{ build: true }}, [port2]);
           }});
         }})()"
    )
}

/// A visitor who holds the gallery by this build, and marks the page to know it again.
async fn visitor(driver: &Driver, origin: &Origin, build: &Build) -> Result<Visitor> {
    build.publish(origin);
    let visitor = Visitor::new(driver).await?;
    visitor.goto(&origin.url("/again.html")).await?;
    visitor.until_controlled().await?;
    visitor.until_held(IMAGES).await?;
    visitor.eval::<()>("(self.__mark = true, null)").await?;
    shows(&visitor, origin, build).await?;
    Ok(visitor)
}

/// The page is still the same one; its images come from what is held, by this build and its own wasm.
async fn shows(visitor: &Visitor, origin: &Origin, build: &Build) -> Result<()> {
    let before = origin.sent(".jpg")?;
    for n in 0..IMAGES {
        let path = format!("/image{n}.jpg");
        let hash = visitor
            .body_hash(&format!("fugitive.fetch({})", json!(path)))
            .await?;
        visitor.until_served(&path, 1).await?;
        let expected: String = visitor
            .eval(&format!("(self.__hashes ??= {{}})['{path}'] ??= '{hash}'"))
            .await?;
        ensure!(hash == expected, "{path} has changed");
    }
    ensure!(origin.sent(".jpg")? == before, "the origin was asked again");
    let running: [String; 2] = visitor.eval(&runs("active")).await?;
    ensure!(running == [build.name, build.name], "{running:?}");
    ensure!(
        visitor.eval::<bool>("self.__mark === true").await?,
        "reloaded"
    );
    Ok(())
}

/// Until this build is in control, alone, and nothing is left of another.
async fn until_taken_over(visitor: &Visitor, build: &Build) -> Result<()> {
    // Not by asking the old one: it stays while it has something to say.
    visitor
        .until(
            "(async () => {
               const { installing, waiting } = await navigator.serviceWorker.getRegistration();
               const kept = (await caches.keys()).filter((name) => name.startsWith('fugitive-'));
               return !installing && !waiting && kept.length === 1;
             })()",
        )
        .await?;
    let running: [String; 2] = visitor.eval(&runs("active")).await?;
    ensure!(running == [build.name, build.name], "{running:?}");
    Ok(())
}

async fn look_for_update(visitor: &Visitor) -> Result<()> {
    visitor
        .eval(
            "navigator.serviceWorker.getRegistration()
               .then((registration) => registration.update())
               .then(() => null)",
        )
        .await
}

/// There is nothing of us, and what was being installed comes to nothing.
async fn until_nothing_is_left(visitor: &Visitor) -> Result<()> {
    visitor
        .until(
            "(async () => {
               const { held, pending } = await navigator.locks.query();
               return [
                 ...(await navigator.serviceWorker.getRegistrations()),
                 ...(await caches.keys()),
                 ...(await indexedDB.databases()),
                 ...held,
                 ...pending,
               ].length === 0;
             })()",
        )
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn new_version_takes_over_without_a_reload_and_goes_back_again() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let (one, two) = (Build::new("one")?, Build::new("two")?);
    let visitor = visitor(&driver, &origin, &one).await?;

    let gate = two.publish_behind(&origin);
    one.withdraw(&origin);
    look_for_update(&visitor).await?;
    visitor
        .until("(await navigator.serviceWorker.getRegistration()).installing")
        .await?;
    shows(&visitor, &origin, &one).await?;
    open(&gate);
    until_taken_over(&visitor, &two).await?;
    shows(&visitor, &origin, &two).await?;
    // Started anew it has its own wasm, though the origin has neither any more.
    two.withdraw(&origin);
    visitor.stop_workers().await?;
    shows(&visitor, &origin, &two).await?;

    one.publish(&origin);
    look_for_update(&visitor).await?;
    until_taken_over(&visitor, &one).await?;
    shows(&visitor, &origin, &one).await?;
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn new_version_whose_wasm_does_not_come_leaves_the_old_one_as_it_was() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let (one, two) = (Build::new("one")?, Build::new("two")?);
    let visitor = visitor(&driver, &origin, &one).await?;

    two.publish(&origin);
    two.withdraw(&origin);
    look_for_update(&visitor).await?;
    until_taken_over(&visitor, &one).await?;
    visitor.stop_workers().await?;
    shows(&visitor, &origin, &one).await?;

    two.publish(&origin);
    look_for_update(&visitor).await?;
    until_taken_over(&visitor, &two).await?;
    shows(&visitor, &origin, &two).await?;
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn old_and_new_version_read_the_same_store_while_the_old_one_still_answers() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let (one, two) = (Build::new("one")?, Build::new("two")?);
    let visitor = visitor(&driver, &origin, &one).await?;
    let film = visitor.body_hash("fetch('/film.mp4')").await?;

    // An answer that takes its time.
    origin.fault("/film.mp4", Fault::Slow(1 << 20));
    visitor
        .eval::<()>(
            "(async () => {
               const answer = await fugitive.fetch('/film.mp4');
               self.__film = answer.arrayBuffer()
                 .then((bytes) => crypto.subtle.digest('SHA-256', bytes))
                 .then((hash) => [...new Uint8Array(hash)]
                   .map((byte) => byte.toString(16).padStart(2, '0')).join(''));
             })()",
        )
        .await?;
    two.publish(&origin);
    look_for_update(&visitor).await?;
    visitor
        .until(&format!(
            "(await {})[0] === 'two' || (await {})[0] === 'two'",
            runs("waiting"),
            runs("active")
        ))
        .await?;
    // Both are alive; whoever is asked answers from the store.
    let before = origin.sent(".jpg")?;
    for n in 0..IMAGES {
        let path = format!("/image{n}.jpg");
        visitor
            .until(&format!(
                "new Promise((done) => {{
                   const image = new Image();
                   image.onload = () => done(true);
                   image.onerror = () => done(false);
                   image.src = '{path}';
                 }})"
            ))
            .await?;
    }
    assert_eq!(origin.sent(".jpg")?, before);
    assert_eq!(visitor.eval::<String>("__film").await?, film);
    until_taken_over(&visitor, &two).await?;
    shows(&visitor, &origin, &two).await?;
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn forgotten_while_a_new_version_is_installed_nothing_is_left() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let (one, two) = (Build::new("one")?, Build::new("two")?);
    let visitor = visitor(&driver, &origin, &one).await?;
    let gate = two.publish_behind(&origin);
    look_for_update(&visitor).await?;
    is_forgotten(&visitor, &gate).await?;
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn forgotten_while_it_is_installed_for_the_first_time_nothing_is_left() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let one = Build::new("one")?;
    let gate = one.publish_behind(&origin);
    let visitor = Visitor::new(&driver).await?;
    visitor.goto(&origin.url("/again.html")).await?;
    is_forgotten(&visitor, &gate).await?;
    visitor.quit().await
}

/// A page takes everything away while a worker is being installed, whose wasm then comes.
async fn is_forgotten(visitor: &Visitor, gate: &Gate) -> Result<()> {
    visitor
        .until(
            "(async () => {
               self.__coming ??= (await navigator.serviceWorker.getRegistration())?.installing;
               return __coming;
             })()",
        )
        .await?;
    // The browser unregisters only when that is over.
    visitor
        .eval::<()>("(self.__forgotten = fugitive.forget(), null)")
        .await?;
    visitor
        .until("localStorage.getItem('fugitive:off')")
        .await?;
    open(gate);
    visitor.eval::<()>("__forgotten").await?;
    until_nothing_is_left(visitor).await?;
    let image = visitor.body_hash("fugitive.fetch('/image1.jpg')").await?;
    assert_eq!(image, visitor.body_hash("fetch('/image1.jpg')").await?);
    visitor.stop_workers().await?;
    until_nothing_is_left(visitor).await
}

/// A new version is there, and waits: an answer under way keeps the old one.
async fn comes_and_waits(visitor: &Visitor, origin: &Origin, new: &Build) -> Result<()> {
    origin.fault("/film.mp4", Fault::Slow(256 << 10));
    visitor
        .eval::<()>("fugitive.fetch('/film.mp4').then((answer) => ((self.__film = answer), null))")
        .await?;
    new.publish(origin);
    look_for_update(visitor).await?;
    visitor
        .until(
            "(async () => {
               const { waiting, active } = await navigator.serviceWorker.getRegistration();
               return waiting || (active.state === 'activated' && (await caches.keys()).length === 1);
             })()",
        )
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn forgotten_while_a_new_version_waits_nothing_is_left() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let (one, two) = (Build::new("one")?, Build::new("two")?);
    let visitor = visitor(&driver, &origin, &one).await?;
    comes_and_waits(&visitor, &origin, &two).await?;
    visitor.eval::<()>("fugitive.forget()").await?;
    until_nothing_is_left(&visitor).await?;
    visitor.quit().await
}

/// The site wants no workers from now on; those who have a bridge hear that something has changed.
fn says_off(site: &Site, origin: &Origin) -> Result<()> {
    let off = Fault::Answer {
        status: "200 OK",
        headers: "Content-Type: application/json\r\n".into(),
        body: br#"{"version":1,"policy":{"enabled":false}}"#.to_vec(),
    };
    origin.fault(MANIFEST, off);
    fs::copy(site.path("image5.jpg"), site.path("image0.jpg"))?;
    Ok(())
}

/// The page goes on by the network, and nothing comes back.
async fn is_inert(visitor: &Visitor, origin: &Origin) -> Result<()> {
    until_nothing_is_left(visitor).await?;
    let before = origin.requests("/image1.jpg")?.len();
    visitor.clear_cache().await?;
    visitor.body_hash("fugitive.fetch('/image1.jpg')").await?;
    ensure!(origin.requests("/image1.jpg")?.len() > before, "not asked");
    visitor.stop_workers().await?;
    until_nothing_is_left(visitor).await?;
    visitor.goto(&origin.url("/again.html")).await?;
    ensure!(!visitor.eval::<bool>("fugitive.ready").await?, "is back");
    until_nothing_is_left(visitor).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn manifest_that_says_off_while_a_new_version_is_installed_takes_both_away() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let (one, two) = (Build::new("one")?, Build::new("two")?);
    let visitor = visitor(&driver, &origin, &one).await?;
    let gate = two.publish_behind(&origin);
    look_for_update(&visitor).await?;
    visitor
        .until("(await navigator.serviceWorker.getRegistration()).installing")
        .await?;
    says_off(&site, &origin)?;
    // Inert at once, though the browser unregisters only when the install is over.
    visitor
        .until("!(await indexedDB.databases()).length")
        .await?;
    open(&gate);
    is_inert(&visitor, &origin).await?;
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn manifest_that_says_off_while_it_is_installed_for_the_first_time_leaves_nothing()
-> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let one = Build::new("one")?;
    let gate = one.publish_behind(&origin);
    let visitor = Visitor::new(&driver).await?;
    visitor.goto(&origin.url("/again.html")).await?;
    visitor
        .until("(await navigator.serviceWorker.getRegistration())?.installing")
        .await?;
    says_off(&site, &origin)?;
    open(&gate);
    is_inert(&visitor, &origin).await?;
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn manifest_that_says_off_while_a_new_version_waits_takes_both_away() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let (one, two) = (Build::new("one")?, Build::new("two")?);
    let visitor = visitor(&driver, &origin, &one).await?;
    comes_and_waits(&visitor, &origin, &two).await?;
    says_off(&site, &origin)?;
    is_inert(&visitor, &origin).await?;
    visitor.quit().await
}
