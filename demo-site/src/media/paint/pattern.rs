//! What covers a sheet from edge to edge.

use anyhow::{Context, Result};
use tiny_skia::{LineCap, Paint, PathBuilder, Pixmap, Stroke, Transform};

use super::Scene;
use crate::media::canvas::{Canvas, Rgb, add, encode, mix, scale, smooth, unit};

impl Scene {
    pub(super) fn silk(&self, size: f32) -> Canvas {
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

    pub(super) fn wind(&self, size: f32, lines: u32, stroke_width: f32) -> Result<Canvas> {
        let (width, height) = (self.width as f32, self.height as f32);
        let mut sheet =
            Pixmap::new(self.width as u32, self.height as u32).context("empty sheet")?;
        let screen = |light: Rgb, alpha: f32| {
            let [r, g, b] = light.map(encode);
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

    pub(super) fn glass(&self, cells: f32) -> Canvas {
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

    pub(super) fn map(&self, size: f32) -> Canvas {
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
}
