//! The painters: each makes one kind of picture from a seed and a gradient.

mod formula;
mod land;
mod pattern;
mod space;

use anyhow::Result;

use super::canvas::{Canvas, Noise, Palette, Rgb, add, unit};

/// A kind of picture and what is particular to this one.
#[derive(Clone, Copy, Debug)]
pub enum Motif {
    /// Mountains one behind the other in haze, under a sun (where, and how large); perhaps a lake.
    Peaks { sun: [f32; 3], lake: bool },
    /// Northern lights over a forest.
    Aurora { lake: bool },
    /// Noise folded into noise, lit like cloth.
    Silk { scale: f32 },
    /// Lines that follow a wind, on paper.
    Wind { scale: f32, lines: u32, width: f32 },
    /// Stained glass.
    Glass { cells: f32 },
    /// A Julia set: its constant.
    Julia { c: [f32; 2] },
    /// A piece of the Mandelbrot set: middle and half height.
    Mandelbrot { middle: [f64; 2], reach: f64 },
    /// Where a point jumps that follows Clifford's formula.
    Attractor { k: [f64; 4] },
    /// A map with lines of height.
    Map { scale: f32 },
    /// A planet before stars.
    Planet { gas: bool, ring: bool },
    /// Gas and stars.
    Nebula,
}

/// Paints a picture of this size.
pub fn paint(
    motif: Motif,
    seed: u32,
    colours: &[&str],
    width: usize,
    height: usize,
) -> Result<Canvas> {
    let palette = Palette::new(colours)?;
    let noise = Noise::new(seed);
    let scene = Scene {
        palette,
        noise,
        seed,
        width,
        height,
        aspect: width as f32 / height as f32,
    };
    Ok(match motif {
        Motif::Peaks { sun, lake } => scene.peaks(sun, lake).vignette(0.18),
        Motif::Aurora { lake } => scene.aurora(lake).vignette(0.25),
        Motif::Silk { scale } => scene.silk(scale).vignette(0.25),
        Motif::Wind {
            scale,
            lines,
            width,
        } => scene.wind(scale, lines, width)?,
        Motif::Glass { cells } => scene.glass(cells).vignette(0.35),
        Motif::Julia { c } => scene.julia(c),
        Motif::Mandelbrot { middle, reach } => scene.mandelbrot(middle, reach),
        Motif::Attractor { k } => scene.attractor(k),
        Motif::Map { scale } => scene.map(scale),
        Motif::Planet { gas, ring } => scene.planet(gas, ring),
        Motif::Nebula => scene.nebula().vignette(0.3),
    })
}

struct Scene {
    palette: Palette,
    noise: Noise,
    seed: u32,
    width: usize,
    height: usize,
    aspect: f32,
}

impl Scene {
    fn star(&self, x: f32, y: f32, cells: f32) -> f32 {
        let (u, v) = (x * cells, y * cells);
        let (column, row) = (u.floor() as i32, v.floor() as i32);
        let dice = |n| unit(self.seed.wrapping_add(n), column, row);
        if dice(11) > 0.32 {
            return 0.0;
        }
        let (dx, dy) = (
            u.fract() - 0.2 - 0.6 * dice(12),
            v.fract() - 0.2 - 0.6 * dice(13),
        );
        let bright = dice(14).powi(6);
        let size = 0.05 + 0.10 * bright;
        (0.12 + 1.8 * bright) * (-(dx * dx + dy * dy) / (size * size)).exp()
    }

    /// Four samples a pixel.
    fn sampled(&self, colour: impl Fn(f32, f32) -> Rgb + Sync) -> Canvas {
        let quarter = 0.25 / self.height as f32;
        Canvas::paint(self.width, self.height, |x, y| {
            let mut sum = [0.0; 3];
            for (dx, dy) in [(-1.0, -0.5), (0.5, -1.0), (1.0, 0.5), (-0.5, 1.0)] {
                sum = add(sum, colour(x + dx * quarter, y + dy * quarter), 0.25);
            }
            sum
        })
    }
}

fn normal(v: [f32; 3]) -> [f32; 3] {
    let length = v.iter().map(|c| c * c).sum::<f32>().sqrt();
    v.map(|c| c / length)
}

/// A colour for a die, for those who draw in vectors: `#rrggbb`.
pub fn css(light: Rgb) -> String {
    let [r, g, b] = light.map(|c| (super::canvas::encode(c) * 255.0).round() as u8);
    format!("#{r:02x}{g:02x}{b:02x}")
}
