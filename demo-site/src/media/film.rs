//! What moves: the demo's videos and its animated pictures, frame by frame.

use std::f32::consts::TAU;

use anyhow::Result;

use super::{
    canvas::{Canvas, Noise, Palette, Rgb, add, mix, scale, smooth, unit},
    encode::Size,
};

/// A frame by its number.
pub type Frames = Box<dyn Fn(u32) -> Vec<u8> + Sync + Send>;

/// A coast that glides past under drifting light: 24 frames a second, `frames` in all.
pub fn coast(size: Size, frames: u32, colours: &[&str]) -> Result<Frames> {
    let palette = Palette::new(colours)?;
    let noise = Noise::new(31);
    let (width, height) = size;
    let aspect = width as f32 / height as f32;
    // The sky is painted once, wider than the screen, and drifts.
    let (sky_width, sky_height) = (width + width / 2, height * 3 / 4);
    let sky = Canvas::paint(sky_width, sky_height, |x, y| {
        let y = y * 0.75;
        let x = x * 0.75;
        let up = y / 0.62;
        let cloud = noise.fbm(x * 1.2 + 0.6 * noise.fbm(x, y * 3.0, 3), y * 4.6, 6);
        let veil = smooth(0.0, 0.45, cloud);
        let base = palette.at(0.18 + 0.74 * up.powf(1.2));
        mix(
            base,
            palette.at(0.62 + 0.33 * up),
            0.6 * veil * smooth(0.02, 0.2, y),
        )
    });
    let ranges: Vec<Vec<f32>> = (0..5)
        .map(|layer| {
            let near = layer as f32 / 4.0;
            // As wide as it travels.
            let travel = ((0.25 + 1.2 * near * near) * height as f32) as usize;
            (0..width + travel)
                .map(|column| {
                    let x = column as f32 / height as f32;
                    let line = noise.ridged(x * (0.9 + near) + 5.0 * near, 3.0 + 2.0 * near, 5);
                    0.60 + 0.16 * near - (0.24 - 0.08 * near) * line
                })
                .collect()
        })
        .collect();
    let sun_x = 0.64 * aspect;
    let haze = palette.at(0.74);
    let layers: Vec<(Rgb, f32)> = (0..5)
        .map(|layer| {
            let near = layer as f32 / 4.0;
            let far = scale(palette.at(0.66), 0.9);
            let colour = mix(far, scale(palette.at(0.05), 0.4), near.powf(0.7));
            (colour, 0.5 * (1.0 - near))
        })
        .collect();
    Ok(Box::new(move |number| {
        let time = number as f32 / frames as f32;
        let light = mix(palette.at(1.0), [1.0; 3], 0.4);
        let sun_y = 0.30 + 0.10 * time;
        // Per frame: each range's crest on the screen, so that a pixel only compares.
        let crests: Vec<Vec<f32>> = ranges
            .iter()
            .map(|range| {
                let shift = time * (range.len() - width - 1) as f32;
                let (start, part) = (shift as usize, shift.fract());
                let line = &range[start..=start + width];
                line.windows(2)
                    .map(|pair| pair[0] + (pair[1] - pair[0]) * part)
                    .collect()
            })
            .collect();
        let drift = (time * (sky_width - width) as f32) as usize;
        let view = |column: usize, y: f32| -> Rgb {
            let below = |layer: usize| y - crests[layer][column];
            let hiding = (0..crests.len()).rev().find(|&layer| below(layer) > 0.0015);
            let mut sum = if hiding.is_none() {
                let x = column as f32 / height as f32;
                let row = ((y * height as f32) as usize).min(sky_height - 1);
                let sky = sky.pixels[row * sky_width + (column + drift).min(sky_width - 1)];
                let far = (x - sun_x).hypot(y - sun_y);
                let lit = add(sky, light, 0.5 * (-far * 3.2).exp());
                mix(lit, scale(light, 1.3), smooth(0.058, 0.055, far))
            } else {
                haze
            };
            let behind = hiding.unwrap_or(0);
            for (layer, (colour, mist)) in layers.iter().enumerate().skip(behind) {
                let below = below(layer);
                if below > -0.0015 {
                    let ground = mix(*colour, haze, mist * smooth(0.0, 0.16, below));
                    sum = mix(sum, ground, smooth(-0.0015, 0.0015, below));
                }
            }
            sum
        };
        let water = 0.74;
        let mut bytes = vec![0u8; width * height * 3];
        for row in 0..height {
            let y = (row as f32 + 0.5) / height as f32;
            let deep = (y - water) / (1.0 - water);
            let swell = (deep * 46.0 / (0.25 + deep) - number as f32 * 0.21).sin()
                + (deep * 131.0 / (0.3 + deep) + number as f32 * 0.13).sin() * 0.6;
            for column in 0..width {
                let light_here = if y < water {
                    view(column, y)
                } else {
                    let x = column as f32 / height as f32;
                    let wave = swell * 0.5
                        + (x * 41.0 + swell + number as f32 * 0.17).sin() * 0.5
                        + (x * 97.0 - deep * 80.0 + number as f32 * 0.23).sin() * 0.3;
                    let up = (2.0 * water - y + wave * 0.010 * (0.3 + deep)).clamp(0.0, 1.0);
                    let aside =
                        (column as f32 + wave * 7.0 * (0.3 + deep)).clamp(0.0, width as f32 - 1.0);
                    let image = view(aside as usize, up);
                    let path = (-((x - sun_x) / (0.05 + 0.12 * deep)).powi(2)).exp();
                    let glitter = smooth(0.45, 1.3, wave) * path;
                    let tint = scale(palette.at(0.22), 0.6);
                    add(
                        mix(scale(image, 0.86), tint, 0.25 + 0.3 * deep),
                        light,
                        0.5 * glitter,
                    )
                };
                put(
                    &mut bytes,
                    (row * width + column) * 3,
                    light_here,
                    number,
                    column,
                    row,
                    5.0,
                );
            }
        }
        bytes
    }))
}

/// Sparks that rise in a warm wind.
pub fn embers(size: Size, frames: u32, colours: &[&str]) -> Result<Frames> {
    let palette = Palette::new(colours)?;
    let noise = Noise::new(12);
    let (width, height) = size;
    let ground = Canvas::paint(width, height, |x, y| {
        let smoke = noise.fbm(x * 2.0, y * 2.4, 5);
        let heat = smooth(0.35, 1.15, y + 0.16 * smoke);
        add(
            scale(palette.at(0.08), 0.35),
            palette.at(0.42),
            0.55 * heat * heat,
        )
    });
    Ok(Box::new(move |number| {
        let mut light = ground.pixels.clone();
        for spark in 0..520 {
            let dice = |n: u32| unit(n, spark, 5);
            // Each rises a whole number of times, so the film's end meets its start.
            let rounds = 1.0 + (dice(1) * 3.0).floor();
            let life = (dice(2) + rounds * number as f32 / frames as f32).fract();
            let sway = noise.fbm(dice(3) * 9.0 + life * 1.6, dice(4) * 9.0, 3);
            let x = (dice(5) * 1.2 - 0.1) * width as f32 + sway * 0.32 * height as f32;
            let y = (1.06 - life * (0.55 + 0.65 * dice(6))) * height as f32;
            let flicker = 0.6 + 0.4 * (number as f32 * (0.3 + dice(7)) + dice(8) * TAU).sin();
            let strength = smooth(0.0, 0.08, life) * smooth(1.0, 0.45, life) * flicker;
            let size = (0.8 + 3.6 * dice(9).powi(4)) * height as f32 / 480.0;
            let colour = scale(palette.at(0.95 - 0.5 * life), 1.6 * strength);
            let reach = (size * 7.0) as i32;
            for dy in -reach..=reach {
                for dx in -reach..=reach {
                    let (column, row) = (x as i32 + dx, y as i32 + dy);
                    if column < 0 || row < 0 || column >= width as i32 || row >= height as i32 {
                        continue;
                    }
                    let far = ((column as f32 - x).powi(2) + (row as f32 - y).powi(2)) / size;
                    let glow = (-far / size).exp()
                        + 0.10 / (1.0 + far * 0.6) * smooth(size * 7.0, 0.0, (far * size).sqrt());
                    let pixel = &mut light[row as usize * width + column as usize];
                    *pixel = add(*pixel, colour, glow);
                }
            }
        }
        bytes_of(&light, width, number, 2.0)
    }))
}

/// A Julia set whose constant walks around, so that it grows and falls apart.
pub fn bloom(size: Size, frames: u32, colours: &[&str]) -> Result<Frames> {
    let palette = Palette::new(colours)?;
    let (width, height) = size;
    Ok(Box::new(move |number| {
        let turn = TAU * number as f32 / frames as f32;
        let c = [0.7885 * turn.cos(), 0.7885 * turn.sin()];
        let canvas = Canvas::paint(width, height, |x, y| {
            let aspect = width as f32 / height as f32;
            let mut z = [(x - aspect / 2.0) * 2.5, (y - 0.5) * 2.5];
            let (mut steps, mut trap) = (0u32, 9.0f32);
            while z[0] * z[0] + z[1] * z[1] < 64.0 && steps < 64 {
                z = [z[0] * z[0] - z[1] * z[1] + c[0], 2.0 * z[0] * z[1] + c[1]];
                trap = trap.min(z[0] * z[0] + z[1] * z[1]);
                steps += 1;
            }
            if steps == 64 {
                return scale(palette.at(0.9 - trap.sqrt()), 0.7);
            }
            let even = steps as f32 + 1.0 - (z[0] * z[0] + z[1] * z[1]).ln().log2() + 2.6;
            palette.at((even.max(0.0) / 60.0).powf(0.55))
        });
        bytes_of(&canvas.pixels, width, number, 0.0)
    }))
}

/// The animated pictures.
#[derive(Clone, Copy, Debug)]
pub enum Loop {
    /// Rings of dots that breathe outwards.
    Pulse,
    /// Drops that melt into each other.
    Melt,
    /// Bands of a turning moiré.
    Turn,
    /// A sea of squares in a wave.
    Field,
}

/// A loop without a seam.
pub fn looped(kind: Loop, size: Size, frames: u32, colours: &[&str]) -> Result<Frames> {
    let palette = Palette::new(colours)?;
    let (width, height) = size;
    Ok(Box::new(move |number| {
        let turn = TAU * number as f32 / frames as f32;
        let soft = 1.5 / height as f32;
        let canvas = Canvas::paint(width, height, |x, y| {
            let (u, v) = (x - 0.5 * width as f32 / height as f32, y - 0.5);
            match kind {
                Loop::Pulse => {
                    let cells = 18.0;
                    let (a, b) = ((u * cells).floor() + 0.5, (v * cells).floor() + 0.5);
                    let far = a.hypot(b) / cells;
                    let wave = 0.5 + 0.5 * (far * 19.0 - turn).sin();
                    let dot = (u * cells - a).hypot(v * cells - b);
                    let size = 0.10 + 0.34 * wave;
                    let ink = smooth(size + soft * cells, size - soft * cells, dot);
                    mix(palette.at(0.02), palette.at(0.35 + 0.6 * wave), ink)
                }
                Loop::Melt => {
                    let field: f32 = (0..6)
                        .map(|n| {
                            let n = n as f32;
                            let (p, q) = ((n * 1.7 + turn).sin(), (n * 2.3 + turn).cos());
                            let (cx, cy) = (0.30 * p, 0.30 * q * (n * 0.9 + turn).sin());
                            let far = (u - cx).powi(2) + (v - cy).powi(2);
                            (0.011 + 0.004 * n.sin()) / far.max(1e-4)
                        })
                        .sum();
                    let inside = smooth(0.97, 1.03, field);
                    let colour = palette.at(0.30 + 0.22 * field.ln().max(0.0) + 0.25 * (v + 0.5));
                    let rim = 0.5 * smooth(0.75, 1.0, field);
                    mix(mix(palette.at(0.03), palette.at(0.3), rim), colour, inside)
                }
                Loop::Turn => {
                    let far = u.hypot(v);
                    let angle = v.atan2(u);
                    let one = (far * 60.0 - turn * 2.0 + 3.0 * (angle * 3.0).sin()).sin();
                    let two = (far * 60.0 + turn + 3.0 * (angle * 3.0 + turn).cos()).sin();
                    let t = 0.5 + 0.25 * (one + two);
                    palette.at((t * 6.0).floor() / 6.0 * smooth(0.72, 0.35, far) + 0.06)
                }
                Loop::Field => {
                    let cells = 12.0;
                    let (a, b) = ((u * cells).floor() + 0.5, (v * cells).floor() + 0.5);
                    let phase = (a * 0.55 + b * 0.35).sin() + (b * 0.6 - a * 0.2).cos();
                    let wave = 0.5 + 0.5 * (turn + phase * 2.2).sin();
                    let (sin, cos) = (wave * 1.57).sin_cos();
                    let (p, q) = (u * cells - a, v * cells - b);
                    let edge = (p * cos - q * sin).abs().max((p * sin + q * cos).abs());
                    let size = 0.14 + 0.26 * wave;
                    let ink = smooth(size + soft * cells, size - soft * cells, edge);
                    mix(palette.at(0.0), palette.at(0.25 + 0.75 * wave), ink)
                }
            }
        });
        bytes_of(&canvas.pixels, width, 0, 0.0)
    }))
}

fn bytes_of(light: &[Rgb], width: usize, number: u32, grain: f32) -> Vec<u8> {
    let mut bytes = vec![0; light.len() * 3];
    for (at, pixel) in light.iter().enumerate() {
        put(
            &mut bytes,
            at * 3,
            *pixel,
            number,
            at % width,
            at / width,
            grain,
        );
    }
    bytes
}

/// The square root stands for the screen's curve: it is called for each pixel of each frame.
fn put(
    bytes: &mut [u8],
    at: usize,
    light: Rgb,
    number: u32,
    column: usize,
    row: usize,
    grain: f32,
) {
    let mut dice = (column as u32).wrapping_mul(0x9e37_79b9)
        ^ (row as u32).wrapping_mul(0x85eb_ca6b)
        ^ number.wrapping_mul(0xc2b2_ae35);
    dice = (dice ^ (dice >> 15)).wrapping_mul(0x2c1b_3c6d);
    dice ^= dice >> 13;
    let noise = ((dice & 0xffff) as f32 / 65535.0 - 0.5) * grain;
    for channel in 0..3 {
        let value = light[channel].max(0.0);
        let soft = if value < 0.7 {
            value
        } else {
            0.7 + 0.3 * (value - 0.7) / (value - 0.4)
        };
        bytes[at + channel] = (soft.sqrt() * 255.0 + noise).clamp(0.0, 255.0) as u8;
    }
}
