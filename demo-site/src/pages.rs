//! That the pages and the media fit together; the pages themselves are plain files in `site`.

use std::{collections::BTreeSet, fs, path::Path};

use crate::media;

fn pages() -> Vec<(String, String)> {
    let site = Path::new(env!("CARGO_MANIFEST_DIR")).join("site");
    fs::read_dir(site)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "html" || e == "css"))
        .map(|path| {
            (
                path.display().to_string(),
                fs::read_to_string(&path).unwrap(),
            )
        })
        .collect()
}

fn shown(text: &str) -> impl Iterator<Item = &str> {
    text.split("/media/").skip(1).map(|rest| {
        let end = rest.find(['"', '\'', ' ', ',', ')']).unwrap_or(rest.len());
        &rest[..end]
    })
}

#[test]
fn all_that_is_shown_is_made_and_all_that_is_made_is_shown() {
    let pages = pages();
    let all: BTreeSet<String> = pages
        .iter()
        .flat_map(|(_, text)| shown(text))
        .map(str::to_owned)
        .collect();
    assert_eq!(all, media::files());
}

#[test]
fn tags_state_the_size_of_what_they_show() {
    for (page, text) in pages() {
        for tag in text
            .split('<')
            .filter(|tag| tag.starts_with("img ") || tag.starts_with("video "))
        {
            let value = |name: &str| {
                let rest = tag.split(&format!("{name}=\"")).nth(1).unwrap_or_default();
                rest.split('"').next().unwrap_or_default().to_owned()
            };
            let file = shown(tag).next().unwrap_or_else(|| panic!("{page}: {tag}"));
            let (width, height) = media::size_of(file).unwrap_or_else(|| panic!("{page}: {file}"));
            assert_eq!(value("width"), width.to_string(), "{page}: {file}");
            assert_eq!(value("height"), height.to_string(), "{page}: {file}");
        }
    }
}

#[test]
fn every_page_has_the_one_line_in_its_head() {
    let line = "<script src=\"/fugitive.js\" data-consent=\"implied\" data-upload=\"25000000\" data-panel async></script>";
    for (page, text) in pages().iter().filter(|(page, _)| page.ends_with(".html")) {
        let head = text.split("</head>").next().unwrap();
        assert_eq!(head.matches(line).count(), 1, "{page}");
    }
}
