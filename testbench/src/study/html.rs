//! A study's report as one page: plots and table, nothing loaded from elsewhere.
//!
//! Each plot has one axis of the study along the bottom, the one with the most numbers in its rows; rows that
//! agree in everything else make one line. What was measured is drawn as dots.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::report::{Row, StudyReport};
use super::table::{shown, table};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const MARGIN: f64 = 56.0;
const COLOURS: [&str; 8] =
    ["#1b6ca8", "#c0392b", "#218c5a", "#8e44ad", "#b7791f", "#16787d", "#7f4f3a", "#555b6e"];

/// The points of a line: along the bottom, simulated, measured.
type Line = Vec<(f64, f64, Option<f64>)>;

/// The page.
#[must_use]
pub fn page(report: &StudyReport) -> String {
    let title = escaped(&report.study);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title><style>\n\
         body{{font:15px/1.5 sans-serif;max-width:72em;margin:2em auto;padding:0 1em;color:#222}}\n\
         pre{{font-size:12px;overflow-x:auto}} svg{{max-width:100%;height:auto}}\n\
         td,th{{text-align:left;padding:0 1em 0 0;vertical-align:top}}\n\
         </style></head><body>\n<h1>{title}</h1>\n"
    );
    for (name, lines) in plots(report) {
        let _ = writeln!(out, "<h2>{}</h2>\n{}", escaped(&name), plot(&lines));
    }
    let _ = writeln!(out, "<h2>Rows</h2>\n<pre>{}</pre>", escaped(&table(report)));
    let _ = writeln!(out, "<h2>Values</h2>\n<p>Preset {}.</p>\n<table>", escaped(&report.preset));
    for (key, quantity) in &report.values {
        let (key, unit, source) =
            (escaped(key), escaped(&quantity.unit), escaped(&quantity.source));
        let value = quantity.value;
        let _ = writeln!(out, "<tr><td>{key}</td><td>{value} {unit}</td><td>{source}</td></tr>");
    }
    out + "</table>\n</body></html>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Plots by name, each with its lines by name.
fn plots(report: &StudyReport) -> BTreeMap<String, BTreeMap<String, Line>> {
    let mut plots: BTreeMap<String, BTreeMap<String, Line>> = BTreeMap::new();
    for row in &report.rows {
        for (quantity, value, measured) in quantities(row) {
            for axis in report.axes.iter().filter(|axis| axis.values.iter().all(Value::is_number)) {
                let Some(at) = row.parameters.get(&axis.name).and_then(Value::as_f64) else {
                    continue;
                };
                let others = row.parameters.iter().filter(|(name, _)| **name != axis.name);
                let mut line: Vec<String> =
                    others.map(|(name, value)| format!("{name} {}", shown(Some(value)))).collect();
                line.extend(row.run.as_ref().map(|run| run.name.clone()));
                let name = format!("{quantity} by {}", axis.name);
                let lines = plots.entry(name).or_default();
                lines.entry(line.join(", ")).or_default().push((at, value, measured));
            }
        }
    }
    for lines in plots.values_mut() {
        // One point is no line; it is in another plot, or in the table.
        lines.retain(|_, line| line.len() > 2 || line.len() > 1 && report.axes.len() < 3);
        lines.values_mut().for_each(|line| line.sort_by(|a, b| a.0.total_cmp(&b.0)));
    }
    plots.retain(|_, lines| !lines.is_empty());
    plots
}

fn quantities(row: &Row) -> Vec<(String, f64, Option<f64>)> {
    let test = shown(row.parameters.get("test"));
    let compared = row.simulated.map(|value| {
        (format!("{test}, {}", row.unit.as_deref().unwrap_or_default()), value, row.measured)
    });
    let run = row.run.as_ref().map(|run| {
        [
            ("descriptors per second".to_owned(), run.descriptors_per_s, None),
            ("median latency, ns".to_owned(), run.latency_ns.p50 as f64, None),
            ("payload, Gbit/s".to_owned(), run.payload_gbit_per_s, None),
        ]
    });
    compared.into_iter().chain(run.into_iter().flatten()).collect()
}

/// Where numbers of a range are drawn.
struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Scale {
    fn of(values: impl Iterator<Item = f64> + Clone, may_be_logarithmic: bool) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        let logarithmic = may_be_logarithmic && low > 0.0 && high / low > 20.0;
        Self { low: if may_be_logarithmic { low } else { low.min(0.0) }, high, logarithmic }
    }

    /// From 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let on = |value: f64| if self.logarithmic { value.ln() } else { value };
        let range = on(self.high) - on(self.low);
        if range > 0.0 { (on(value) - on(self.low)) / range } else { 0.5 }
    }

    fn ticks(&self) -> Vec<f64> {
        (0..=4)
            .map(|step| {
                let part = f64::from(step) / 4.0;
                if self.logarithmic {
                    (self.low.ln() + part * (self.high / self.low).ln()).exp()
                } else {
                    self.low + part * (self.high - self.low)
                }
            })
            .collect()
    }
}

fn plot(lines: &BTreeMap<String, Line>) -> String {
    let points = || lines.values().flatten();
    let across = Scale::of(points().map(|point| point.0), true);
    let up = Scale::of(points().flat_map(|point| [Some(point.1), point.2]).flatten(), false);
    let x = |value| MARGIN + across.place(value) * (WIDTH - 2.0 * MARGIN);
    let y = |value| HEIGHT - MARGIN - up.place(value) * (HEIGHT - 2.0 * MARGIN + 16.0);
    let height = HEIGHT + 18.0 * lines.len() as f64;
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" font-size=\"11\" font-family=\"sans-serif\">\n"
    );
    for tick in across.ticks() {
        let (at, bottom) = (x(tick), HEIGHT - MARGIN + 16.0);
        let _ = writeln!(
            out,
            "<text x=\"{at:.1}\" y=\"{bottom}\" text-anchor=\"middle\">{tick:.0}</text>"
        );
    }
    for tick in up.ticks() {
        let (at, end) = (y(tick), WIDTH - MARGIN);
        let _ = writeln!(
            out,
            "<path d=\"M{MARGIN} {at:.1}H{end}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{tick:.0}</text>",
            MARGIN - 6.0,
            at + 4.0
        );
    }
    for (nth, (name, line)) in lines.iter().enumerate() {
        let colour = COLOURS[nth % COLOURS.len()];
        let path: Vec<String> =
            line.iter().map(|point| format!("{:.1} {:.1}", x(point.0), y(point.1))).collect();
        let _ = writeln!(
            out,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
            path.join("L")
        );
        for (at, measured) in line.iter().filter_map(|point| Some((point.0, point.2?))) {
            let (at, measured) = (x(at), y(measured));
            let _ = writeln!(
                out,
                "<circle cx=\"{at:.1}\" cy=\"{measured:.1}\" r=\"2.5\" fill=\"{colour}\"/>"
            );
        }
        let legend = HEIGHT + 18.0 * nth as f64;
        let name = escaped(name);
        let _ =
            writeln!(out, "<text x=\"{MARGIN}\" y=\"{legend}\" fill=\"{colour}\">{name}</text>");
    }
    out + "</svg>"
}
