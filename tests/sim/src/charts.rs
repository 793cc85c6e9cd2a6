//! The figures as SVG charts.

use std::path::Path;

use plotters::prelude::*;

use crate::measure::Figures;

type Failed = Box<dyn std::error::Error>;

const SIZE: (u32, u32) = (720, 420);
const COLOURS: [RGBColor; 2] = [RGBColor(20, 110, 180), RGBColor(200, 80, 30)];

/// One curve with its name.
type Curve<'a> = (&'a str, Vec<(f64, f64)>);

/// Draws all charts of a run into a folder.
pub fn draw(figures: &Figures, folder: &Path) -> Result<(), Failed> {
    std::fs::create_dir_all(folder)?;
    let curves = &figures.curves;
    let names = ["with peers", "origin only"];
    for (file, title, [with, without]) in [
        ("first-byte.svg", "Time to first byte", &curves.first),
        ("last-byte.svg", "Time to last byte", &curves.last),
    ] {
        let lines = [with, without].map(|values| distribution(values));
        let lines = names.into_iter().zip(lines).collect();
        let title = format!("{title}, {} visitors", figures.peers);
        chart(&folder.join(file), &title, "ms", "share of requests", lines)?;
    }
    chart(
        &folder.join("regret.svg"),
        "Regret: later than the origin alone, as a share of its time",
        "regret",
        "share of requests",
        vec![("regret", distribution(&curves.regret))],
    )?;
    chart(
        &folder.join("upload.svg"),
        &format!("Upload per visitor, Gini {:.2}", figures.gini),
        "MB",
        "share of visitors",
        vec![("upload", distribution(&curves.up))],
    )?;
    chart(
        &folder.join("signalling.svg"),
        "Signalling messages per visitor",
        "messages",
        "share of visitors",
        vec![("messages", distribution(&curves.signalling))],
    )?;
    let offload = curves
        .timeline
        .iter()
        .filter(|(_, peers, origin)| peers + origin > 0.0)
        .map(|(second, peers, origin)| (*second, peers / (peers + origin)))
        .collect();
    let bound = [0.0, figures.seconds].map(|second| (second, figures.bound.reachable));
    chart(
        &folder.join("offload.svg"),
        &format!(
            "Offload over the run: {:.1} % (tier 1 {:.1} %, tier 2 {:.1} %)",
            figures.offload * 100.0,
            figures.tier1 * 100.0,
            figures.tier2 * 100.0
        ),
        "s",
        "share of bytes",
        vec![
            ("by peers", offload),
            ("upper bound of the whole run", bound.to_vec()),
        ],
    )?;
    Ok(())
}

/// The share that is at most so much, at two hundred places, without the last percent.
fn distribution(sorted: &[f64]) -> Vec<(f64, f64)> {
    if sorted.is_empty() {
        return Vec::new();
    }
    (0..=198)
        .map(|step| {
            let share = f64::from(step) / 200.0;
            let at = ((sorted.len() - 1) as f64 * share) as usize;
            (sorted[at], share)
        })
        .collect()
}

fn chart(path: &Path, title: &str, x: &str, y: &str, curves: Vec<Curve<'_>>) -> Result<(), Failed> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let points = || curves.iter().flat_map(|(_, points)| points);
    let right = points().map(|(x, _)| *x).fold(0.0, f64::max).max(1e-3);
    let top = points().map(|(_, y)| *y).fold(1.0, f64::max);
    let mut context = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..right, 0.0..top)?;
    context.configure_mesh().x_desc(x).y_desc(y).draw()?;
    for ((name, points), colour) in curves.into_iter().zip(COLOURS) {
        context
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
    }
    context
        .configure_series_labels()
        .background_style(WHITE)
        .border_style(BLACK)
        .position(SeriesLabelPosition::LowerRight)
        .draw()?;
    root.present()?;
    Ok(())
}
