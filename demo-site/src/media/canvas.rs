//! What pictures are painted on and with: linear light, gradients, noise, a hash for a die.
//!
//! Everything here gives the same on every machine, so that the demo's media do too.

use anyhow::{Context, Result};
use colorgrad::{BlendMode, CatmullRomGradient, Gradient, GradientBuilder};
use noise::{NoiseFn, Perlin};
use rayon::prelude::*;

/// A colour in linear light; more than 1 is brighter than the screen and rolls off.
pub type Rgb = [f32; 3];

/// From one colour to another.
pub fn mix(a: Rgb, b: Rgb, t: f32) -> Rgb {
    std::array::from_fn(|i| a[i] + (b[i] - a[i]) * t)
}

/// Light on top of light.
pub fn add(a: Rgb, b: Rgb, gain: f32) -> Rgb {
    std::array::from_fn(|i| a[i] + b[i] * gain)
}

/// Brighter or darker.
pub fn scale(a: Rgb, gain: f32) -> Rgb {
    a.map(|c| c * gain)
}

/// 0 below `from`, 1 above `to`, smooth between.
pub fn smooth(from: f32, to: f32, x: f32) -> f32 {
    let t = ((x - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Pixels in linear light.
pub struct Canvas {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// Row by row from the top.
    pub pixels: Vec<Rgb>,
}

impl Canvas {
    /// Asks `colour` for each pixel. `y` runs from 0 to 1 downwards, `x` from 0 in the same unit.
    pub fn paint(width: usize, height: usize, colour: impl Fn(f32, f32) -> Rgb + Sync) -> Self {
        let mut pixels = vec![[0.0; 3]; width * height];
        let unit = 1.0 / height as f32;
        pixels
            .par_chunks_mut(width)
            .enumerate()
            .for_each(|(row, line)| {
                for (column, pixel) in line.iter_mut().enumerate() {
                    *pixel = colour((column as f32 + 0.5) * unit, (row as f32 + 0.5) * unit);
                }
            });
        Self {
            width,
            height,
            pixels,
        }
    }

    /// Darkens the corners.
    pub fn vignette(mut self, strength: f32) -> Self {
        let (width, height) = (self.width as f32, self.height as f32);
        self.pixels
            .par_chunks_mut(self.width)
            .enumerate()
            .for_each(|(row, line)| {
                for (column, pixel) in line.iter_mut().enumerate() {
                    let x = column as f32 / width - 0.5;
                    let y = row as f32 / height - 0.5;
                    *pixel = scale(*pixel, 1.0 - strength * smooth(0.2, 0.75, x.hypot(y)));
                }
            });
        self
    }

    /// As a screen shows it: three bytes a pixel, dithered so that skies have no steps, with film
    /// grain of so many of 255 on top.
    pub fn bytes(&self, grain: f32) -> Vec<u8> {
        let mut bytes = vec![0; self.pixels.len() * 3];
        bytes
            .par_chunks_mut(self.width * 3)
            .zip(self.pixels.par_chunks(self.width))
            .enumerate()
            .for_each(|(row, (to, from))| {
                for (column, pixel) in from.iter().enumerate() {
                    let dice = hash(7, column as u32, row as u32);
                    let noise = ((dice & 0xffff) as f32 + (dice >> 16) as f32) / 65535.0 - 1.0;
                    for channel in 0..3 {
                        let value = encode(pixel[channel]) * 255.0 + noise * (0.5 + grain) + 0.5;
                        to[column * 3 + channel] = value.clamp(0.0, 255.0) as u8;
                    }
                }
            });
        bytes
    }
}

/// Pixels that are ready to be shown.
pub struct Still {
    /// Width and height.
    pub size: (usize, usize),
    /// Three a pixel.
    pub bytes: Vec<u8>,
}

/// Linear light to what a screen is sent; highlights roll off instead of clipping.
pub fn encode(light: f32) -> f32 {
    let light = light.max(0.0);
    let soft = if light < 0.7 {
        light
    } else {
        0.7 + 0.3 * (1.0 - (-(light - 0.7) / 0.3).exp())
    };
    if soft <= 0.003_130_8 {
        soft * 12.92
    } else {
        1.055 * soft.powf(1.0 / 2.4) - 0.055
    }
}

fn decode(value: f32) -> f32 {
    if value <= 0.04045 {
        value / 12.92
    } else {
        ((value + 0.055) / 1.055).powf(2.4)
    }
}

/// A gradient, looked up.
pub struct Palette {
    colours: Vec<Rgb>,
}

impl Palette {
    const STEPS: usize = 1024;

    /// Through these colours (`#rrggbb`, at even distances), blended as the eye does.
    pub fn new(stops: &[&str]) -> Result<Self> {
        let gradient = GradientBuilder::new()
            .html_colors(stops)
            .mode(BlendMode::Oklab)
            .build::<CatmullRomGradient>()
            .with_context(|| format!("no gradient through {stops:?}"))?;
        let colours = (0..Self::STEPS)
            .map(|step| {
                let colour = gradient.at(step as f32 / (Self::STEPS - 1) as f32);
                [colour.r, colour.g, colour.b].map(|c| decode(c.clamp(0.0, 1.0)))
            })
            .collect();
        Ok(Self { colours })
    }

    /// The colour at 0 to 1, clamped.
    pub fn at(&self, t: f32) -> Rgb {
        let step = t.clamp(0.0, 1.0) * (Self::STEPS - 1) as f32;
        self.colours[step as usize]
    }

    /// The colour on a way to and fro, for values without end.
    pub fn swing(&self, t: f32) -> Rgb {
        let t = t.rem_euclid(2.0);
        self.at(if t > 1.0 { 2.0 - t } else { t })
    }
}

/// Gradient noise in octaves.
pub struct Noise(Perlin);

impl Noise {
    /// A field of its own for each seed.
    pub fn new(seed: u32) -> Self {
        Self(Perlin::new(seed))
    }

    /// About -1 to 1.
    pub fn at(&self, x: f32, y: f32) -> f32 {
        self.0.get([f64::from(x), f64::from(y)]) as f32
    }

    /// About -1 to 1, detail upon detail.
    pub fn fbm(&self, x: f32, y: f32, octaves: u32) -> f32 {
        let (mut sum, mut gain, mut scale) = (0.0, 0.5, 1.0);
        for octave in 0..octaves {
            // Turned a little each time, so that the lattice does not show.
            let (sin, cos) = (0.6 * octave as f32).sin_cos();
            let (u, v) = ((x * cos - y * sin) * scale, (x * sin + y * cos) * scale);
            sum += gain * self.at(u + 17.3 * octave as f32, v);
            gain *= 0.5;
            scale *= 2.03;
        }
        sum
    }

    /// 0 to about 1, with sharp crests.
    pub fn ridged(&self, x: f32, y: f32, octaves: u32) -> f32 {
        let (mut sum, mut gain, mut scale, mut weight) = (0.0, 0.5, 1.0, 1.0);
        for octave in 0..octaves {
            let crest = 1.0 - self.at(x * scale + 9.1 * octave as f32, y * scale).abs();
            let crest = crest * crest * weight;
            weight = (crest * 1.6).clamp(0.0, 1.0);
            sum += gain * crest;
            gain *= 0.5;
            scale *= 2.1;
        }
        sum
    }

    /// On a sphere or in time.
    pub fn fbm3(&self, p: [f32; 3], octaves: u32) -> f32 {
        let (mut sum, mut gain, mut scale) = (0.0, 0.5, 1.0f32);
        for _ in 0..octaves {
            let at = p.map(|c| f64::from(c * scale));
            sum += gain * self.0.get(at) as f32;
            gain *= 0.5;
            scale *= 2.02;
        }
        sum
    }
}

/// A die for a place: 32 even bits.
pub fn hash(seed: u32, x: u32, y: u32) -> u32 {
    let mut h = seed
        .wrapping_mul(0x9e37_79b9)
        .wrapping_add(x.wrapping_mul(0x85eb_ca6b))
        .wrapping_add(y.wrapping_mul(0xc2b2_ae35));
    h ^= h >> 16;
    h = h.wrapping_mul(0x7feb_352d);
    h ^= h >> 15;
    h = h.wrapping_mul(0x846c_a68b);
    h ^ (h >> 16)
}

/// A die for a place: 0 to 1.
pub fn unit(seed: u32, x: i32, y: i32) -> f32 {
    hash(seed, x as u32, y as u32) as f32 / u32::MAX as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn palette_ends_in_its_own_colours_and_swings_back() {
        let palette = Palette::new(&["#000000", "#ff8000", "#ffffff"]).unwrap();
        assert!(palette.at(0.0)[0] < 0.001);
        assert!(palette.at(1.0)[2] > 0.99);
        assert_eq!(palette.swing(1.5), palette.at(0.5));
    }

    #[test]
    fn light_is_encoded_without_leaving_the_screen() {
        assert_eq!(encode(-1.0), 0.0);
        assert!((encode(decode(0.5)) - 0.5).abs() < 1e-4);
        assert!(encode(50.0) <= 1.0);
    }
}
