//! The demo's media: what there is, and making it.
//!
//! Some sixty motifs become over a hundred files in `site/media`: JPEG, PNG, WebP, AVIF, SVG and
//! GIF, and three videos. They are art of the demo's own, so that nothing large is in git and no
//! licence needs reading. Not here: how the pages show them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;

mod canvas;
mod encode;
mod film;
mod paint;
mod vector;

use encode::{Codec, Size};
use film::Loop;
use paint::Motif;
use vector::Drawing;

const DAWN: &[&str] = &[
    "#0d1b33", "#274b73", "#7a86a8", "#e0a098", "#f8d2ae", "#fff3df",
];
const DUSK: &[&str] = &[
    "#0a0d26", "#2b1b52", "#74306f", "#cf5470", "#f59a62", "#ffdca6",
];
const SEA: &[&str] = &[
    "#031019", "#06354a", "#0d6a7d", "#35ab9f", "#ade2c4", "#f6fbe9",
];
const FOREST: &[&str] = &[
    "#06110c", "#123524", "#2f6b4f", "#7fae6a", "#d8d590", "#fbf3d0",
];
const EMBER: &[&str] = &[
    "#0a0406", "#3d0a14", "#921f15", "#dd4f1f", "#f8aa2c", "#fff2b8",
];
const ICE: &[&str] = &[
    "#050a18", "#0e2a4d", "#2767ab", "#74b5e2", "#cbe9f6", "#ffffff",
];
const ORCHID: &[&str] = &[
    "#12061f", "#3b0f54", "#80308e", "#cb63b0", "#f3abca", "#fff0f3",
];
const SAND: &[&str] = &[
    "#24150f", "#67402a", "#b07f4b", "#e2bb7d", "#f5e1b8", "#fffaf0",
];
const NORTH: &[&str] = &[
    "#020814", "#08243a", "#0f5a55", "#1fd39a", "#6be0d0", "#9a5bff",
];
const VIOLET: &[&str] = &[
    "#060514", "#161440", "#3a2f8f", "#4fe0b0", "#b86bff", "#ff5fa8",
];
const NURSERY: &[&str] = &[
    "#04050f", "#16235e", "#6a3aa6", "#dd5f95", "#ff9f7a", "#ffe2bd",
];
const LAND: &[&str] = &[
    "#12324f", "#2b6f92", "#a9d3cf", "#d9d9a3", "#93a867", "#8a6a4a", "#f2eee6",
];
const EARTH: &[&str] = &[
    "#04122e", "#0c3f7d", "#2f86b8", "#d7c592", "#4f7d46", "#77603f", "#e8e4dc",
];
const OPAL: &[&str] = &[
    "#0c1030", "#214a8a", "#3fb0c4", "#f4e9d8", "#f2a48c", "#c4457a", "#2a0f3a",
];

/// A picture that is painted once and encoded as several files.
pub struct Plate {
    /// Path below `media`, without extension.
    pub name: &'static str,
    seed: u32,
    motif: Motif,
    colours: &'static [&'static str],
    /// Of the painting; files may be narrower.
    pub size: Size,
    grain: f32,
    /// `EXTENSION` or `EXTENSION@WIDTH`.
    files: &'static [&'static str],
}

const WIDE: Size = (1620, 1080);
const TALL: Size = (1080, 1620);
const SQUARE: Size = (1200, 1200);
const PHOTO: &[&str] = &["avif", "webp", "jpg"];
const PHOTO_SMALL: &[&str] = &["avif", "webp", "jpg", "webp@640"];
const SET: &[&str] = &["jpg@640", "jpg@1080", "jpg"];
const SET_SMALL: &[&str] = &["jpg@640", "jpg@1080", "jpg", "webp@640"];

macro_rules! plate {
    ($name:literal, $seed:literal, $motif:expr, $colours:expr, $size:expr, $grain:literal, $files:expr) => {
        Plate {
            name: $name,
            seed: $seed,
            motif: $motif,
            colours: $colours,
            size: $size,
            grain: $grain,
            files: $files,
        }
    };
}

/// All that is painted.
#[rustfmt::skip]
pub const PLATES: &[Plate] = &[
    plate!("welcome", 3, Motif::Peaks { sun: [0.66, 0.33, 0.052], lake: true }, DUSK, (2400, 1200), 4.0, &["jpg", "jpg@1200"]),

    plate!("highlands/first-light", 11, Motif::Peaks { sun: [0.30, 0.36, 0.045], lake: false }, DAWN, WIDE, 5.0, PHOTO_SMALL),
    plate!("highlands/long-lake", 12, Motif::Peaks { sun: [0.62, 0.30, 0.05], lake: true }, SEA, WIDE, 5.0, PHOTO),
    plate!("highlands/ember-pass", 13, Motif::Peaks { sun: [0.52, 0.34, 0.075], lake: false }, EMBER, TALL, 5.0, PHOTO),
    plate!("highlands/green-fire", 14, Motif::Aurora { lake: false }, NORTH, WIDE, 4.0, PHOTO_SMALL),
    plate!("highlands/rose-valley", 15, Motif::Peaks { sun: [0.74, 0.28, 0.04], lake: false }, ORCHID, WIDE, 5.0, PHOTO),
    plate!("highlands/blue-hour", 16, Motif::Peaks { sun: [0.28, 0.20, 0.028], lake: true }, ICE, WIDE, 5.0, PHOTO),
    plate!("highlands/violet-veil", 17, Motif::Aurora { lake: true }, VIOLET, TALL, 4.0, PHOTO),
    plate!("highlands/dry-season", 18, Motif::Peaks { sun: [0.55, 0.26, 0.06], lake: false }, SAND, WIDE, 5.0, PHOTO),
    plate!("highlands/pine-ridge", 19, Motif::Peaks { sun: [0.42, 0.32, 0.05], lake: false }, FOREST, WIDE, 5.0, PHOTO),
    plate!("highlands/last-ferry", 20, Motif::Peaks { sun: [0.40, 0.36, 0.06], lake: true }, DUSK, WIDE, 5.0, PHOTO),
    plate!("highlands/polar-lake", 21, Motif::Aurora { lake: true }, NORTH, WIDE, 4.0, PHOTO),
    plate!("highlands/quiet-north", 22, Motif::Peaks { sun: [0.68, 0.40, 0.04], lake: true }, DAWN, WIDE, 5.0, PHOTO),

    plate!("silk/tide", 31, Motif::Silk { scale: 1.5 }, SEA, WIDE, 2.0, &["webp", "webp@640"]),
    plate!("silk/opal", 32, Motif::Silk { scale: 1.25 }, OPAL, TALL, 2.0, &["webp"]),
    plate!("silk/furnace", 33, Motif::Silk { scale: 1.7 }, EMBER, WIDE, 2.0, &["webp"]),
    plate!("silk/petal", 34, Motif::Silk { scale: 1.1 }, ORCHID, SQUARE, 2.0, &["webp"]),
    plate!("silk/glacier", 35, Motif::Silk { scale: 1.6 }, ICE, WIDE, 2.0, &["webp"]),
    plate!("silk/amber", 36, Motif::Silk { scale: 1.3 }, SAND, SQUARE, 2.0, &["webp"]),
    plate!("silk/trade-wind", 37, Motif::Wind { scale: 1.5, lines: 3400, width: 2.6 }, SEA, WIDE, 0.0, SET_SMALL),
    plate!("silk/brush-fire", 38, Motif::Wind { scale: 1.1, lines: 2600, width: 3.6 }, EMBER, SQUARE, 0.0, SET),
    plate!("silk/meadow", 39, Motif::Wind { scale: 2.0, lines: 4200, width: 2.2 }, FOREST, WIDE, 0.0, SET),
    plate!("silk/evening-air", 40, Motif::Wind { scale: 1.3, lines: 3000, width: 3.0 }, DUSK, TALL, 0.0, &["jpg@640", "jpg"]),
    plate!("silk/undertow", 41, Motif::Wind { scale: 0.9, lines: 2400, width: 4.4 }, ICE, WIDE, 0.0, SET),
    plate!("silk/festival", 42, Motif::Wind { scale: 1.8, lines: 3200, width: 3.4 }, OPAL, WIDE, 0.0, SET),

    plate!("numbers/seahorse", 51, Motif::Mandelbrot { middle: [-0.743_643_9, 0.131_825_9], reach: 0.0032 }, ICE, WIDE, 0.0, &["jpg", "webp@640"]),
    plate!("numbers/elephants", 52, Motif::Mandelbrot { middle: [0.2755, 0.0065], reach: 0.0042 }, DUSK, WIDE, 0.0, &["jpg"]),
    plate!("numbers/satellite", 53, Motif::Mandelbrot { middle: [-1.748_95, 0.000_02], reach: 0.016 }, EMBER, SQUARE, 0.0, &["jpg"]),
    plate!("numbers/dendrite", 54, Motif::Julia { c: [-0.8, 0.156] }, SEA, (1350, 900), 0.0, &["png"]),
    plate!("numbers/dragon", 55, Motif::Julia { c: [-0.7269, 0.1889] }, EMBER, (1200, 800), 0.0, &["png", "webp@640"]),
    plate!("numbers/thicket", 56, Motif::Julia { c: [-0.4, 0.6] }, ORCHID, (900, 900), 0.0, &["png"]),
    plate!("numbers/spiral", 57, Motif::Julia { c: [0.285, 0.01] }, DAWN, (1350, 900), 0.0, &["webp"]),
    plate!("numbers/moth", 58, Motif::Attractor { k: [-1.4, 1.6, 1.0, 0.7] }, DUSK, (1350, 900), 0.0, &["avif", "webp@640"]),
    plate!("numbers/ribbon", 59, Motif::Attractor { k: [1.7, 1.7, 0.6, 1.2] }, SEA, (900, 1350), 0.0, &["avif"]),
    plate!("numbers/heart", 60, Motif::Attractor { k: [-1.7, 1.3, -0.1, -1.2] }, ORCHID, (1000, 1000), 0.0, &["png"]),
    plate!("numbers/loom", 61, Motif::Attractor { k: [1.5, -1.8, 1.6, 0.9] }, ICE, (1350, 900), 0.0, &["avif"]),
    plate!("numbers/comet", 62, Motif::Attractor { k: [-1.8, -2.0, -0.5, -0.9] }, SAND, (1350, 900), 0.0, &["jpg"]),

    plate!("glass/rose-window", 71, Motif::Glass { cells: 7.0 }, OPAL, WIDE, 1.0, &["webp", "webp@640"]),
    plate!("glass/harvest", 72, Motif::Glass { cells: 10.0 }, EMBER, SQUARE, 1.0, &["webp"]),
    plate!("glass/lagoon", 73, Motif::Glass { cells: 13.0 }, SEA, TALL, 1.0, &["webp"]),

    plate!("sky/home", 81, Motif::Planet { gas: false, ring: false }, EARTH, WIDE, 1.0, &["jpg", "webp@640"]),
    plate!("sky/ringed", 82, Motif::Planet { gas: true, ring: true }, SAND, WIDE, 1.0, &["jpg", "webp@640"]),
    plate!("sky/storm", 83, Motif::Planet { gas: true, ring: false }, EMBER, SQUARE, 1.0, &["webp"]),
    plate!("sky/far-blue", 84, Motif::Planet { gas: true, ring: true }, ICE, WIDE, 1.0, &["avif"]),
    plate!("sky/rust", 85, Motif::Planet { gas: false, ring: false }, DUSK, SQUARE, 1.0, &["avif"]),
    plate!("sky/nursery", 86, Motif::Nebula, NURSERY, WIDE, 1.5, &["jpg", "webp@640"]),
    plate!("sky/veil", 87, Motif::Nebula, SEA, TALL, 1.5, &["jpg"]),
    plate!("sky/hearth", 88, Motif::Nebula, EMBER, WIDE, 1.5, &["webp"]),
    plate!("sky/orchid", 89, Motif::Nebula, ORCHID, WIDE, 1.5, &["avif"]),
    plate!("sky/archipelago", 90, Motif::Map { scale: 1.7 }, LAND, WIDE, 0.0, &["jpg", "webp@640"]),
    plate!("sky/inland-sea", 91, Motif::Map { scale: 1.2 }, LAND, TALL, 0.0, &["webp"]),
    plate!("sky/ridge-survey", 92, Motif::Map { scale: 2.3 }, LAND, SQUARE, 0.0, &["jpg"]),
    plate!("sky/dust", 93, Motif::Nebula, DUSK, (1800, 600), 1.0, &["webp"]),
];

/// An SVG: name, what, colours, size.
type Sheet = (&'static str, Drawing, &'static [&'static str], (u32, u32));

/// All that is drawn.
pub const SHEETS: &[Sheet] = &[
    ("glass/knots", Drawing::Knots, OPAL, (1200, 800)),
    ("glass/rosette", Drawing::Rosette, DUSK, (1000, 1000)),
    ("glass/town", Drawing::Town, SEA, (1200, 800)),
    ("glass/shards", Drawing::Shards, DUSK, (1200, 800)),
    ("glass/hills", Drawing::Hills, DAWN, (1200, 800)),
    ("glass/weave", Drawing::Weave, OPAL, (480, 480)),
];

/// An animated GIF: name, what, colours, size, frames at 25 a second, colours in its table.
type Loops = (&'static str, Loop, &'static [&'static str], Size, u32, u32);

/// All that loops.
pub const LOOPS: &[Loops] = &[
    ("glass/pulse", Loop::Pulse, DUSK, (400, 400), 40, 32),
    ("glass/melt", Loop::Melt, SEA, (480, 320), 50, 64),
    ("glass/turn", Loop::Turn, ORCHID, (360, 360), 40, 16),
    ("glass/field", Loop::Field, EMBER, (480, 320), 40, 32),
];

/// A video.
pub struct Film {
    /// Path below `media`, with extension.
    pub file: &'static str,
    /// In pixels.
    pub size: Size,
    frames: u32,
    codec: Codec,
    poster: u32,
    colours: &'static [&'static str],
    make: fn(Size, u32, &[&str]) -> Result<film::Frames>,
}

const RATE: u32 = 24;

/// All videos; the first is over 20 MB.
pub const FILMS: &[Film] = &[
    Film {
        file: "film/coast.mp4",
        size: (960, 540),
        frames: 30 * RATE,
        codec: Codec::H264(6_200),
        poster: 420,
        colours: DUSK,
        make: film::coast,
    },
    Film {
        file: "film/embers.webm",
        size: (854, 480),
        frames: 15 * RATE,
        codec: Codec::Vp9(1_800),
        poster: 60,
        colours: EMBER,
        make: film::embers,
    },
    Film {
        file: "film/bloom.webm",
        size: (640, 360),
        frames: 18 * RATE,
        codec: Codec::Vp8(1_400),
        poster: 150,
        colours: ICE,
        make: film::bloom,
    },
];

impl Plate {
    /// Its files and their widths.
    fn outputs(&self) -> impl Iterator<Item = (String, usize)> + '_ {
        self.files.iter().map(|file| match file.split_once('@') {
            Some((extension, width)) => {
                let pixels = width.parse().unwrap_or(self.size.0);
                (format!("{}-{width}.{extension}", self.name), pixels)
            }
            None => (format!("{}.{file}", self.name), self.size.0),
        })
    }
}

impl Film {
    fn poster(&self) -> String {
        let stem = self.file.split('.').next().unwrap_or(self.file);
        format!("{stem}.jpg")
    }
}

/// Each file below `media`.
pub fn files() -> BTreeSet<String> {
    let plates = PLATES
        .iter()
        .flat_map(|p| p.outputs().map(|(file, _)| file));
    let sheets = SHEETS.iter().map(|sheet| format!("{}.svg", sheet.0));
    let loops = LOOPS.iter().map(|l| format!("{}.gif", l.0));
    let films = FILMS.iter().flat_map(|f| [f.file.to_owned(), f.poster()]);
    plates.chain(sheets).chain(loops).chain(films).collect()
}

/// Width and height of a file, for whoever writes or checks a page.
pub fn size_of(file: &str) -> Option<Size> {
    for plate in PLATES {
        if let Some((_, width)) = plate.outputs().find(|(name, _)| name == file) {
            let height = plate.size.1 as f64 * width as f64 / plate.size.0 as f64;
            return Some((width, (height / 2.0).round() as usize * 2));
        }
    }
    let sheet = SHEETS.iter().find(|s| format!("{}.svg", s.0) == file);
    if let Some((.., (width, height))) = sheet {
        return Some((*width as usize, *height as usize));
    }
    if let Some(found) = LOOPS.iter().find(|l| format!("{}.gif", l.0) == file) {
        return Some(found.3);
    }
    let film = FILMS
        .iter()
        .find(|f| f.file == file || f.poster() == file)?;
    Some(film.size)
}

/// The painters themselves: what they say is what the media show.
const SOURCES: &[&str] = &[
    include_str!("media.rs"),
    include_str!("media/canvas.rs"),
    include_str!("media/encode.rs"),
    include_str!("media/film.rs"),
    include_str!("media/paint.rs"),
    include_str!("media/vector.rs"),
];

/// Makes what is missing in `folder`; nothing if it was made by these painters before.
pub fn make(folder: &Path) -> Result<()> {
    let mut hash = blake3::Hasher::new();
    for source in SOURCES {
        hash.update(source.as_bytes());
    }
    let stamp = hash.finalize().to_hex().to_string();
    let stamp_file = folder.join(".stamp");
    let same = fs::read_to_string(&stamp_file).is_ok_and(|text| text == stamp);
    if same && files().iter().all(|file| folder.join(file).exists()) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    for file in files() {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
    }

    // A frame counts little, a painting much: about what each takes.
    let moving: u32 = FILMS.iter().map(|f| f.frames).sum();
    let bar = ProgressBar::new(u64::from(moving) + 25 * (PLATES.len() + LOOPS.len()) as u64)
        .with_style(ProgressStyle::with_template(
            "{elapsed:>4} painting {bar:30} {percent:>3}% {msg}",
        )?)
        .with_message("media");
    let failed = Mutex::new(Vec::new());
    let note = |name: &str, done: Result<()>| {
        bar.set_message(name.to_owned());
        if !bar.is_hidden() {
            bar.tick();
        }
        if let Err(error) = done
            && let Ok(mut failed) = failed.lock()
        {
            failed.push(error.context(name.to_owned()));
        }
    };
    // The long ones first, and pictures beside them while the encoders work.
    let films = FILMS.iter().map(Job::Film);
    let jobs: Vec<_> = films
        .chain(PLATES.iter().map(Job::Plate))
        .chain(LOOPS.iter().map(Job::Loop))
        .chain(SHEETS.iter().map(Job::Sheet))
        .collect();
    jobs.par_iter().with_max_len(1).for_each(|job| {
        note(job.name(), job.run(folder, &bar));
    });
    bar.finish_and_clear();
    if let Ok(mut failed) = failed.into_inner()
        && let Some(error) = failed.pop()
    {
        return Err(error);
    }
    fs::write(stamp_file, stamp)?;
    Ok(())
}

enum Job {
    Film(&'static Film),
    Plate(&'static Plate),
    Loop(&'static Loops),
    Sheet(&'static Sheet),
}

impl Job {
    fn name(&self) -> &'static str {
        match self {
            Self::Film(film) => film.file,
            Self::Plate(plate) => plate.name,
            Self::Loop(found) => found.0,
            Self::Sheet(sheet) => sheet.0,
        }
    }

    fn run(&self, folder: &Path, bar: &ProgressBar) -> Result<()> {
        match self {
            Self::Film(film) => {
                let frame = (film.make)(film.size, film.frames, film.colours)?;
                let poster = canvas::Still {
                    size: film.size,
                    bytes: frame(film.poster),
                };
                encode::poster(&poster, &folder.join(film.poster()))?;
                encode::film(
                    &folder.join(film.file),
                    film.size,
                    RATE,
                    film.frames,
                    film.codec,
                    frame,
                    |frames| bar.inc(u64::from(frames)),
                )
            }
            Self::Plate(plate) => {
                let (width, height) = plate.size;
                let canvas = paint::paint(plate.motif, plate.seed, plate.colours, width, height)?;
                let outputs: Vec<(PathBuf, usize)> = plate
                    .outputs()
                    .map(|(file, width)| (folder.join(file), width))
                    .collect();
                bar.inc(25);
                encode::still(&canvas, plate.grain, &outputs)
            }
            Self::Loop((name, kind, colours, size, frames, table)) => {
                let frame = film::looped(*kind, *size, *frames, colours)?;
                let path = folder.join(format!("{name}.gif"));
                bar.inc(25);
                encode::film(&path, *size, 25, *frames, Codec::Gif(*table), frame, |_| ())
            }
            Self::Sheet((name, drawing, colours, (width, height))) => {
                let svg = vector::draw(*drawing, colours, *width, *height)?;
                Ok(fs::write(folder.join(format!("{name}.svg")), svg)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_at_least_sixty_images_of_six_kinds_and_three_videos() {
        let files = files();
        let with = |end: &str| files.iter().filter(|file| file.ends_with(end)).count();
        for kind in [".jpg", ".png", ".webp", ".avif", ".svg", ".gif"] {
            assert!(with(kind) >= 4, "{kind}");
        }
        assert!(files.len() - with(".mp4") - with(".webm") >= 60);
        assert_eq!(with(".mp4") + with(".webm"), 3);
    }

    #[test]
    fn every_file_has_a_size_that_a_page_can_state() {
        for file in files() {
            assert!(size_of(&file).is_some(), "{file}");
        }
        assert_eq!(size_of("highlands/first-light-640.webp"), Some((640, 426)));
        assert_eq!(size_of("nothing.jpg"), None);
    }
}
