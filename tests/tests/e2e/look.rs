//! What a person sees of us: in the light and in the dark, in the language of the page; and the demo's
//! page with the code for a second device.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use fugitive_tests::{
    browser::{Driver, PATIENCE, Visitor},
    certificate::Certificate,
    origin::Origin,
    reader::Inside,
    site::{IMAGES, Site},
};
use serde_json::json;

/// Of the question and the panel, by their elements.
const HOSTS: [&str; 2] = ["fugitive-consent", "fugitive-panel"];
const LANGUAGES: [&str; 6] = ["en", "de", "fr", "es", "it", "nl"];

/// How many texts there are, and those that are hard to read: text and background differ by less than
/// WCAG asks of small text (1.4.3), whether the page behind is white or black.
const HARD_TO_READ: &str = r"
function () {
  const surface = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const painted = (colours) => {
    for (const colour of colours) {
      surface.fillStyle = colour;
      surface.fillRect(0, 0, 1, 1);
    }
    return [...surface.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((value) => value / 255)
      .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  let count = 0;
  const hard = [];
  for (const part of [this, ...this.querySelectorAll('*')]) {
    const text = [...part.childNodes].filter(({ nodeType }) => nodeType === Node.TEXT_NODE)
      .map(({ data }) => data.trim()).join('');
    if (!text || part.closest(':disabled') || !part.getClientRects().length) continue;
    count += 1;
    const behind = [];
    for (let at = part; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
    for (const page of ['white', 'black']) {
      const sheet = [page, ...behind];
      const ratio = contrast(painted(sheet), painted([...sheet, getComputedStyle(part).color]));
      if (ratio < 4.5) hard.push(`${ratio.toFixed(2)}: ${text}`);
    }
  }
  return [count, hard];
}";

fn site() -> Result<Site> {
    let site = Site::new()?;
    let images: String = (0..IMAGES)
        .map(|n| format!("<img src=/image{n}.jpg width=160 height=120>\n"))
        .collect();
    for lang in LANGUAGES.into_iter().chain(["pt"]) {
        for (name, line) in [("ask", ""), ("yes", "data-consent=implied data-panel")] {
            fs::write(
                site.path(&format!("{name}-{lang}.html")),
                format!(
                    "<!doctype html><html lang={lang}><head><meta charset=utf-8>\
                     <title>{name}</title><link rel=icon href=\"data:,\">\
                     <script src=/fugitive.js {line} async></script></head><body>{images}</body></html>"
                ),
            )?;
        }
    }
    Ok(site)
}

async fn visitor(driver: &Driver, args: &[&str]) -> Result<Visitor> {
    let visitor = Visitor::with_args(driver, args).await?;
    let screen = json!({ "width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": false });
    visitor
        .cdp("Emulation.setDeviceMetricsOverride", screen)
        .await?;
    Ok(visitor)
}

/// The question, or the panel, once it has its words.
async fn shown(visitor: &Visitor, host: &str) -> Result<Inside> {
    visitor
        .until(&format!("document.querySelector('{host}')"))
        .await?;
    for _ in 0..PATIENCE.as_millis() / 100 {
        let inside = Inside::of(visitor, host).await?;
        // The panel has the first of what it has to say after a moment.
        let is_silent = |text: &Inside| text.text().is_empty();
        if let Some(section) = inside.all("section").into_iter().next()
            && !section.all("p").iter().any(is_silent)
        {
            return Ok(section);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("{host} has nothing to say")
}

#[tokio::test(flavor = "multi_thread")]
async fn words_can_be_read_in_the_light_and_in_the_dark() -> Result<()> {
    let (site, driver) = (site()?, Driver::chromium()?);
    let origin = Origin::start(&site).await?;
    let visitor = visitor(&driver, &[]).await?;
    for (host, page) in HOSTS.into_iter().zip(["/ask-en.html", "/yes-en.html"]) {
        for scheme in ["light", "dark"] {
            let wish = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
            visitor.cdp("Emulation.setEmulatedMedia", wish).await?;
            visitor.goto(&origin.url(page)).await?;
            let seen = shown(&visitor, host).await?;
            let (count, hard): (usize, Vec<String>) =
                serde_json::from_value(seen.ask(&visitor, HARD_TO_READ).await?)?;
            ensure!(count >= 4, "{host} has {count} texts");
            assert_eq!(hard, [""; 0], "{host} in the {scheme}");
            let paper = "function () { return getComputedStyle(this).backgroundColor; }";
            let paper = seen.ask(&visitor, paper).await?;
            let is_dark = !paper.as_str().unwrap_or_default().contains("255, 255, 255");
            assert_eq!(is_dark, scheme == "dark", "{host}: {paper}");
        }
    }
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn question_and_panel_speak_the_language_of_the_page() -> Result<()> {
    let (site, driver) = (site()?, Driver::chromium()?);
    let origin = Origin::start(&site).await?;
    let visitor = visitor(&driver, &["--lang=en"]).await?;
    for (host, page) in HOSTS.into_iter().zip(["ask", "yes"]) {
        let mut titles = BTreeSet::new();
        for lang in LANGUAGES {
            visitor
                .goto(&origin.url(&format!("/{page}-{lang}.html")))
                .await?;
            let seen = shown(&visitor, host).await?;
            assert!(!seen.text().contains("undefined"), "{}", seen.text());
            let said = format!("document.querySelector('{host}').lang");
            assert_eq!(visitor.eval::<String>(&said).await?, lang);
            titles.insert(seen.all("h2")[0].text());
        }
        assert_eq!(titles.len(), LANGUAGES.len(), "{titles:?}");
        // One that there is not is the visitor's.
        visitor
            .goto(&origin.url(&format!("/{page}-pt.html")))
            .await?;
        let title = shown(&visitor, host).await?.all("h2")[0].text();
        assert!(["Images from other visitors?", "How images reach you"].contains(&&*title));
    }

    // What nobody has seen yet is there as well.
    let texts = fs::read_to_string(client("panel-texts.js"))?;
    let keys: Vec<Vec<String>> = visitor
        .eval(&format!(
            "import(URL.createObjectURL(new Blob([{}], {{ type: 'text/javascript' }})))
               .then(({{ TEXTS }}) => {}.map((lang) => [
                 ...Object.keys(TEXTS[lang]), ...Object.keys(TEXTS[lang].reasons),
               ].sort()))",
            json!(texts),
            json!(LANGUAGES)
        ))
        .await?;
    for (lang, keys_of) in LANGUAGES.iter().zip(&keys) {
        assert_eq!(*keys_of, keys[0], "{lang}");
    }
    visitor.quit().await
}

fn client(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.join("page-bridge/js").join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn code_for_a_second_device_is_there_only_where_it_leads_somewhere() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::chromium()?);
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo-site/site");
    for file in ["phone.html", "phone.js", "style.css"] {
        fs::copy(demo.join(file), site.path(file))?;
    }
    let certificate = Certificate::new()?;
    let visitor = visitor(&driver, &[&certificate.trust()]).await?;
    let is_shown = "((part) => document.querySelector(`${part}.code`).checkVisibility())";

    let svg = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>";
    for (has_code, is_secure) in [(true, false), (false, true), (true, true)] {
        if has_code {
            fs::write(site.path("code.svg"), svg)?;
        } else {
            let _ = fs::remove_file(site.path("code.svg"));
        }
        let origin = if is_secure {
            Origin::secure(&site, &certificate).await?
        } else {
            Origin::start(&site).await?
        };
        visitor.goto(&origin.url("/phone.html")).await?;
        let leads = has_code && is_secure;
        visitor
            .until(&format!("{is_shown}('figure') === {leads}"))
            .await?;
        if is_secure {
            // Whether it is there or not, it was looked for.
            visitor
                .until("performance.getEntriesByName(location.origin + '/code.svg').length > 0")
                .await?;
        }
        assert_eq!(
            visitor.eval::<bool>(&format!("{is_shown}('div')")).await?,
            !leads
        );
        assert_eq!(origin.requests("/code.svg")?.is_empty(), !is_secure);
        if leads {
            let caption = "document.querySelector('figcaption').textContent === location.origin";
            assert!(visitor.eval::<bool>(caption).await?);
        }
        // Before its origin goes.
        visitor.goto("about:blank").await?;
    }
    visitor.quit().await
}
