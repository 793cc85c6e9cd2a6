//! From pixels to files, through ffmpeg.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;

use super::canvas::{Canvas, Still};

/// Width and height in pixels.
pub type Size = (usize, usize);

fn ffmpeg(size: Size, rate: u32) -> Command {
    let mut command = Command::new("ffmpeg");
    command
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"])
        .args(["-f", "rawvideo", "-pix_fmt", "rgb24"])
        .args(["-s", &format!("{}x{}", size.0, size.1)])
        .args(["-r", &rate.to_string(), "-i", "pipe:0"])
        .stdin(Stdio::piped());
    command
}

// Screens that are told nothing take AVIF and HD video for BT.709, so that is what they get.
const REC709: &str = "out_color_matrix=bt709:out_range=tv";
const TAGS: [&str; 8] = [
    "-colorspace",
    "bt709",
    "-color_primaries",
    "bt709",
    "-color_trc",
    "bt709",
    "-color_range",
    "tv",
];

/// Writes one picture as several files, each with its own width; the extension says how.
pub fn still(canvas: &Canvas, grain: f32, outputs: &[(PathBuf, usize)]) -> Result<()> {
    let mut command = ffmpeg((canvas.width, canvas.height), 1);
    for (path, width) in outputs {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        let scale = format!("scale={width}:-2:flags=lanczos");
        command.args(["-frames:v", "1", "-bitexact"]);
        match extension {
            "jpg" => command
                .args(["-vf", &scale, "-pix_fmt", "yuvj420p"])
                .args(["-q:v", "3", "-huffman", "optimal"]),
            "png" => command.args(["-vf", &scale, "-pix_fmt", "rgb24"]).args([
                "-pred",
                "mixed",
                "-compression_level",
                "80",
            ]),
            "webp" => command
                .args(["-vf", &scale, "-c:v", "libwebp", "-pix_fmt", "yuv420p"])
                .args(["-quality", "84", "-compression_level", "3"]),
            "avif" => command
                .args(["-vf", &format!("{scale}:{REC709}")])
                .args(["-c:v", "libaom-av1", "-pix_fmt", "yuv420p"])
                .args(["-still-picture", "1", "-cpu-used", "8"])
                .args(["-crf", "26"])
                .args(TAGS),
            other => bail!("no still format {other}"),
        };
        command.arg(path);
    }
    feed(command, std::iter::once(canvas.bytes(grain)))
}

/// Writes one frame of a film as JPEG.
pub fn poster(frame: &Still, path: &Path) -> Result<()> {
    let mut command = ffmpeg(frame.size, 1);
    command
        .args(["-frames:v", "1", "-bitexact", "-pix_fmt", "yuvj420p"])
        .args(["-q:v", "3", "-huffman", "optimal"])
        .arg(path);
    feed(command, std::iter::once(frame.bytes.clone()))
}

/// How a film is written.
#[derive(Clone, Copy, Debug)]
pub enum Codec {
    /// H.264 in MP4 at a constant bit rate in kbit/s, index first.
    H264(u32),
    /// VP9 in WebM at about so many kbit/s.
    Vp9(u32),
    /// VP8 in WebM at about so many kbit/s.
    Vp8(u32),
    /// GIF with so many colours.
    Gif(u32),
}

/// Writes a film; `frame` is asked for each, several at once.
pub fn film(
    path: &Path,
    size: Size,
    rate: u32,
    frames: u32,
    codec: Codec,
    frame: impl Fn(u32) -> Vec<u8> + Sync,
    progress: impl Fn(u32),
) -> Result<()> {
    let mut command = ffmpeg(size, rate);
    let yuv = format!("scale={REC709}");
    let kbit = |n: u32| format!("{n}k");
    // A key frame every two seconds: seeking starts there.
    let every = (2 * rate).to_string();
    match codec {
        Codec::H264(bits) => command
            .args(["-vf", &yuv, "-c:v", "libx264", "-preset", "ultrafast"])
            .args(["-profile:v", "high", "-pix_fmt", "yuv420p", "-g", &every])
            .args(["-b:v", &kbit(bits), "-minrate", &kbit(bits)])
            .args(["-maxrate", &kbit(bits), "-bufsize", &kbit(bits)])
            .args(["-x264-params", "nal-hrd=cbr"])
            .args(["-movflags", "+faststart"])
            .args(TAGS),
        Codec::Vp9(bits) => command
            .args(["-vf", &yuv, "-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p"])
            .args(["-deadline", "realtime", "-cpu-used", "8", "-row-mt", "1"])
            .args(["-g", &every, "-b:v", &kbit(bits)])
            .args(TAGS),
        Codec::Vp8(bits) => command
            .args(["-vf", "scale", "-c:v", "libvpx", "-pix_fmt", "yuv420p"])
            .args(["-deadline", "realtime", "-cpu-used", "8"])
            .args(["-g", &every, "-b:v", &kbit(bits)]),
        Codec::Gif(colours) => command.args([
            "-filter_complex",
            &format!(
                "split[a][b];[a]palettegen=max_colors={colours}[p];\
                 [b][p]paletteuse=dither=bayer:bayer_scale=4"
            ),
        ]),
    };
    command.arg("-bitexact").arg(path);
    let at_once = 8;
    let batches = (0..frames).step_by(at_once).flat_map(|start| {
        let end = (start + at_once as u32).min(frames);
        let batch: Vec<_> = (start..end).into_par_iter().map(&frame).collect();
        progress(end - start);
        batch
    });
    feed(command, batches)
}

fn feed(mut command: Command, frames: impl Iterator<Item = Vec<u8>>) -> Result<()> {
    let mut child = command.spawn().context("ffmpeg does not start")?;
    let mut stdin = child.stdin.take().context("ffmpeg has no input")?;
    let mut fed = Ok(());
    for frame in frames {
        fed = stdin.write_all(&frame);
        if fed.is_err() {
            break;
        }
    }
    drop(stdin);
    let done = child.wait()?;
    ensure!(done.success(), "ffmpeg failed: {command:?}");
    // An encoder that has enough closes its input; what it wrote counts.
    if let Err(error) = fed
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        return Err(error.into());
    }
    Ok(())
}
