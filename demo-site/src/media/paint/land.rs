//! Land below a sky.

use super::Scene;
use crate::media::canvas::{Canvas, Rgb, add, mix, scale, smooth, unit};

/// One mountain range: its crest in each column.
struct Range {
    crest: Vec<f32>,
    colour: Rgb,
    mist: f32,
}

impl Scene {
    /// Each column's crest, from the bottom of the sky down: `base` and the crest's reach above it.
    fn crest(&self, layer: f32, base: f32, reach: f32, pitch: f32, firs: f32) -> Vec<f32> {
        let unit_x = 1.0 / self.height as f32;
        (0..self.width)
            .map(|column| {
                let x = column as f32 * unit_x;
                let line = self
                    .noise
                    .ridged(x * pitch + layer * 7.7, layer * 3.1, 5)
                    .mul_add(0.9, 0.25 * self.noise.fbm(x * pitch * 0.4, layer, 2));
                base - reach * line - self.fir(x, layer, firs)
            })
            .collect()
    }

    /// How far a forest stands out above the ground here.
    fn fir(&self, x: f32, layer: f32, size: f32) -> f32 {
        if size <= 0.0 {
            return 0.0;
        }
        let pitch = size * 0.28;
        let cell = (x / pitch).floor() as i32;
        let mut highest: f32 = 0.0;
        for near in cell - 2..=cell + 2 {
            let dice = |n| unit(self.seed + n, near, (layer * 10.0) as i32);
            let foot = (near as f32 + dice(1)) * pitch;
            let tall = size * (0.45 + 0.75 * dice(2) * dice(2));
            let half = tall * 0.26;
            let side = ((x - foot).abs() / half).min(1.0);
            // Branches in tiers: the outline steps in as it goes up.
            let up = (1.0 - side) * 7.0;
            let tier = up.floor() + smooth(0.15, 0.85, up.fract());
            highest = highest.max(if side < 1.0 { tall * tier / 7.0 } else { 0.0 });
        }
        highest
    }

    fn ranges(&self, horizon: f32, haze: Rgb, dark: Rgb, firs: bool) -> Vec<Range> {
        let layers = 7;
        (0..layers)
            .map(|layer| {
                let depth = layer as f32 / (layers - 1) as f32;
                let base = horizon + (1.02 - horizon) * depth.powf(1.35);
                let reach = 0.20 + 0.05 * (1.0 - depth);
                let near = if firs && depth > 0.6 {
                    0.035 + 0.11 * (depth - 0.6)
                } else {
                    0.0
                };
                Range {
                    crest: self.crest(layer as f32, base + 0.06, reach, 1.1 + 1.5 * depth, near),
                    colour: mix(haze, dark, depth.powf(0.42)),
                    mist: 0.5 * (1.0 - depth).powf(1.5),
                }
            })
            .collect()
    }

    /// The ranges over a sky, which is asked for only where none of them hides it.
    fn before(&self, ranges: &[Range], haze: Rgb, x: f32, y: f32, sky: impl Fn() -> Rgb) -> Rgb {
        let column = ((x * self.height as f32) as usize).min(self.width - 1);
        let pixel = 1.0 / self.height as f32;
        let below = |range: &Range| y - range.crest[column];
        let hiding = ranges.iter().rposition(|range| below(range) >= pixel);
        let mut behind = if hiding.is_none() { sky() } else { haze };
        for range in &ranges[hiding.unwrap_or(0)..] {
            let below = below(range);
            if below < -pixel {
                continue;
            }
            let foot = smooth(0.0, 0.22, below);
            let ground = mix(range.colour, haze, range.mist * foot);
            behind = mix(behind, ground, smooth(-pixel, pixel, below));
        }
        behind
    }

    pub(super) fn peaks(&self, sun: [f32; 3], lake: bool) -> Canvas {
        let horizon = if lake { 0.40 } else { 0.46 };
        let haze = scale(self.palette.at(0.72), 0.92);
        let dark = scale(self.palette.at(0.06), 0.5);
        let ranges = self.ranges(horizon, haze, dark, true);
        let [sun_x, sun_y, sun_size] = sun;
        let sun_x = sun_x * self.aspect;
        let light = mix(self.palette.at(1.0), [1.0; 3], 0.5);
        let water = 0.70;
        let starry = self.palette.at(0.22).iter().sum::<f32>() < 0.10;
        let sky = |x: f32, y: f32| -> Rgb {
            let up = (y / (horizon + 0.18)).clamp(0.0, 1.0);
            let mut sky = self.palette.at(0.22 + 0.72 * up.powf(1.15));
            let far = (x - sun_x).hypot(y - sun_y);
            let cloud = self.noise.fbm(x * 1.3 + 4.0, y * 5.5, 5);
            let veil = smooth(0.02, 0.42, cloud) * smooth(0.02, 0.25, y) * (1.0 - 0.3 * up);
            let lit = mix(
                self.palette.at(0.95),
                self.palette.at(0.55),
                smooth(0.1, 0.9, far),
            );
            sky = mix(sky, lit, 0.42 * veil);
            sky = add(sky, light, 0.42 * (-far * 3.4).exp());
            let edge = 1.5 / self.height as f32;
            let disc = smooth(sun_size + edge, sun_size - edge, far);
            sky = mix(sky, scale(light, 1.35), disc * (1.0 - 0.35 * veil));
            if starry {
                let stars = self.star(x, y, 46.0) * (1.0 - up) * (1.0 - veil);
                sky = add(sky, [0.9, 0.95, 1.0], stars);
            }
            sky
        };
        let view = |x: f32, y: f32| self.before(&ranges, haze, x, y, || sky(x, y));
        Canvas::paint(self.width, self.height, |x, y| {
            if !lake || y < water {
                return view(x, y);
            }
            let deep = (y - water) / (1.0 - water);
            let wave = self
                .noise
                .fbm(x * 9.0, (y - water) * 90.0 / (0.4 + deep), 3);
            let mirrored = (2.0 * water - y + wave * 0.012 * (0.3 + deep)).max(0.0);
            let sway = x + wave * 0.01 * (0.4 + deep);
            let image = view(sway.clamp(0.0, self.aspect), mirrored);
            let tint = scale(self.palette.at(0.3), 0.7);
            let path = (-((x - sun_x) / (0.05 + 0.10 * deep)).powi(2)).exp();
            let glitter = smooth(0.12, 0.42, wave) * path;
            let shore = smooth(0.0, 0.006, y - water);
            add(
                mix(scale(image, 0.9), tint, 0.22 + 0.3 * deep),
                light,
                0.55 * glitter * shore,
            )
        })
    }

    pub(super) fn aurora(&self, lake: bool) -> Canvas {
        let night = self.palette.at(0.0);
        let low = self.palette.at(0.22);
        let ranges = self.ranges(0.66, scale(low, 0.55), scale(night, 0.25), true);
        let sky = |x: f32, y: f32| -> Rgb {
            let mut sky = mix(scale(night, 0.8), low, smooth(0.0, 0.85, y));
            sky = add(sky, self.palette.at(0.5), 0.16 * smooth(0.2, 0.68, y));
            sky = add(sky, [0.85, 0.92, 1.0], self.star(x, y, 52.0) * 1.1);
            for curtain in 0..4 {
                let lane = curtain as f32;
                let bend = self.noise.fbm(x * 0.75 + lane * 5.3, lane * 2.7, 3);
                let fold = self.noise.fbm(x * 3.1 + lane, lane * 9.0 + bend * 2.0, 2);
                let foot = 0.50 - 0.085 * lane + 0.26 * bend + 0.035 * fold;
                let up = foot - y;
                let fringe = smooth(-0.018, 0.012, up);
                let tall = 0.16 + 0.12 * self.noise.at(x * 0.9 + lane * 3.0, 4.0);
                let fade = (-up.max(0.0) / tall).exp();
                let rays = 0.55
                    + 0.9
                        * self
                            .noise
                            .fbm(x * 16.0 + bend * 9.0 + lane * 31.0, up * 0.8, 3);
                let strength = smooth(-0.35, 0.35, self.noise.at(x * 0.8 + lane * 11.0, 7.7));
                let colour = self.palette.at(0.45 + 0.55 * smooth(0.0, 0.34, up));
                sky = add(
                    sky,
                    colour,
                    0.85 * fringe * fade * rays.max(0.08) * strength,
                );
            }
            sky
        };
        let mist = scale(low, 0.6);
        let view = |x: f32, y: f32| self.before(&ranges, mist, x, y, || sky(x, y));
        let water = 0.76;
        Canvas::paint(self.width, self.height, |x, y| {
            if !lake || y < water {
                return view(x, y);
            }
            let deep = (y - water) / (1.0 - water);
            let wave = self
                .noise
                .fbm(x * 7.0, (y - water) * 70.0 / (0.4 + deep), 3);
            let image = view(
                (x + wave * 0.012).clamp(0.0, self.aspect),
                (2.0 * water - y - deep * 0.22 + wave * 0.02).max(0.0),
            );
            add(scale(image, 0.62), low, 0.05)
        })
    }
}
