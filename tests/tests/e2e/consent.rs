//! Whether the visitor lets this browser meet others: without a yes nothing connects, and a no ends
//! what is there.

use anyhow::{Result, bail};
use fugitive_tests::{
    browser::{Driver, PATIENCE, Visitor},
    origin::Origin,
    reader::{SHIFTS, named, press},
    site::{IMAGES, STRICT, Site},
    visitors::DEVICE,
};
use serde_json::{Value, json};

const BRIDGE_IS_WANTED: &str = "navigator.locks.query().then(({ held, pending }) =>
    [...held, ...pending].some(({ name }) => name === 'fugitive:swarm'))";

/// A site whose pages `ask.html` and `required.html` are not those of a test that looks away.
fn site() -> Result<Site> {
    let site = Site::new()?;
    let images: String = (0..IMAGES)
        .map(|n| format!("<img src=/image{n}.jpg width=160 height=120>\n"))
        .collect();
    let line = |mode: &str| format!("{STRICT}<script src=/fugitive.js {mode} async></script>");
    site.page_with("ask.html", &line("data-privacy=/empty.html"), &images)?;
    site.page_with("required.html", &line("data-consent=required"), &images)?;
    let implied = |more: &str| {
        let line = "<script src=/fugitive.js data-consent=implied data-worker=off";
        format!("{line} {more} async></script>")
    };
    for page in ["window.html", "next.html"] {
        site.page_with(page, &implied(""), "<p>nothing here</p>")?;
    }
    site.page_with(
        "relay.html",
        &implied("data-relay-only"),
        "<p>nothing here</p>",
    )?;
    site.page_with(
        "stranger.html",
        &implied("data-visits=off"),
        "<p>nothing here</p>",
    )?;
    Ok(site)
}

async fn until_asked(visitor: &Visitor) -> Result<()> {
    visitor
        .until("document.querySelector('fugitive-consent')")
        .await?;
    let dialogs = named(visitor, "dialog").await?;
    assert_eq!(dialogs, ["Images from other visitors?"]);
    Ok(())
}

/// The bridge's module has begun with this page; what it has not done by then it does not do.
async fn until_begun(visitor: &Visitor) -> Result<()> {
    visitor.until_controlled().await?;
    visitor.eval::<Value>("fugitive.stats()").await?;
    Ok(())
}

async fn until_sockets(origin: &Origin, open: usize) -> Result<()> {
    for _ in 0..PATIENCE.as_millis() / 50 {
        if origin.sockets().0 == open {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    bail!("never {open} sockets, but {:?}", origin.sockets())
}

async fn connects(visitor: &Visitor) -> Result<bool> {
    visitor.eval(BRIDGE_IS_WANTED).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_connects_before_a_yes_and_the_question_is_asked_once() -> Result<()> {
    let (site, driver) = (site()?, Driver::chromium()?);
    let origin = Origin::start(&site).await?;
    let first = Visitor::new(&driver).await?;
    first.goto(&origin.url("/again.html")).await?;
    first.until_controlled().await?;
    first.until_held(IMAGES).await?;
    until_sockets(&origin, 1).await?;

    let second = Visitor::new(&driver).await?;
    second.before_scripts(SHIFTS).await?;
    second.goto(&origin.url("/ask.html")).await?;
    until_asked(&second).await?;
    second.until_held(IMAGES).await?;
    // The worker keeps what passes by, whatever the answer is.
    second.goto(&origin.url("/ask.html")).await?;
    until_asked(&second).await?;
    assert_eq!(second.until_images().await? as usize, IMAGES);
    let sources: Vec<String> = second.eval("__served.map(({ source }) => source)").await?;
    let kept = |source: &String| source == "store" || source == "memory";
    assert!(
        sources.len() == IMAGES && sources.iter().all(kept),
        "{sources:?}"
    );
    assert!(!connects(&second).await?);
    let wasm: Vec<String> = second
        .eval(
            "performance.getEntriesByType('resource').map(({ name }) => name)
                 .filter((name) => name.endsWith('.wasm'))",
        )
        .await?;
    assert!(wasm.is_empty(), "{wasm:?}");
    assert_eq!(origin.sockets(), (1, 1));
    assert_eq!(named(&second, "button").await?, ["Allow", "No, thanks"]);
    assert_eq!(named(&second, "link").await?, ["More about this"]);
    let log = second.log().await?;
    assert!(
        !log.iter().any(|line| line.contains("Security Policy")),
        "{log:?}"
    );

    // The first thing that the Tab key reaches.
    press(&second, "Tab", 9).await?;
    press(&second, "Enter", 13).await?;
    second.until_peers(1).await?;
    assert_eq!(named(&second, "dialog").await?, [""; 0]);
    assert_eq!(second.eval::<Vec<String>>("__shifts").await?, [""; 0]);
    second.goto(&origin.url("/ask.html")).await?;
    second.until_peers(1).await?;
    assert_eq!(named(&second, "dialog").await?, [""; 0]);
    first.quit().await?;
    second.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn question_put_aside_comes_again_and_a_no_is_kept() -> Result<()> {
    let (site, driver) = (site()?, Driver::chromium()?);
    let origin = Origin::start(&site).await?;
    let visitor = Visitor::new(&driver).await?;
    visitor.goto(&origin.url("/ask.html")).await?;
    until_asked(&visitor).await?;
    press(&visitor, "Tab", 9).await?;
    press(&visitor, "Escape", 27).await?;
    visitor
        .until("!document.querySelector('fugitive-consent')")
        .await?;
    visitor.goto(&origin.url("/ask.html")).await?;
    until_asked(&visitor).await?;
    press(&visitor, "Tab", 9).await?;
    press(&visitor, "Tab", 9).await?;
    press(&visitor, "Enter", 13).await?;
    visitor
        .until("localStorage.getItem('fugitive:consent') === 'no'")
        .await?;
    // Nor where the site takes it as given.
    for page in ["/ask.html", "/again.html", "/required.html"] {
        visitor.goto(&origin.url(page)).await?;
        until_begun(&visitor).await?;
        assert!(!connects(&visitor).await?, "{page}");
        assert_eq!(named(&visitor, "dialog").await?, [""; 0], "{page}");
    }
    assert_eq!(origin.sockets(), (0, 0));
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn taking_a_yes_back_ends_every_connection_in_every_tab() -> Result<()> {
    let (site, driver) = (site()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let first = Visitor::new(&driver).await?;
    first.goto(&origin.url("/empty.html")).await?;
    let second = Visitor::new(&driver).await?;
    second.goto(&origin.url("/empty.html")).await?;
    first.until_peers(1).await?;
    second.until_peers(1).await?;
    let kept = "sessionStorage.getItem('fugitive:ticket')";
    second.until(kept).await?;
    let been = "JSON.parse(localStorage.getItem('fugitive:been'))?.pages";
    second.until(been).await?;
    let pages: Vec<String> = second.eval(been).await?;
    assert_eq!(pages, ["/empty.html"]);

    second.eval::<()>("fugitive.consent(false)").await?;
    until_sockets(&origin, 1).await?;
    first.until("(await fugitive.stats()).peers === 0").await?;
    assert!(!connects(&second).await?);
    assert_eq!(second.eval::<Option<String>>(kept).await?, None);
    assert_eq!(second.eval::<Option<Vec<String>>>(been).await?, None);

    second.eval::<()>("fugitive.consent(true)").await?;
    second.until_peers(1).await?;
    // Said in another tab, where there is no bridge to end.
    let tab = second.new_tab().await?;
    second.goto(&origin.url("/empty.html")).await?;
    until_begun(&second).await?;
    second.eval::<()>("fugitive.consent(false)").await?;
    until_sockets(&origin, 1).await?;
    second.close_tab(tab).await?;
    assert!(!connects(&second).await?);
    first.quit().await?;
    second.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn site_with_a_question_of_its_own_shows_none_of_ours() -> Result<()> {
    let (site, driver) = (site()?, Driver::chromium()?);
    let origin = Origin::start(&site).await?;
    let first = Visitor::new(&driver).await?;
    first.goto(&origin.url("/empty.html")).await?;
    until_sockets(&origin, 1).await?;
    let second = Visitor::new(&driver).await?;
    for _ in 0..2 {
        second.goto(&origin.url("/required.html")).await?;
        until_begun(&second).await?;
        assert_eq!(named(&second, "dialog").await?, [""; 0]);
        assert!(!connects(&second).await?);
    }
    assert_eq!(origin.sockets(), (1, 1));
    second.eval::<()>("fugitive.consent(true)").await?;
    second.until_peers(1).await?;
    first.quit().await?;
    second.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn visitor_who_pauses_meets_nobody_until_it_goes_on() -> Result<()> {
    let (site, driver) = (site()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let first = Visitor::new(&driver).await?;
    first.goto(&origin.url("/empty.html")).await?;
    let second = Visitor::new(&driver).await?;
    second.goto(&origin.url("/empty.html")).await?;
    second.until_peers(1).await?;
    second.eval::<()>("fugitive.pause()").await?;
    until_sockets(&origin, 1).await?;
    first.until("(await fugitive.stats()).peers === 0").await?;
    second.goto(&origin.url("/empty.html")).await?;
    until_begun(&second).await?;
    assert!(!connects(&second).await?);
    let quiet = second.eval::<String>("fugitive.stats().then(({ quiet }) => quiet)");
    assert_eq!(quiet.await?, "paused");
    second.eval::<()>("fugitive.pause(false)").await?;
    second.until_peers(1).await?;
    first.quit().await?;
    second.quit().await
}

/// Keeps how peer connections are made, which candidates they find, and what goes to the server.
const OVERHEAR: &str = r"
  self.__policies = [];
  self.__candidates = [];
  self.__said = [];
  self.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(configuration) {
      super(configuration);
      __policies.push(configuration.iceTransportPolicy);
      this.addEventListener('icecandidate', ({ candidate }) => {
        if (candidate?.type) __candidates.push(candidate.type);
      });
      this.addEventListener('icegatheringstatechange', () => __candidates.push(this.iceGatheringState));
    }
  };
  const { send } = WebSocket.prototype;
  WebSocket.prototype.send = function (data) {
    __said.push([...new Uint8Array(data)]);
    return send.call(this, data);
  };
  // The first message travels with the handshake.
  self.WebSocket = class extends WebSocket {
    constructor(url, protocols) {
      super(url, protocols);
      const join = [protocols ?? []].flat().find((name) => name.startsWith('fugitive.join.'));
      const bytes = join?.slice(14).replaceAll('-', '+').replaceAll('_', '/');
      if (bytes) __said.push([...atob(bytes)].map((byte) => byte.charCodeAt(0)));
    }
  };
";

#[tokio::test(flavor = "multi_thread")]
async fn page_that_wants_relays_alone_tells_no_peer_an_address() -> Result<()> {
    let (site, driver) = (site()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let first = Visitor::new(&driver).await?;
    first.goto(&origin.url("/empty.html")).await?;
    first.until_controlled().await?;
    until_sockets(&origin, 1).await?;
    let second = Visitor::new(&driver).await?;
    second.before_scripts(OVERHEAR).await?;
    // What is told where it is not wished, so that what is not told later means something.
    second.goto(&origin.url("/window.html")).await?;
    second.until("__candidates.includes('host')").await?;
    second.goto(&origin.url("/relay.html")).await?;
    second.until("__candidates.includes('complete')").await?;
    let policies: Vec<String> = second.eval("__policies").await?;
    assert!(
        policies.iter().all(|policy| policy == "relay"),
        "{policies:?}"
    );
    let candidates: Vec<String> = second.eval("__candidates").await?;
    let is_address = |kind: &String| kind == "host" || kind == "srflx" || kind == "prflx";
    assert!(!candidates.iter().any(is_address), "{candidates:?}");
    first.quit().await?;
    second.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_before_this_one_are_said_by_who_serves_and_by_nobody_else() -> Result<()> {
    let (site, driver) = (site()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let visitor = Visitor::new(&driver).await?;
    visitor.before_scripts(OVERHEAR).await?;
    visitor.before_scripts(DEVICE).await?;
    // Kept when the signal server has answered; what is said of earlier ones is said by then.
    let kept = |page: &str| {
        let been = "JSON.parse(localStorage.getItem('fugitive:been'))?.pages[0]";
        format!("{been} === '{page}'")
    };
    let said = |page: &str| {
        format!(
            "__said.map((bytes) => String.fromCharCode(...bytes))
               .some((text) => text.includes('been') && text.includes('{page}'))"
        )
    };
    visitor.goto(&origin.url("/window.html")).await?;
    visitor.until(&kept("/window.html")).await?;
    visitor.goto(&origin.url("/next.html")).await?;
    visitor.until(&said("/window.html")).await?;
    visitor.until(&kept("/next.html")).await?;

    // Where the site wants none of that.
    visitor.goto(&origin.url("/stranger.html")).await?;
    visitor
        .until("localStorage.getItem('fugitive:been') === null")
        .await?;
    visitor
        .until("(await fugitive.stats()).quiet === null")
        .await?;
    assert!(!visitor.eval::<bool>(&said("/next.html")).await?);
    visitor.goto(&origin.url("/next.html")).await?;
    visitor.until(&kept("/next.html")).await?;

    visitor.before_scripts("__line({ saveData: true })").await?;
    visitor.goto(&origin.url("/window.html")).await?;
    visitor.until(&kept("/window.html")).await?;
    visitor
        .until("(await fugitive.stats()).quiet === 'data saver'")
        .await?;
    assert!(!visitor.eval::<bool>(&said("/next.html")).await?);
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn position_is_said_only_where_it_was_switched_on_and_to_ten_kilometres() -> Result<()> {
    let (site, driver) = (site()?, Driver::chromium()?);
    let origin = Origin::start(&site).await?;
    let visitor = Visitor::new(&driver).await?;
    visitor.before_scripts(OVERHEAR).await?;
    let here = json!({ "latitude": 52.516_27, "longitude": 13.377_72, "accuracy": 5 });
    visitor
        .cdp("Emulation.setGeolocationOverride", here)
        .await?;
    visitor
        .cdp(
            "Browser.grantPermissions",
            json!({ "permissions": ["geolocation"] }),
        )
        .await?;
    visitor.goto(&origin.url("/window.html")).await?;
    // `lat` or `lon`, and what follows: a number of two bytes, or nothing.
    let said = |name: &str| {
        let [a, b, c] = [0, 1, 2].map(|at| name.as_bytes()[at]);
        format!(
            "__said.flatMap((bytes) => bytes.flatMap((_, at) =>
               bytes[at] === {a} && bytes[at + 1] === {b} && bytes[at + 2] === {c} &&
               bytes[at + 3] === 0xcd ? [bytes[at + 4] * 256 + bytes[at + 5]] : []))"
        )
    };
    visitor.until("__said.length > 0").await?;
    assert_eq!(visitor.eval::<Vec<u16>>(&said("lat")).await?, [0; 0]);

    visitor.eval::<()>("fugitive.precise(true)").await?;
    visitor
        .until(&format!("{}.length > 0", said("lat")))
        .await?;
    assert_eq!(visitor.eval::<Vec<u16>>(&said("lat")).await?, [1425]);
    assert_eq!(visitor.eval::<Vec<u16>>(&said("lon")).await?, [1934]);
    visitor.goto(&origin.url("/window.html")).await?;
    visitor
        .until(&format!("{}.length > 0", said("lat")))
        .await?;

    visitor.eval::<()>("fugitive.precise(false)").await?;
    visitor.goto(&origin.url("/window.html")).await?;
    visitor.until("__said.length > 0").await?;
    assert_eq!(visitor.eval::<Vec<u16>>(&said("lat")).await?, [0; 0]);
    visitor.quit().await
}
