//! What a formula draws.

use super::Scene;
use crate::media::canvas::{Canvas, add, scale, smooth};

impl Scene {
    pub(super) fn julia(&self, c: [f32; 2]) -> Canvas {
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

    pub(super) fn mandelbrot(&self, middle: [f64; 2], reach: f64) -> Canvas {
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

    pub(super) fn attractor(&self, k: [f64; 4]) -> Canvas {
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
}
