//! Curves as SVG, small enough for a README, readable on a light and on a dark page.

use anyhow::anyhow;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::report::{Curve, count, short};

const SIZE: (u32, u32) = (720, 400);
const FONT: &str = "sans-serif";

/// Ours and what it is compared with, in this order: bronze, and the grey of stone.
const COLORS: [RGBColor; 2] = [RGBColor(180, 83, 9), RGBColor(100, 116, 139)];
const INK: RGBColor = RGBColor(30, 41, 59);
const FAINT: RGBColor = RGBColor(226, 232, 240);

/// Draws a curve.
///
/// # Errors
/// The errors of the drawing library.
pub fn svg(curve: &Curve) -> anyhow::Result<String> {
    let mut text = String::new();
    draw(curve, &mut text).map_err(|error| anyhow!("{}: {error}", curve.name))?;
    Ok(text)
}

fn draw(curve: &Curve, text: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let points = || curve.series.iter().flat_map(|series| &series.points);
    let most = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(0.0, f64::max);
    let (right, top) = (most(|p| p.0) * 1.02, most(|p| p.1) * 1.25);
    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let label = (FONT, 14).into_font().color(&INK);
    let mut chart = ChartBuilder::on(&area)
        .caption(curve.title, (FONT, 18).into_font().color(&INK))
        .margin(16)
        .margin_right(28)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..right, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .axis_style(FAINT)
        .x_labels(8)
        .y_labels(6)
        .x_desc(curve.x)
        .y_desc(curve.y)
        .label_style(label)
        .x_label_formatter(&|x| count(x.round() as usize))
        .y_label_formatter(&|y| format!("{y:.1}"))
        .draw()?;
    // Whether another curve ends just above.
    let is_crowded = |end: f64| {
        let ends = curve.series.iter().filter_map(|series| series.points.last());
        ends.into_iter().any(|other| other.1 > end && other.1 - end < top * 0.15)
    };
    for (series, color) in curve.series.iter().zip(COLORS) {
        chart.draw_series(LineSeries::new(series.points.iter().copied(), color.stroke_width(3)))?;
        chart.draw_series(series.points.iter().map(|p| Circle::new(*p, 4, color.filled())))?;
        if let Some(last) = series.points.last() {
            // The name stands at the curve, because a legend would have to be matched by colour.
            let (from, shift) =
                if is_crowded(last.1) { (VPos::Top, 10) } else { (VPos::Bottom, -10) };
            let style = (FONT, 15).into_font().color(&color).pos(Pos::new(HPos::Right, from));
            let name = format!("{}: {} {}", series.name, short(last.1), curve.y);
            chart.draw_series([EmptyElement::at(*last) + Text::new(name, (0, shift), style)])?;
        }
    }
    area.present()?;
    Ok(())
}
