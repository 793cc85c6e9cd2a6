//! Bars, as SVG that takes its colours from the page around it and needs no script.
//!
//! Lengths are shares of the width, so a bar is as wide as there is room and its text, which is none
//! of it, stays as large as it is.

use std::fmt::Write;

use super::figures::Spread;

/// In pixels.
const HEIGHT: u32 = 22;

/// A bar as long as the median, with the whole range as a line and each load as a dot.
pub fn bar(class: &str, spread: Spread, loads: &[f64], most: f64) -> String {
    // A little is left at the right for the dot of the largest.
    let share = |value: f64| 98.0 * value / most.max(f64::MIN_POSITIVE);
    let (middle, edge) = (HEIGHT / 2, HEIGHT - 8);
    let mut svg = format!(
        "<svg class=\"{class}\" width=\"100%\" height=\"{HEIGHT}\" aria-hidden=\"true\">\
         <rect y=\"4\" height=\"{edge}\" rx=\"3\" width=\"{:.2}%\"/>\
         <line y1=\"{middle}\" y2=\"{middle}\" x1=\"{:.2}%\" x2=\"{:.2}%\"/>",
        // What is next to nothing is still to be seen.
        share(spread.median).max(0.4),
        share(spread.low),
        share(spread.high),
    );
    for load in loads {
        let _ = write!(
            svg,
            "<circle cy=\"{middle}\" r=\"2.5\" cx=\"{:.2}%\"/>",
            share(*load)
        );
    }
    svg + "</svg>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bar_is_as_long_as_its_median_and_has_a_dot_for_each_load() {
        let loads = [10.0, 20.0, 40.0];
        let spread = Spread::of(loads.to_vec()).unwrap();
        let svg = bar("plain", spread, &loads, 40.0);
        assert!(svg.contains("width=\"49.00%\""), "{svg}");
        assert!(svg.contains("x1=\"24.50%\" x2=\"98.00%\""), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 3);
    }

    #[test]
    fn nothing_is_drawn_where_all_is_zero() {
        let spread = Spread::of(vec![0.0]).unwrap();
        let svg = bar("plain", spread, &[0.0], 0.0);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
