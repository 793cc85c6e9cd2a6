//! What is above the sky.

use super::{Scene, normal};
use crate::media::canvas::{Canvas, Rgb, add, mix, scale, smooth, unit};

impl Scene {
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

    pub(super) fn nebula(&self) -> Canvas {
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

    pub(super) fn planet(&self, gas: bool, ring: bool) -> Canvas {
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
