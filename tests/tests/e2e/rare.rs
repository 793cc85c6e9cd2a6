//! How many peers have what a page shows comes from the bridge into the store, which makes room by it.

use anyhow::Result;
use fugitive_tests::{
    browser::{Driver, Visitor},
    origin::{Fault, Origin},
    records,
    site::Site,
};

#[tokio::test(flavor = "multi_thread")]
async fn store_knows_how_many_peers_have_what_its_page_shows() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let images = "<img src=/image0.jpg><img src=/image1.jpg>";
    site.page("two.html", images)?;
    let origin = Origin::start(&site).await?;
    let refused = Fault::Answer {
        status: "503 Service Unavailable",
        headers: String::new(),
        body: Vec::new(),
    };
    origin.fault("/image1.jpg", refused);
    let first = Visitor::new(&driver).await?;
    first.goto(&origin.url("/two.html")).await?;
    first.until_controlled().await?;
    first.until_held(1).await?;
    origin.heal("/image1.jpg");

    let second = Visitor::new(&driver).await?;
    second.goto(&origin.url("/two.html")).await?;
    second.until_controlled().await?;
    second.until_peers(1).await?;
    second.until_held(2).await?;
    let stores = [records::all("resources"), records::all("contents")].join(", ");
    let says = |common: u32, rare: u32| {
        format!(
            "Promise.all([{stores}]).then(([resources, contents]) => {{
               const near = (path) => {{
                 const {{ id }} = resources.find(({{ url }}) => url.endsWith(path)) ?? {{}};
                 return contents.find((content) => content.id === id)?.near;
               }};
               return near('/image0.jpg') === {common} && near('/image1.jpg') === {rare};
             }})"
        )
    };
    second.until(&says(1, 0)).await?;

    // The first one has it now: so it is no longer rare.
    first.goto(&origin.url("/two.html")).await?;
    first.until_held(2).await?;
    second.until(&says(1, 1)).await?;
    second.quit().await?;
    first.quit().await
}
