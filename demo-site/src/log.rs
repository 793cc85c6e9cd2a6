//! What the origin sent, as its access log tells.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Result;

/// What the origin sent, by the lines of its log between two offsets.
#[derive(Debug, Default)]
pub struct Sent {
    /// By path.
    pub media: BTreeMap<String, u64>,
    /// All that is not media.
    pub other: u64,
}

/// What was sent, in bytes, by the lines from one offset to another.
pub fn sent(log: &Path, from: u64, to: Option<u64>) -> Result<Sent> {
    let text = fs::read(log)?;
    let end = to.map_or(text.len(), |to| to as usize);
    let part = String::from_utf8_lossy(&text[from as usize..end]).into_owned();
    let mut sent = Sent::default();
    for line in part.lines() {
        let mut quoted = line.split('"');
        let Some(request) = quoted.nth(1) else {
            continue;
        };
        let bytes = quoted
            .next()
            .and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or(0u64);
        let path = request.split(' ').nth(1).unwrap_or_default();
        if path.starts_with("/media/") {
            *sent.media.entry(path.to_owned()).or_default() += bytes;
        } else {
            sent.other += bytes;
        }
    }
    sent.media.retain(|_, bytes| *bytes > 0);
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_log_is_split_into_media_and_the_rest() {
        let folder = std::env::temp_dir().join(format!("fugitive-log-{}", std::process::id()));
        let line = |path: &str, bytes: &str| {
            format!(
                "127.0.0.1 - - [24/Nov/2026:13:00:00 +0000] \"GET {path} HTTP/1.1\" 200 {bytes}\n"
            )
        };
        let skipped = line("/media/a.jpg", "7");
        let text = [
            skipped.clone(),
            line("/media/a.jpg", "100"),
            line("/style.css", "10"),
            line("/media/b.mp4", "-"),
            line("/media/a.jpg", "20"),
        ]
        .concat();
        fs::write(&folder, &text).unwrap();
        let sent = sent(&folder, skipped.len() as u64, None).unwrap();
        fs::remove_file(&folder).unwrap();
        assert_eq!(sent.media, [("/media/a.jpg".to_owned(), 120)].into());
        assert_eq!(sent.other, 10);
    }
}
