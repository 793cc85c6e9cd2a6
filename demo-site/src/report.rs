//! The report of `--perf` as a page of the demo, `/perf/`; until there is one, a page that says how to
//! get it.

use std::{fs, io::ErrorKind, path::Path};

use anyhow::Result;

/// In the folder of a report, and in the one of the site.
pub const FILE: &str = "index.html";

const NONE: &str = "<!doctype html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<meta name=\"color-scheme\" content=\"light dark\">
<title>No report yet · Fugitive</title>
<link rel=\"icon\" href=\"/mark.svg\" type=\"image/svg+xml\">
<link rel=\"stylesheet\" href=\"/style.css\">
</head>
<body>
<main>
<h1>No report yet</h1>
<p class=\"lead\">This is where Lighthouse says what Fugitive does to a page, once it has been asked:</p>
<pre><code>./demo-site/run --perf</code></pre>
<p><a href=\"/\">Back to the gallery</a></p>
</main>
</body>
</html>
";

/// Puts the report there, out of the folder that `--perf` has written.
pub fn place(site: &Path, report: &Path) -> Result<()> {
    let html = match fs::read_to_string(report.join(FILE)) {
        Err(error) if error.kind() == ErrorKind::NotFound => NONE.to_owned(),
        read => read?,
    };
    let folder = site.join("perf");
    fs::create_dir_all(&folder)?;
    Ok(fs::write(folder.join(FILE), html)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_of_the_report_is_there_before_and_after_it_is_made() {
        let (site, report) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let page = || fs::read_to_string(site.path().join("perf/index.html")).unwrap();
        place(site.path(), report.path()).unwrap();
        assert!(page().contains("./demo-site/run --perf"));
        fs::write(report.path().join(FILE), "figures").unwrap();
        place(site.path(), report.path()).unwrap();
        assert_eq!(page(), "figures");
    }
}
