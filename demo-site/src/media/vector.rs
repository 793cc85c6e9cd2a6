//! Pictures that are text: SVG.

use std::{f32::consts::TAU, fmt::Write as _};

use anyhow::Result;

use super::{
    canvas::{Noise, Palette, mix, scale, unit},
    paint::css,
};

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub enum Drawing {
    /// Quarter circles on tiles that join into loops.
    Knots,
    /// A curve turned about its middle.
    Rosette,
    /// Blocks of a town, seen from above at an angle.
    Town,
    /// Triangles that fade over each other.
    Shards,
    /// Hills under a sun.
    Hills,
    /// A quiet pattern to lie behind a page.
    Weave,
}

/// The drawing as a file.
pub fn draw(drawing: Drawing, colours: &[&str], width: u32, height: u32) -> Result<String> {
    let palette = Palette::new(colours)?;
    let noise = Noise::new(width + height);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n"
    );
    let (w, h) = (width as f32, height as f32);
    match drawing {
        Drawing::Knots => knots(&mut svg, &palette, &noise, w, h)?,
        Drawing::Rosette => rosette(&mut svg, &palette, w, h)?,
        Drawing::Town => town(&mut svg, &palette, &noise, w, h)?,
        Drawing::Shards => shards(&mut svg, &palette, &noise, w, h)?,
        Drawing::Hills => hills(&mut svg, &palette, &noise, w, h)?,
        Drawing::Weave => weave(&mut svg, &palette, w, h)?,
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn ground(svg: &mut String, colour: &str) -> Result<()> {
    Ok(writeln!(
        svg,
        "<rect width=\"100%\" height=\"100%\" fill=\"{colour}\"/>"
    )?)
}

fn knots(svg: &mut String, palette: &Palette, noise: &Noise, w: f32, h: f32) -> Result<()> {
    ground(svg, &css(scale(palette.at(0.02), 0.8)))?;
    let tile = w / 16.0;
    let half = tile / 2.0;
    // A wide dark stroke under a bright one makes strands that pass over each other.
    for (wide, dark) in [(0.46, true), (0.26, false)] {
        writeln!(svg, "<g fill=\"none\" stroke-width=\"{:.1}\">", tile * wide)?;
        for row in 0..(h / tile).ceil() as i32 {
            for column in 0..16 {
                let (x, y) = (column as f32 * tile, row as f32 * tile);
                let hue = 0.55 + 0.75 * noise.fbm(x / w * 2.4, y / w * 2.4, 2);
                let colour = if dark {
                    palette.at(0.16)
                } else {
                    palette.at(hue.max(0.3))
                };
                let (ends, back) = if unit(5, column, row) < 0.5 {
                    (
                        [(x + half, y), (x, y + half)],
                        [(x + half, y + tile), (x + tile, y + half)],
                    )
                } else {
                    (
                        [(x + half, y), (x + tile, y + half)],
                        [(x + half, y + tile), (x, y + half)],
                    )
                };
                let first = if unit(5, column, row) < 0.5 { 1 } else { 0 };
                writeln!(
                    svg,
                    "<path stroke=\"{}\" d=\"M{:.1} {:.1}A{half:.1} {half:.1} 0 0 {first} {:.1} \
                     {:.1}M{:.1} {:.1}A{half:.1} {half:.1} 0 0 {first} {:.1} {:.1}\"/>",
                    css(colour),
                    ends[0].0,
                    ends[0].1,
                    ends[1].0,
                    ends[1].1,
                    back[0].0,
                    back[0].1,
                    back[1].0,
                    back[1].1,
                )?;
            }
        }
        svg.push_str("</g>\n");
    }
    Ok(())
}

fn rosette(svg: &mut String, palette: &Palette, w: f32, h: f32) -> Result<()> {
    ground(svg, &css(scale(palette.at(0.02), 0.7)))?;
    let size = w.min(h) * 0.46;
    writeln!(
        svg,
        "<g transform=\"translate({:.1} {:.1})\" fill=\"none\" stroke-width=\"2\">",
        w / 2.0,
        h / 2.0
    )?;
    let petals = 44;
    for petal in 0..petals {
        let t = petal as f32 / petals as f32;
        let size = size * (0.22 + 0.78 * t);
        let mut path = String::new();
        for step in 0..=240 {
            let angle = TAU * step as f32 / 240.0;
            let out = size * (0.80 + 0.20 * (7.0 * angle + t * 5.2).cos() * (1.0 - 0.4 * t));
            let turn = angle + 0.75 * t;
            let sign = if step == 0 { 'M' } else { 'L' };
            write!(
                path,
                "{sign}{:.1} {:.1}",
                out * turn.cos(),
                out * turn.sin()
            )?;
        }
        writeln!(
            svg,
            "<path stroke=\"{}\" stroke-opacity=\"{:.2}\" d=\"{path}Z\"/>",
            css(palette.at(0.4 + 0.6 * t)),
            0.6 + 0.4 * t
        )?;
    }
    svg.push_str("</g>\n");
    Ok(())
}

fn town(svg: &mut String, palette: &Palette, noise: &Noise, w: f32, h: f32) -> Result<()> {
    ground(svg, &css(palette.at(0.06)))?;
    let half = w / 44.0;
    let flat = half * 0.58;
    for row in 0..58 {
        for column in 0..24 {
            let shift = if row % 2 == 0 { 0.0 } else { half };
            let x = column as f32 * 2.0 * half + shift - half;
            let foot = row as f32 * flat - 2.0 * flat;
            if foot > h + half * 7.0 {
                continue;
            }
            let hill = 0.5 + 0.75 * noise.fbm(x / w * 3.1, foot / w * 4.6, 3);
            let tall = half * (0.3 + 4.4 * hill.max(0.0).powi(2) + 1.3 * unit(3, column, row));
            let y = foot - tall;
            let colour = palette.at(0.22 + 0.75 * hill + 0.14 * (unit(4, column, row) - 0.5));
            let face = |svg: &mut String, gain: f32, points: [(f32, f32); 4]| -> Result<()> {
                let points: Vec<String> = points
                    .iter()
                    .map(|(x, y)| format!("{x:.1},{y:.1}"))
                    .collect();
                Ok(writeln!(
                    svg,
                    "<polygon fill=\"{}\" points=\"{}\"/>",
                    css(scale(colour, gain)),
                    points.join(" ")
                )?)
            };
            let (left, right) = (x - half, x + half);
            face(
                svg,
                0.30,
                [(left, y), (x, y + flat), (x, foot + flat), (left, foot)],
            )?;
            face(
                svg,
                0.58,
                [(right, y), (x, y + flat), (x, foot + flat), (right, foot)],
            )?;
            face(
                svg,
                1.0,
                [(left, y), (x, y - flat), (right, y), (x, y + flat)],
            )?;
        }
    }
    Ok(())
}

fn shards(svg: &mut String, palette: &Palette, noise: &Noise, w: f32, h: f32) -> Result<()> {
    let cells = 26;
    let pitch = w / cells as f32;
    let rows = (h / pitch).ceil() as i32 + 1;
    let corner = |c: i32, r: i32| {
        let jog = |n| (unit(n, c, r) - 0.5) * 0.86 * pitch;
        (c as f32 * pitch + jog(1), r as f32 * pitch + jog(2))
    };
    for row in -1..rows {
        for column in -1..=cells {
            let square = [
                corner(column, row),
                corner(column + 1, row),
                corner(column + 1, row + 1),
                corner(column, row + 1),
            ];
            let split = if unit(3, column, row) < 0.5 {
                [[0, 1, 2], [0, 2, 3]]
            } else {
                [[0, 1, 3], [1, 2, 3]]
            };
            for triangle in split {
                let middle = triangle.iter().fold((0.0, 0.0), |sum, &n| {
                    (sum.0 + square[n].0 / 3.0, sum.1 + square[n].1 / 3.0)
                });
                let flow = noise.fbm(middle.0 / w * 1.6, middle.1 / w * 1.6, 3);
                let dice = unit(4, middle.0 as i32, middle.1 as i32) - 0.5;
                let t = 0.12 + 0.62 * middle.1 / h + 0.55 * flow + 0.13 * dice;
                let points: Vec<String> = triangle
                    .iter()
                    .map(|&n| format!("{:.0},{:.0}", square[n].0, square[n].1))
                    .collect();
                let colour = css(palette.at(t));
                writeln!(
                    svg,
                    "<polygon fill=\"{colour}\" stroke=\"{colour}\" points=\"{}\"/>",
                    points.join(" ")
                )?;
            }
        }
    }
    Ok(())
}

fn hills(svg: &mut String, palette: &Palette, noise: &Noise, w: f32, h: f32) -> Result<()> {
    writeln!(
        svg,
        "<defs><linearGradient id=\"s\" x2=\"0\" y2=\"1\"><stop stop-color=\"{}\"/><stop \
         offset=\".65\" stop-color=\"{}\"/></linearGradient></defs>\n<rect width=\"100%\" \
         height=\"100%\" fill=\"url(#s)\"/>\n<circle cx=\"{:.0}\" cy=\"{:.0}\" r=\"{:.0}\" \
         fill=\"{}\"/>",
        css(palette.at(0.55)),
        css(palette.at(0.98)),
        w * 0.68,
        h * 0.36,
        h * 0.105,
        css(mix(palette.at(1.0), [1.0; 3], 0.6)),
    )?;
    for layer in 0..8 {
        let near = layer as f32 / 7.0;
        let mut path = format!("M0 {h:.0}");
        for step in 0..=60 {
            let x = step as f32 / 60.0;
            let line = noise.fbm(x * (1.6 + 1.6 * near) + layer as f32 * 9.1, layer as f32, 3);
            let y = h * (0.44 + 0.50 * near) - h * 0.20 * line;
            write!(path, "L{:.0} {y:.1}", x * w)?;
        }
        let colour = css(mix(
            palette.at(0.80),
            scale(palette.at(0.0), 0.9),
            near.powf(0.8),
        ));
        writeln!(svg, "<path fill=\"{colour}\" d=\"{path}L{w:.0} {h:.0}Z\"/>")?;
    }
    Ok(())
}

fn weave(svg: &mut String, palette: &Palette, w: f32, h: f32) -> Result<()> {
    writeln!(svg, "<g fill=\"none\" stroke-width=\"1\">")?;
    for line in 0..28 {
        let t = line as f32 / 28.0;
        let mut path = String::new();
        for step in 0..=48 {
            let x = step as f32 / 48.0;
            // Whole waves across and as many lines as fit: the pattern repeats without a seam.
            let y = h * (t + 0.06 * (TAU * (x * 2.0 + t)).sin() + 0.03 * (TAU * 3.0 * x).cos());
            let sign = if step == 0 { 'M' } else { 'L' };
            write!(path, "{sign}{:.1} {y:.1}", x * w)?;
        }
        writeln!(
            svg,
            "<path stroke=\"{}\" stroke-opacity=\".3\" d=\"{path}\"/>",
            css(palette.swing(2.0 * t))
        )?;
    }
    svg.push_str("</g>\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drawing_is_a_closed_svg_of_some_kilobytes() {
        for drawing in [
            Drawing::Knots,
            Drawing::Rosette,
            Drawing::Town,
            Drawing::Shards,
            Drawing::Hills,
            Drawing::Weave,
        ] {
            let svg = draw(drawing, &["#102030", "#80a0c0", "#ffffff"], 900, 600).unwrap();
            assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
            assert!(
                (4_000..500_000).contains(&svg.len()),
                "{drawing:?} {}",
                svg.len()
            );
            assert!(!svg.contains("NaN"));
        }
    }
}
