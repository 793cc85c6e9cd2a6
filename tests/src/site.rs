//! Folders to serve: a few pages and media that ffmpeg makes once.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// The one line, for visitors who are not asked and give whatever they can.
pub const LINE: &str = "<script src=\"/fugitive.js\" data-consent=implied \
     data-upload=125000000 data-daily=50000000000 async></script>";
/// A policy that allows no more than what the README says that we need.
pub const STRICT: &str = "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; \
     img-src 'self' data:; connect-src 'self'; worker-src 'self'; style-src 'self'; \
     script-src 'self' 'wasm-unsafe-eval'\">";
/// The one line as it is on the demo's pages.
pub const DEMO_LINE: &str = "<script src=\"/fugitive.js\" data-consent=\"implied\" \
     data-upload=\"25000000\" data-panel async></script>";
/// Images of the gallery page.
pub const IMAGES: usize = 6;

/// A site in a folder of its own, which a test may change.
pub struct Site {
    folder: TempDir,
}

impl Site {
    /// A gallery (`/`, `/again.html`), a video page (`/video.html`), and an empty page
    /// (`/empty.html`).
    pub fn new() -> Result<Self> {
        let site = Self::copy(media()?)?;
        let images: String = (0..IMAGES)
            .map(|n| format!("<img id=i{n} src=/image{n}.jpg width=160 height=120>\n"))
            .collect();
        site.page("index.html", &images)?;
        site.page("again.html", &images)?;
        site.page("empty.html", "<p>nothing here</p>")?;
        site.page(
            "video.html",
            "<video id=v src=/film.mp4 muted preload=auto width=320></video>",
        )?;
        Ok(site)
    }

    /// The demo's pages and media.
    pub fn demo() -> Result<Self> {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo-site/site");
        ensure!(
            demo.join("media").is_dir(),
            "the demo has no media yet: run ./demo-site/run once"
        );
        Self::copy(&demo)
    }

    /// A copy of a folder.
    pub fn copy(from: &Path) -> Result<Self> {
        let site = Self {
            folder: TempDir::new()?,
        };
        copy(from, site.folder())?;
        Ok(site)
    }

    /// A page with our one line and this body.
    pub fn page(&self, name: &str, body: &str) -> Result<()> {
        self.page_with(name, LINE, body)
    }

    /// A page with this head and body.
    pub fn page_with(&self, name: &str, head: &str, body: &str) -> Result<()> {
        let html = format!(
            "<!doctype html><html><head><meta charset=utf-8><title>{name}</title>\
             <link rel=icon href=\"data:,\">{head}</head><body>\n{body}\n</body></html>\n"
        );
        Ok(fs::write(self.path(name), html)?)
    }

    /// Puts `new` for `old` on all pages of the folder; says how often.
    pub fn rewrite(&self, old: &str, new: &str) -> Result<usize> {
        let mut count = 0;
        for entry in fs::read_dir(self.folder())? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "html") {
                let html = fs::read_to_string(&path)?;
                count += html.matches(old).count();
                fs::write(&path, html.replace(old, new))?;
            }
        }
        Ok(count)
    }

    /// Where a file of the site is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&to)?;
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// Made once for all tests and kept in the target folder.
fn media() -> Result<&'static Path> {
    static MEDIA: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    MEDIA
        .get_or_init(|| make().map_err(|error| format!("{error:#}")))
        .as_deref()
        .map_err(|error| anyhow::anyhow!("{error}"))
}

fn make() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-media");
    let ready = root.join("v1");
    if ready.is_dir() {
        return Ok(ready);
    }
    // Other test programs may be at it too: who is first to rename wins.
    let work = root.join(format!("work-{}", std::process::id()));
    fs::create_dir_all(&work)?;
    for n in 0..IMAGES {
        let noise = 12 * (n + 1);
        let source = format!("testsrc2=size=800x600:rate=1,noise=alls={noise}:all_seed={n}");
        ffmpeg(
            &work,
            &["-f", "lavfi", "-i", &source, "-frames:v", "1"],
            &format!("image{n}.jpg"),
        )?;
    }
    let film = "testsrc2=size=640x360:rate=25,noise=alls=60:allf=t";
    let encode = [
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-b:v",
        "9M",
        "-g",
        "25",
    ];
    let input = ["-f", "lavfi", "-i", film, "-t", "8", "-pix_fmt", "yuv420p"];
    let options = [&input[..], &encode[..], &["-movflags", "+faststart"]].concat();
    ffmpeg(&work, &options, "film.mp4")?;
    if fs::rename(&work, &ready).is_err() {
        fs::remove_dir_all(&work)?;
    }
    ensure!(ready.is_dir(), "no media in {}", ready.display());
    Ok(ready)
}

fn ffmpeg(folder: &Path, options: &[&str], output: &str) -> Result<()> {
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-y"])
        .args(options)
        .arg(folder.join(output))
        .status()
        .context("ffmpeg does not start")?;
    ensure!(status.success(), "ffmpeg failed for {output}");
    Ok(())
}
