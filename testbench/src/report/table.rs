//! The round-trip table: one line for each run, for a terminal of 120 columns.

use std::fmt::Write;

use super::json::{RunFigures, RunReport};

/// A column: its heading, what spans it and its right neighbour, and what stands in it.
struct Column {
    heading: &'static str,
    pair: Option<&'static str>,
    left: bool,
    cell: fn(&RunFigures) -> String,
}

const fn text(heading: &'static str, cell: fn(&RunFigures) -> String) -> Column {
    Column { heading, pair: None, left: true, cell }
}

const fn figure(heading: &'static str, cell: fn(&RunFigures) -> String) -> Column {
    Column { heading, pair: None, left: false, cell }
}

const fn pair(
    pair: &'static str,
    heading: &'static str,
    cell: fn(&RunFigures) -> String,
) -> Column {
    Column { heading, pair: Some(pair), left: false, cell }
}

const COLUMNS: &[Column] = &[
    text("platform", |run| run.platform.clone()),
    text("dev", |run| run.device.to_string()),
    text("rings", |run| run.placement.to_string()),
    text("layout", |run| run.layout.to_string()),
    text("evt", |run| if run.event_idx { "yes" } else { "no" }.to_owned()),
    pair("trips/desc", "total", |run| two(run.round_trips_per_descriptor.total)),
    figure("serial", |run| two(run.round_trips_per_descriptor.serial)),
    pair("DMA/desc", "reads", |run| two(run.dma_per_descriptor.reads)),
    figure("writes", |run| two(run.dma_per_descriptor.writes)),
    pair("MMIO/req", "reads", |run| two(run.mmio_per_request.reads)),
    figure("writes", |run| two(run.mmio_per_request.writes)),
    pair("wire B/desc", "up", |run| whole(run.wire_bytes_per_descriptor.upstream)),
    figure("down", |run| whole(run.wire_bytes_per_descriptor.downstream)),
    pair("latency us", "p50", |run| two(run.latency_ns.p50 as f64 / 1e3)),
    figure("p99", |run| two(run.latency_ns.p99 as f64 / 1e3)),
    figure("desc/s", |run| whole(run.descriptors_per_s)),
];

fn two(value: f64) -> String {
    if value >= 1000.0 { whole(value) } else { format!("{value:.2}") }
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

/// The table of a report, two lines of headings first.
#[must_use]
pub fn table(report: &RunReport) -> String {
    let cells = |run: &RunFigures| COLUMNS.iter().map(|column| shown(column, run)).collect();
    let rows: Vec<Vec<String>> = report.results.iter().map(cells).collect();
    let widths = widths(&rows);
    let headings: Vec<String> = COLUMNS.iter().map(|column| column.heading.to_owned()).collect();
    let mut out = pairs_line(&widths);
    out += &line(&widths, &headings);
    out += &"-".repeat(widths.iter().sum::<usize>() + widths.len() - 1);
    out.push('\n');
    for row in &rows {
        out += &line(&widths, row);
    }
    out
}

/// What a column says of a run; a figure of a link that nobody could watch is none.
fn shown(column: &Column, run: &RunFigures) -> String {
    if column.left || run.is_watched() { (column.cell)(run) } else { "-".to_owned() }
}

/// Every column as wide as its widest cell, and each pair as wide as what spans it.
fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let widest = |at: usize| rows.iter().map(|row| row[at].len()).max().unwrap_or(0);
    let mut widths: Vec<usize> = COLUMNS
        .iter()
        .enumerate()
        .map(|(at, column)| widest(at).max(column.heading.len()))
        .collect();
    for (at, column) in COLUMNS.iter().enumerate() {
        let spanned = column.pair.map_or(0, str::len);
        if spanned > 0 {
            widths[at] = widths[at].max(spanned.saturating_sub(widths[at + 1] + 1));
        }
    }
    widths
}

fn pairs_line(widths: &[usize]) -> String {
    let mut out = String::new();
    let mut end = 0;
    for (at, column) in COLUMNS.iter().enumerate() {
        end += widths[at] + 1;
        if let Some(pair) = column.pair {
            let to = end + widths[at + 1];
            let _ = write!(out, "{pair:>width$}", width = to - out.len());
        }
    }
    out + "\n"
}

fn line(widths: &[usize], cells: &[String]) -> String {
    let mut line = String::new();
    for ((cell, &width), column) in cells.iter().zip(widths).zip(COLUMNS) {
        let _ = match column.left {
            true => write!(line, "{cell:<width$} "),
            false => write!(line, "{cell:>width$} "),
        };
    }
    line.trim_end().to_owned() + "\n"
}
