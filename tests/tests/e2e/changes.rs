//! What a site changes under a URL is not shown as it was before (RFC 9111, §4.4).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use anyhow::Result;
use fugitive_tests::{
    browser::{Driver, Visitor},
    origin::{Fault, Origin, Script},
    records,
    site::Site,
};

const PHOTO: &str = "/photo.svg";

/// A picture that is fresh for an hour, and another one after each request that changes it.
fn photo() -> Script {
    let version = AtomicUsize::new(0);
    Script(Arc::new(move |head| {
        let is_change = !head.starts_with("GET") && !head.starts_with("HEAD");
        let version = version.fetch_add(usize::from(is_change), Ordering::SeqCst);
        let body = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='{}' height='1'/>",
            version + 1
        );
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: image/svg+xml\r\nCache-Control: max-age=3600\r\n\
             Date: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            httpdate::fmt_http_date(SystemTime::now()),
            body.len()
        )
        .into_bytes()
    }))
}

/// Which of them another page shows, where nothing is left of what the browser itself has cached.
async fn shown(visitor: &Visitor, origin: &Origin) -> Result<usize> {
    visitor.clear_cache().await?;
    visitor.goto(&origin.url("/empty.html")).await?;
    let width: usize = visitor
        .eval(
            "new Promise((done, failed) => {
               const image = new Image();
               image.onload = () => done(image.naturalWidth);
               image.onerror = failed;
               image.src = '/photo.svg';
             })",
        )
        .await?;
    Ok(width - 1)
}

async fn until_stored(visitor: &Visitor, is_stored: bool) -> Result<()> {
    let resources = records::all("resources");
    let is = format!("(await {resources}).some(({{ url }}) => url.endsWith('{PHOTO}'))");
    visitor.until(&format!("{is} === {is_stored}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn picture_that_the_page_changes_is_not_shown_as_it_was() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    for (method, from) in [
        ("POST", "fetch"),
        ("PUT", "fugitive.fetch"),
        ("DELETE", "fetch"),
    ] {
        origin.fault(PHOTO, Fault::Script(photo()));
        let visitor = Visitor::new(&driver).await?;
        visitor.goto(&origin.url("/empty.html")).await?;
        visitor.until_controlled().await?;
        assert_eq!(shown(&visitor, &origin).await?, 0);
        until_stored(&visitor, true).await?;
        assert_eq!(shown(&visitor, &origin).await?, 0);
        let served = visitor.until_served(PHOTO, 1).await?;
        assert_ne!(served[0].0, "network", "{method}");
        let change = format!("{from}('{PHOTO}', {{ method: '{method}' }}).then(() => null)");
        visitor.eval::<()>(&change).await?;
        assert_eq!(shown(&visitor, &origin).await?, 1, "{method}");
        until_stored(&visitor, false).await?;
        // Nor by another instance of the worker.
        visitor.stop_workers().await?;
        assert_eq!(shown(&visitor, &origin).await?, 1, "{method}");
        visitor.quit().await?;
    }
    Ok(())
}
