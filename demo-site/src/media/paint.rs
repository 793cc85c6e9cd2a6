//! The painters: each makes one kind of picture from a seed and a gradient.

use anyhow::{Context, Result};
use tiny_skia::{LineCap, Paint, PathBuilder, Pixmap, Stroke, Transform};

use super::canvas::{Canvas, Noise, Palette, Rgb, add, mix, scale, smooth, unit};

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

    fn peaks(&self, sun: [f32; 3], lake: bool) -> Canvas {
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

    fn aurora(&self, lake: bool) -> Canvas {
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

    fn silk(&self, size: f32) -> Canvas {
        let n = &self.noise;
        let height = |x: f32, y: f32| -> (f32, f32) {
            let (x, y) = (x * size, y * size);
            let q = [n.fbm(x, y, 3), n.fbm(x + 5.2, y + 1.3, 3)];
            let r = [
                n.fbm(x + 3.2 * q[0] + 1.7, y + 3.2 * q[1] + 9.2, 3),
                n.fbm(x + 3.2 * q[0] + 8.3, y + 3.2 * q[1] + 2.8, 3),
            ];
            let f = n.fbm(x + 3.4 * r[0], y + 3.4 * r[1], 4);
            (f, q[1] + r[0])
        };
        let field = Canvas::paint(self.width, self.height, |x, y| {
            let (f, other) = height(x, y);
            [f, other, 0.0]
        });
        let (width, tall) = (self.width, self.height);
        Canvas::paint(width, tall, |x, y| {
            let column = ((x * tall as f32) as usize).min(width - 1);
            let row = ((y * tall as f32) as usize).min(tall - 1);
            let at = |c: usize, r: usize| field.pixels[r.min(tall - 1) * width + c.min(width - 1)];
            let here = at(column, row);
            let slope_x = (at(column + 1, row)[0] - here[0]) * tall as f32 / size;
            let slope_y = (at(column, row + 1)[0] - here[0]) * tall as f32 / size;
            let length = (slope_x * slope_x + slope_y * slope_y + 1.0).sqrt();
            let light = (0.55 * slope_x + 0.65 * slope_y + 0.9) / length;
            let gloss = ((0.3 * slope_x + 0.55 * slope_y + 1.0) / (1.18 * length)).max(0.0);
            let colour = self.palette.at(0.5 + 0.95 * here[0] + 0.22 * here[1]);
            let lit = scale(colour, 0.35 + 0.75 * light.max(0.0));
            add(lit, [1.0, 0.98, 0.95], 0.28 * gloss.powi(24))
        })
    }

    fn wind(&self, size: f32, lines: u32, stroke_width: f32) -> Result<Canvas> {
        let (width, height) = (self.width as f32, self.height as f32);
        let mut sheet =
            Pixmap::new(self.width as u32, self.height as u32).context("empty sheet")?;
        let screen = |light: Rgb, alpha: f32| {
            let [r, g, b] = light.map(super::canvas::encode);
            tiny_skia::Color::from_rgba(r, g, b, alpha).unwrap_or(tiny_skia::Color::BLACK)
        };
        sheet.fill(screen(scale(self.palette.at(0.0), 0.8), 1.0));
        let mut dice = fastrand::Rng::with_seed(u64::from(self.seed));
        for line in 0..lines {
            let mut x = dice.f32() * width * 1.1 - 0.05 * width;
            let mut y = dice.f32() * height * 1.1 - 0.05 * height;
            let (u, v) = (x / height * size, y / height * size);
            let hue =
                0.55 + 0.75 * self.noise.fbm(u * 0.6 + 3.0, v * 0.6, 2) + 0.25 * (dice.f32() - 0.5);
            let mut path = PathBuilder::new();
            path.move_to(x, y);
            let steps = 40 + dice.u32(0..160);
            let step = height / 420.0;
            for _ in 0..steps {
                let (u, v) = (x / height * size, y / height * size);
                let angle = self.noise.fbm(u, v, 2) * std::f32::consts::TAU * 1.15 + 0.5;
                x += angle.cos() * step;
                y += angle.sin() * step;
                path.line_to(x, y);
            }
            let Some(path) = path.finish() else { continue };
            let mut paint = Paint {
                anti_alias: true,
                ..Paint::default()
            };
            // Later lines are brighter: light lies on top.
            let rise = line as f32 / lines as f32;
            paint.set_color(screen(self.palette.at(hue.max(0.12)), 0.25 + 0.55 * rise));
            let stroke = Stroke {
                width: stroke_width * height / 1000.0 * (0.35 + 1.3 * dice.f32().powi(2)),
                line_cap: LineCap::Round,
                ..Stroke::default()
            };
            sheet.stroke_path(&path, &paint, &stroke, Transform::identity(), None);
        }
        Ok(Canvas {
            width: self.width,
            height: self.height,
            pixels: sheet
                .pixels()
                .iter()
                .map(|p| {
                    [p.red(), p.green(), p.blue()].map(|c| {
                        let c = f32::from(c) / 255.0;
                        // The roll-off comes again when it is encoded; below it this is exact.
                        c.powf(2.2)
                    })
                })
                .collect(),
        })
    }

    fn glass(&self, cells: f32) -> Canvas {
        Canvas::paint(self.width, self.height, |x, y| {
            let bend = 0.25 / cells;
            let u = (x + bend * self.noise.at(x * 3.0, y * 3.0)) * cells;
            let v = (y + bend * self.noise.at(x * 3.0 + 9.0, y * 3.0)) * cells;
            let (column, row) = (u.floor() as i32, v.floor() as i32);
            let (mut first, mut second, mut mine) = (9.0f32, 9.0f32, (0, 0));
            for r in row - 2..=row + 2 {
                for c in column - 2..=column + 2 {
                    let dx = c as f32 + unit(self.seed, c, r) - u;
                    let dy = r as f32 + unit(self.seed + 1, c, r) - v;
                    let far = dx.hypot(dy);
                    if far < first {
                        second = first;
                        first = far;
                        mine = (c, r);
                    } else if far < second {
                        second = far;
                    }
                }
            }
            let (c, r) = mine;
            let hue = 0.5
                + 0.62
                    * self
                        .noise
                        .fbm(c as f32 / cells * 1.6, r as f32 / cells * 1.6, 2)
                    * 1.5
                + 0.34 * (unit(self.seed + 2, c, r) - 0.5);
            let lead = smooth(0.035, 0.085, second - first);
            let grain = self.noise.fbm(x * 34.0, y * 7.0 + c as f32 * 3.0, 3);
            let sun = 0.75 + 0.9 * (-((x - 0.62 * self.aspect).hypot(y - 0.3)) * 1.7).exp();
            let glow = (1.15 - 0.5 * first + 0.22 * grain) * sun;
            let rim = 0.12 * smooth(0.22, 0.07, second - first);
            mix(
                scale(self.palette.at(0.02), 0.12),
                scale(self.palette.at(hue), (glow - rim).max(0.1)),
                lead,
            )
        })
    }

    fn julia(&self, c: [f32; 2]) -> Canvas {
        self.sampled(|x, y| {
            let mut z = [(x - self.aspect / 2.0) * 2.6, (y - 0.5) * 2.6];
            let (mut trap, mut nearest, mut steps) = (9.0f32, 9.0f32, 0u32);
            while z[0] * z[0] + z[1] * z[1] < 256.0 && steps < 260 {
                z = [z[0] * z[0] - z[1] * z[1] + c[0], 2.0 * z[0] * z[1] + c[1]];
                trap = trap.min(z[0].abs().min(z[1].abs()));
                nearest = nearest.min(z[0] * z[0] + z[1] * z[1]);
                steps += 1;
            }
            let shade = (1.0 + trap.max(1e-4).ln() * 0.16).clamp(0.0, 1.0);
            if steps == 260 {
                return scale(self.palette.at(0.25 + 1.6 * nearest.sqrt()), 0.8);
            }
            let smooth_steps = steps as f32 + 1.0 - (z[0] * z[0] + z[1] * z[1]).ln().log2() + 3.0;
            let t = (smooth_steps.max(0.0) / 260.0).powf(0.36);
            add(
                self.palette.at(t * 1.35),
                self.palette.at(1.0),
                0.5 * (1.0 - shade).powi(2) * t,
            )
        })
    }

    fn mandelbrot(&self, middle: [f64; 2], reach: f64) -> Canvas {
        let limit = 350;
        self.sampled(|x, y| {
            let c = [
                middle[0] + f64::from(x - self.aspect / 2.0) * 2.0 * reach,
                middle[1] + f64::from(y - 0.5) * 2.0 * reach,
            ];
            let (mut z, mut d, mut steps) = ([0.0f64; 2], [0.0f64; 2], 0);
            while z[0] * z[0] + z[1] * z[1] < 1e4 && steps < limit {
                d = [
                    2.0 * (z[0] * d[0] - z[1] * d[1]) + 1.0,
                    2.0 * (z[0] * d[1] + z[1] * d[0]),
                ];
                z = [z[0] * z[0] - z[1] * z[1] + c[0], 2.0 * z[0] * z[1] + c[1]];
                steps += 1;
            }
            if steps == limit {
                return scale(self.palette.at(0.0), 0.35);
            }
            let size = z[0].hypot(z[1]);
            let far = size * size.ln() / d[0].hypot(d[1]) / reach;
            let smooth_steps = steps as f64 - size.ln().log2();
            let t = (smooth_steps as f32 * 0.035).sqrt() * 1.1;
            let edge = (far as f32 * 60.0).powf(0.32).min(1.0);
            // Lit from the upper left, as if the set were a hill.
            let slope = [
                (z[0] * d[0] + z[1] * d[1]) as f32,
                (z[1] * d[0] - z[0] * d[1]) as f32,
            ];
            let length = slope[0].hypot(slope[1]).max(1e-20);
            let light = 0.72 + 0.34 * (slope[0] * 0.7 + slope[1] * 0.7) / length;
            scale(self.palette.swing(t), (0.12 + 0.88 * edge) * light)
        })
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

    fn attractor(&self, k: [f64; 4]) -> Canvas {
        let [a, b, c, d] = k;
        let (width, height) = (self.width, self.height);
        let mut hits = vec![[0.0f32; 3]; width * height];
        let (mut x, mut y) = (0.1f64, 0.1f64);
        let reach_x = 1.0 + c.abs();
        let reach_y = 1.0 + d.abs();
        let fit = (width as f64 / (2.1 * reach_x)).min(height as f64 / (2.1 * reach_y));
        for step in 0..6_000_000u32 {
            let next = [
                (a * y).sin() + c * (a * x).cos(),
                (b * x).sin() + d * (b * y).cos(),
            ];
            let leap = ((next[0] - x).hypot(next[1] - y) / (reach_x + reach_y)) as f32;
            [x, y] = next;
            if step < 50 {
                continue;
            }
            let column = (x * fit + width as f64 / 2.0) as usize;
            let row = (y * fit + height as f64 / 2.0) as usize;
            if column < width && row < height {
                let colour = self.palette.at(0.35 + 0.75 * leap);
                let pixel = &mut hits[row * width + column];
                *pixel = add(*pixel, colour, 1.0);
            }
        }
        let even = 6_000_000.0 / (width * height) as f32;
        Canvas::paint(width, height, |x, y| {
            let column = ((x * height as f32) as usize).min(width - 1);
            let row = ((y * height as f32) as usize).min(height - 1);
            let light = hits[row * width + column];
            let dense = light.iter().sum::<f32>() / (3.0 * even);
            let glow = (1.0 + dense * 2.2).ln() * 0.42;
            let far = (x - self.aspect / 2.0).hypot(y - 0.5);
            let ground = scale(self.palette.at(0.08), 0.55 * (1.0 - smooth(0.1, 1.0, far)));
            let colour = scale(light, 1.0 / (dense * 3.0 * even).max(1e-3));
            add(ground, colour, glow * 3.0)
        })
    }

    fn map(&self, size: f32) -> Canvas {
        let land = |x: f32, y: f32| {
            let (u, v) = (x * size, y * size);
            let bend = self.noise.fbm(u * 0.7 + 8.0, v * 0.7, 3);
            0.5 + 0.85 * self.noise.fbm(u + 0.6 * bend, v - 0.6 * bend, 5)
                + 0.28 * (self.noise.ridged(u * 0.9, v * 0.9, 3) - 0.4)
        };
        let pixel = 1.0 / self.height as f32;
        Canvas::paint(self.width, self.height, |x, y| {
            let here = land(x, y);
            let (east, south) = (land(x + pixel, y), land(x, y + pixel));
            let slope = [(east - here) / pixel, (south - here) / pixel];
            let steep = slope[0].hypot(slope[1]).max(1e-4);
            let sea = 0.44;
            if here < sea {
                let deep = ((sea - here) * 3.2).min(1.0);
                let line = (here * 24.0 + 0.5).fract();
                let from_line = (line - 0.5).abs() / 24.0 / steep / pixel;
                let ink = 0.22 * smooth(1.3, 0.4, from_line);
                let water = self.palette.at(0.34 - 0.34 * deep);
                return mix(water, self.palette.at(0.5), ink);
            }
            let shade = 1.0 - 0.13 * (slope[0] + slope[1]).clamp(-2.5, 2.5);
            let colour = self.palette.at(0.46 + 0.9 * (here - sea));
            let count = here * 24.0 + 0.5;
            let from_line = (count.fract() - 0.5).abs() / 24.0 / steep / pixel;
            let bold = if (count.floor() as i32) % 4 == 0 {
                1.0
            } else {
                0.45
            };
            let ink = 0.5 * bold * smooth(1.4, 0.4, from_line);
            let shore = smooth(2.2, 0.8, (here - sea) / steep / pixel);
            let ground = mix(scale(colour, shade), scale(self.palette.at(0.2), 0.6), ink);
            mix(ground, scale(self.palette.at(0.05), 0.8), 0.7 * shore)
        })
    }

    fn space(&self, x: f32, y: f32, gas: f32) -> Rgb {
        let n = &self.noise;
        let bend = [
            n.fbm(x * 1.4 + 3.0, y * 1.4, 4),
            n.fbm(x * 1.4, y * 1.4 + 7.0, 4),
        ];
        let cloud = n.fbm(x * 1.5 + 1.5 * bend[0], y * 1.5 + 1.5 * bend[1], 6);
        let dust = smooth(0.0, 0.45, n.fbm(x * 2.3 - bend[1] * 2.0, y * 2.3 + 4.0, 5));
        let body = smooth(-0.42, 0.55, cloud);
        let colour = self.palette.at(0.12 + 0.85 * body + 0.2 * bend[1]);
        let mut sum = scale(self.palette.at(0.0), 0.35);
        sum = add(
            sum,
            colour,
            gas * 1.05 * body.powf(1.9) * (1.0 - 0.8 * dust),
        );
        let tint = mix([0.75, 0.85, 1.0], [1.0, 0.86, 0.7], 0.5 + 0.5 * bend[0]);
        let stars = self.star(x, y, 70.0) * 1.1
            + self.star(x + 3.7, y + 1.9, 28.0) * 1.5
            + 0.7 * self.star(x + 8.1, y, 120.0);
        add(sum, tint, stars * (1.0 - 0.55 * dust * gas))
    }

    fn nebula(&self) -> Canvas {
        let suns: Vec<[f32; 3]> = (0..7)
            .map(|n| {
                let dice = |k| unit(self.seed + k, n, 3);
                [dice(1) * self.aspect, dice(2), 0.3 + 0.9 * dice(3)]
            })
            .collect();
        Canvas::paint(self.width, self.height, |x, y| {
            let mut sum = self.space(x, y, 1.0);
            for [sun_x, sun_y, size] in &suns {
                let (dx, dy) = ((x - sun_x).abs(), (y - sun_y).abs());
                let far = dx.hypot(dy);
                let core = (-(far / (0.0045 * size)).powi(2)).exp() * 2.5;
                let halo = 0.010 * size / (0.012 + far * 3.0) * smooth(0.35, 0.0, far);
                let cross =
                    (-(dx * dy).sqrt() * 420.0 / size).exp() * smooth(0.075 * size, 0.0, far) * 0.9;
                sum = add(sum, [0.88, 0.93, 1.0], core + halo + cross);
            }
            sum
        })
    }

    fn planet(&self, gas: bool, ring: bool) -> Canvas {
        let middle = [self.aspect * 0.5, 0.52];
        let radius = if ring { 0.25 } else { 0.36 };
        let light = normal([-0.62, -0.38, 0.68]);
        let tilt = 0.42f32;
        let surface = |p: [f32; 3]| -> Rgb {
            let (sin, cos) = tilt.sin_cos();
            let q = [p[0] * cos + p[1] * sin, p[1] * cos - p[0] * sin, p[2]];
            if gas {
                let swirl = self.noise.fbm3([q[0] * 2.2, q[1] * 7.0, q[2] * 2.2], 5);
                let fine = self.noise.fbm3([q[0] * 3.0, q[1] * 22.0, q[2] * 3.0], 3);
                let band = (q[1] * 9.0 + 1.6 * swirl).sin();
                let wide = self.noise.at(q[1] * 3.3 + 5.0 + 0.25 * swirl, 1.5);
                self.palette
                    .at(0.60 + 0.20 * band + 0.30 * wide + 0.22 * fine)
            } else {
                let land = self.noise.fbm3(q.map(|c| c * 1.7), 7);
                let cloud = self
                    .noise
                    .fbm3([q[0] * 2.4 + 4.0, q[1] * 4.2, q[2] * 2.4], 6);
                let ground = if land < 0.02 {
                    self.palette.at(0.20 + 0.35 * (land + 0.35))
                } else {
                    self.palette.at(0.46 + 1.05 * land)
                };
                let ice = smooth(0.80, 0.90, q[1].abs() + 0.12 * land);
                let ground = mix(ground, [0.92, 0.95, 1.0], ice);
                mix(ground, [0.95, 0.97, 1.0], 0.85 * smooth(0.08, 0.36, cloud))
            }
        };
        Canvas::paint(self.width, self.height, |x, y| {
            let (u, v) = ((x - middle[0]) / radius, (y - middle[1]) / radius);
            let far = u.hypot(v);
            let mut sum = self.space(x, y, 0.10);
            let rim = self.palette.at(0.82);
            let air = (-(far - 1.0).max(0.0) * 15.0).exp() * smooth(-0.6, 0.9, -u * 0.8 - v * 0.5);
            sum = add(sum, rim, 0.35 * air);
            let disc = smooth(1.0 + 0.7 / (radius * self.height as f32), 1.0, far);
            if disc > 0.0 {
                let z = (1.0 - (u * u + v * v).min(1.0)).sqrt();
                let p = [u, v, z];
                let lit = (p[0] * light[0] + p[1] * light[1] + p[2] * light[2]).max(-0.1);
                let day = smooth(-0.08, 0.75, lit);
                let edge = (1.0 - z).powi(3);
                let ball = add(scale(surface(p), 0.02 + 1.15 * day), rim, 0.6 * edge * day);
                sum = mix(sum, ball, disc);
            }
            if ring {
                // A flat ring, seen from a little above and turned.
                let (sin, cos) = (-0.38f32).sin_cos();
                let (a, b) = (u * cos - v * sin, (u * sin + v * cos) / 0.26);
                let out = a.hypot(b);
                if out > 1.28 && out < 2.25 && !(far < 1.0 && b < 0.0) {
                    let groove = 0.55 + 0.45 * self.noise.fbm(out * 16.0, 0.5, 4)
                        - 0.5 * smooth(0.04, 0.0, (out - 1.86).abs());
                    let ends = smooth(1.28, 1.36, out) * smooth(2.25, 2.12, out);
                    let shadow = if far < 1.06 || !(u > 0.0 && v.abs() < 0.55 && b < 0.0) {
                        1.0
                    } else {
                        0.35
                    };
                    let colour = scale(self.palette.at(0.45 + 0.5 * groove), shadow);
                    sum = mix(sum, colour, (0.85 * groove * ends).clamp(0.0, 1.0));
                }
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
