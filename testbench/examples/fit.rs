#![allow(missing_docs, clippy::print_stdout)]
use testbench::scenario::source::Source;
use testbench::study::pcie_bench::{PcieBench, simulate};
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let study = PcieBench::load(&Source::read(std::path::Path::new(&path)).unwrap()).unwrap();
    let filter = std::env::args().nth(2).unwrap_or_default();
    let mut errors = vec![];
    let rows: Vec<_> = study.rows.iter().filter(|r| r.to_string().contains(&filter)).collect();
    let out = testbench::parallel::map_all(&rows, 2, &|r| r.to_string(), &|r| simulate(&study, r), &mut |_| ()).unwrap();
    for (row, sim) in rows.iter().zip(out) {
        let e = sim / row.value - 1.0;
        errors.push(e.abs());
        println!("{row:<60} {:9.2} {sim:9.2} {:+6.1}%", row.value, e * 100.0);
    }
    errors.sort_by(f64::total_cmp);
    println!("rows {} median {:.4} max {:.4}", errors.len(), errors[errors.len() / 2], errors[errors.len() - 1]);
}
