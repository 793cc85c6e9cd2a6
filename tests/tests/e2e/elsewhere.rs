//! Images of the site on another host, listed by whole URL: shared where the page may read them, and
//! nothing else of a page's is other than without us.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Result;
use fugitive_tests::{
    browser::{Driver, Visitor},
    origin::{Fault, Origin, Script},
    site::Site,
};
use serde_json::json;

/// Answers with these bytes, for all pages to read or for none, and counts.
fn host(bytes: &[u8], is_readable: bool, count: &Arc<AtomicUsize>) -> Fault {
    let allowed = "Access-Control-Allow-Origin: *\r\n";
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nCache-Control: no-cache\r\n\
         {}Content-Length: {}\r\nConnection: close\r\n\r\n",
        if is_readable { allowed } else { "" },
        bytes.len()
    );
    let answer = [head.as_bytes(), bytes].concat();
    let count = count.clone();
    Fault::Script(Script(Arc::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        answer.clone()
    })))
}

/// What a page sees of an image: whether it is shown, and whether it can be read.
async fn seen(visitor: &Visitor, url: &str, cross_origin: Option<&str>) -> Result<String> {
    visitor
        .eval(&format!(
            "new Promise((done) => {{
               const image = new Image();
               if ({mode} !== null) image.crossOrigin = {mode};
               image.onerror = () => done('error');
               image.onload = () => {{
                 const canvas = document.createElement('canvas');
                 canvas.getContext('2d').drawImage(image, 0, 0);
                 try {{
                   canvas.toDataURL();
                   done('readable');
                 }} catch {{
                   done('tainted');
                 }}
               }};
               image.src = {url};
             }})",
            mode = json!(cross_origin),
            url = json!(url),
        ))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn image_of_another_host_is_shared_where_its_page_may_read_it_and_else_left_alone()
-> Result<()> {
    let (site, elsewhere, driver) = (Site::new()?, Site::new()?, Driver::start()?);
    let images = Origin::start(&elsewhere).await?;
    let also = format!("{}={}", images.url(""), elsewhere.folder().display());
    let origin = Origin::listing(&site, vec![also]).await?;
    let head = format!(
        "<script src=/fugitive.js data-consent=implied data-hosts={} async></script>",
        images.url("")
    );
    site.page_with("empty.html", &head, "<p>nothing here</p>")?;
    site.page_with("silent.html", "", "<p>no line</p>")?;
    let count = Arc::new(AtomicUsize::new(0));
    let asked = || count.load(Ordering::SeqCst);
    let bytes = fs::read(elsewhere.path("image0.jpg"))?;
    let listed = images.url("/image0.jpg");
    images.fault("/image0.jpg", host(&bytes, true, &count));
    images.fault("/image1.jpg", host(&bytes, false, &count));
    images.fault("/other.jpg", host(&bytes, true, &count));

    // What each kind of image is without us.
    let kinds = [
        (listed.clone(), Some("anonymous")),
        (listed.clone(), None),
        (listed.clone(), Some("use-credentials")),
        (images.url("/other.jpg"), Some("anonymous")),
        (images.url("/other.jpg"), None),
        (images.url("/image1.jpg"), Some("anonymous")),
    ];
    let control = Visitor::new(&driver).await?;
    control
        .goto(&origin.url("/empty.html?fugitive=off"))
        .await?;
    let mut without = Vec::new();
    for (url, mode) in &kinds {
        without.push(seen(&control, url, *mode).await?);
    }
    control.quit().await?;
    assert_eq!(
        without,
        [
            "readable", "tainted", "error", "readable", "tainted", "error"
        ]
    );

    let visitor = Visitor::new(&driver).await?;
    visitor.goto(&origin.url("/empty.html")).await?;
    visitor.until_controlled().await?;
    visitor.until_listed("/image0.jpg").await?;
    let before = asked();
    assert_eq!(
        seen(&visitor, &listed, Some("anonymous")).await?,
        "readable"
    );
    assert_eq!(asked(), before + 1);
    visitor
        .until(&format!(
            "(await {}).some(([from]) => from === 0)",
            Visitor::held(bytes.len() as u64)
        ))
        .await?;
    // Requests to another host say of their page only where it is from.
    for (page, count) in [("/silent.html?fugitive=off", 1), ("/silent.html", 0)] {
        visitor.goto(&origin.url(page)).await?;
        visitor.clear_cache().await?;
        let before = asked();
        let seen = seen(&visitor, &listed, Some("anonymous")).await?;
        assert_eq!((&seen[..], asked() - before), ("readable", count), "{page}");
    }
    visitor.clear_cache().await?;
    for (n, (url, mode)) in kinds.iter().enumerate() {
        let before = asked();
        let is_shared = n == 0;
        visitor.goto(&origin.url("/empty.html")).await?;
        assert_eq!(
            seen(&visitor, url, *mode).await?,
            without[n],
            "{url} {mode:?}"
        );
        assert_eq!(asked() == before, is_shared, "{url} {mode:?}");
        let served = visitor.served(url).await?;
        assert_eq!(!served.is_empty(), is_shared, "{url} {mode:?}: {served:?}");
    }
    // Nothing of what the manifest does not list was kept.
    let kept: Vec<String> = visitor
        .eval(
            "new Promise((done) => (indexedDB.open('fugitive').onsuccess = ({ target }) => {
               const store = target.result.transaction('resources').objectStore('resources');
               store.getAllKeys().onsuccess = ({ target: { result } }) =>
                 done(result.filter((url) => !url.startsWith(location.origin + '/')));
               target.result.close();
             }))",
        )
        .await?;
    assert_eq!(kept, [listed.as_str()]);

    // And another visitor has it from the first one.
    visitor.goto(&origin.url("/empty.html")).await?;
    let second = Visitor::new(&driver).await?;
    second.goto(&origin.url("/empty.html")).await?;
    second.until_peers(1).await?;
    images.fault("/image0.jpg", Fault::Stall);
    assert_eq!(seen(&second, &listed, Some("anonymous")).await?, "readable");
    assert_eq!(second.until_served(&listed, 1).await?[0].0, "tier-1");
    visitor.quit().await?;
    second.quit().await
}
