//! The bench on a design, as Python has it. What people use is `virtio_testbench.cocotb`.

use std::rc::Rc;

use host_driver::device::blk::BlkGeometry;
use host_driver::device::net::NetIdentity;
use pcie_sim::address::PhysAddr;
use pcie_sim::endpoint::Direction;
use pcie_sim::host::Width;
use pcie_sim::tlp::{Tlp, codec};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use testbench::analyzer::Role;
use testbench::bench::session::{Answer, Command, Probed};
use testbench::bench::watch::Seen;
use testbench::scenario::fault::FaultLine;
use testbench::verb::Failure;

use super::plan::Options;
use super::ports::raise as raise_vpi;
use super::{InputError, InternalError, raise};
use crate::attached::{Ask, AttachError, Attached, Reply};
use crate::vpi::VpiError;

fn input(text: impl ToString) -> PyErr {
    InputError::new_err(text.to_string())
}

fn raised(error: AttachError) -> PyErr {
    match error {
        AttachError::Vpi(error) => raise_vpi(error),
        AttachError::Bench(failure) => raise(&failure),
        error @ AttachError::Stack(_) => InternalError::new_err(error.to_string()),
    }
}

fn width(bytes: u8) -> PyResult<Width> {
    match bytes {
        1 => Ok(Width::W8),
        2 => Ok(Width::W16),
        4 => Ok(Width::W32),
        8 => Ok(Width::W64),
        other => Err(input(format!("no access has {other} bytes: 1, 2, 4 or 8"))),
    }
}

/// Root complex and driver on the pins of a design.
#[pyclass(unsendable, module = "virtio_testbench._native")]
pub(crate) struct Bench {
    attached: Attached,
}

impl Bench {
    fn ask(&self, ask: Ask) -> PyResult<u64> {
        match self.attached.failure() {
            Some(why) => Err(InternalError::new_err(why)),
            None => Ok(self.attached.desk().ask(ask)),
        }
    }

    fn command(&self, command: Command) -> PyResult<u64> {
        self.ask(Ask::Command(command))
    }
}

#[pymethods]
impl Bench {
    #[new]
    fn new(options: &str) -> PyResult<Self> {
        // Elsewhere than in a simulator nothing else matters.
        if let Err(error @ VpiError::NoSimulator { .. }) = crate::vpi::Vpi::find() {
            return Err(raise_vpi(error));
        }
        let plan = Options::plan(options).map_err(|failure| raise(&failure))?;
        Ok(Self { attached: Attached::new(plan).map_err(raised)? })
    }

    /// Who is called, without arguments, when there is something to take or something was found.
    fn on_news(&self, callback: Py<PyAny>) {
        let tell = move || {
            Python::attach(|py| {
                if let Err(error) = callback.call0(py) {
                    error.write_unraisable(py, Some(callback.bind(py)));
                }
            });
        };
        self.attached.desk().on_news(Some(Rc::new(tell)));
    }

    /// Replies since this was called last: number, kind, value.
    fn take(&self, py: Python<'_>) -> PyResult<Vec<(u64, &'static str, Py<PyAny>)>> {
        let replies = self.attached.desk().take();
        replies
            .into_iter()
            .map(|(id, reply)| {
                value(py, &self.attached, reply).map(|(kind, value)| (id, kind, value))
            })
            .collect()
    }

    /// What was found: rule, time in ps, message.
    #[getter]
    fn violations(&self) -> Vec<(String, u64, String)> {
        let found = self.attached.desk().found();
        found.into_iter().map(|found| (found.rule, found.time.as_ps(), found.message)).collect()
    }

    /// How much was found.
    #[getter]
    fn violation_count(&self) -> usize {
        self.attached.desk().found_count()
    }

    /// Rising edges seen.
    #[getter]
    fn edges(&self) -> u64 {
        self.attached.edges()
    }

    /// What ended it early, or `None`.
    #[getter]
    fn failure(&self) -> Option<String> {
        self.attached.failure()
    }

    /// Ends it. What was written stays on the pins.
    fn stop(&mut self) {
        self.attached.stop();
    }

    fn run(&self) -> PyResult<u64> {
        self.ask(Ask::Run)
    }

    fn report(&self) -> PyResult<u64> {
        self.ask(Ask::Report)
    }

    fn probe(&self) -> PyResult<u64> {
        self.command(Command::Probe)
    }

    fn blk_read(&self, sector: u64, sectors: u32) -> PyResult<u64> {
        self.command(Command::Read { sector, sectors })
    }

    fn blk_write(&self, sector: u64, data: &[u8]) -> PyResult<u64> {
        self.command(Command::Write { sector, data: data.to_vec() })
    }

    fn blk_flush(&self) -> PyResult<u64> {
        self.command(Command::Flush)
    }

    fn net_send(&self, packet: &[u8]) -> PyResult<u64> {
        self.command(Command::Send { packet: packet.to_vec() })
    }

    fn net_receive(&self) -> PyResult<u64> {
        self.command(Command::Receive)
    }

    fn mmio_read(&self, bar: u8, offset: u64, bytes: u8) -> PyResult<u64> {
        self.command(Command::MmioRead { bar, offset, width: width(bytes)? })
    }

    fn mmio_write(&self, bar: u8, offset: u64, bytes: u8, value: u64) -> PyResult<u64> {
        self.command(Command::MmioWrite { bar, offset, width: width(bytes)?, value })
    }

    fn config_read(&self, offset: u16, bytes: u8) -> PyResult<u64> {
        self.command(Command::ConfigRead { offset, width: width(bytes)? })
    }

    fn config_write(&self, offset: u16, bytes: u8, value: u32) -> PyResult<u64> {
        self.command(Command::ConfigWrite { offset, width: width(bytes)?, value })
    }

    fn memory_read(&self, address: u64, len_bytes: u64) -> PyResult<u64> {
        self.command(Command::MemoryRead { address: PhysAddr(address), len_bytes })
    }

    fn memory_write(&self, address: u64, data: &[u8]) -> PyResult<u64> {
        self.command(Command::MemoryWrite { address: PhysAddr(address), data: data.to_vec() })
    }

    fn tlp(&self, bytes: &[u8]) -> PyResult<u64> {
        let tlp = codec::parse(bytes).map_err(|error| input(format!("no TLP: {error}")))?;
        self.command(Command::Tlp(tlp))
    }

    fn record(&self) -> PyResult<u64> {
        self.command(Command::Record)
    }

    fn recorded(&self) -> PyResult<u64> {
        self.command(Command::Recorded)
    }

    fn fault(&self, line: &str) -> PyResult<u64> {
        let line: FaultLine = serde_json::from_str(line).map_err(|error| {
            input(error.to_string().split(" at line ").next().unwrap_or_default())
        })?;
        let fault = line.resolve().map_err(|(key, why)| input(format!("{key}: {why}")))?;
        self.command(Command::Fault(fault))
    }
}

/// A reply as Python has it.
fn value(py: Python<'_>, attached: &Attached, reply: Reply) -> PyResult<(&'static str, Py<PyAny>)> {
    let outcome = match reply {
        Reply::Report(text) => return Ok(("report", text.into_pyobject(py)?.into_any().unbind())),
        Reply::Failed(failure) => {
            let kind = match failure {
                Failure::Input(_) => "input",
                Failure::Internal(_) | Failure::Cancelled => "internal",
            };
            return Ok((kind, failure.to_string().into_pyobject(py)?.into_any().unbind()));
        }
        Reply::Outcome(outcome) => outcome,
    };
    let answer = match outcome {
        Ok(answer) => answer,
        Err(error) => {
            return Ok(("failed", error.to_string().into_pyobject(py)?.into_any().unbind()));
        }
    };
    let bytes = |bytes: &[u8]| PyBytes::new(py, bytes).into_any().unbind();
    Ok(match answer {
        Answer::Done => ("done", py.None()),
        Answer::Value(value) => ("value", value.into_pyobject(py)?.into_any().unbind()),
        Answer::Bytes(data) => ("bytes", bytes(&data)),
        Answer::Probed(probed) => ("probed", found(&probed).into_pyobject(py)?.into_any().unbind()),
        Answer::Completion(None) => ("done", py.None()),
        Answer::Completion(Some(completion)) => {
            let mut out = Vec::new();
            codec::emit(&Tlp::Completion(completion), &mut out);
            ("bytes", bytes(&out))
        }
        Answer::Seen(seen) => {
            let seen: Vec<_> = seen.iter().map(|seen| line(py, attached, seen)).collect();
            ("seen", seen.into_pyobject(py)?.into_any().unbind())
        }
    })
}

/// What the driver has found, in JSON.
fn found(probed: &Probed) -> String {
    let features: Vec<u32> = (0..64).filter(|bit| probed.features >> bit & 1 != 0).collect();
    let disk = probed.disk.map(|BlkGeometry { capacity_sectors, seg_max, size_max, .. }| {
        serde_json::json!({
            "capacity_sectors": capacity_sectors, "seg_max": seg_max, "size_max": size_max
        })
    });
    let net = probed.net.map(|NetIdentity { mac, mtu, link_up }| {
        serde_json::json!({ "mac": mac, "mtu": mtu, "link_up": link_up })
    });
    serde_json::json!({ "dma": probed.dma, "features": features, "blk": disk, "net": net })
        .to_string()
}

/// A TLP: time in ps, whether it goes up, bytes, in words, what for.
fn line(
    py: Python<'_>,
    attached: &Attached,
    seen: &Seen,
) -> (u64, bool, Py<PyBytes>, String, Option<String>) {
    let mut out = Vec::new();
    codec::emit(&seen.tlp, &mut out);
    let purpose = match seen.role {
        Role::Dma(purpose) => Some(purpose.to_string()),
        _ => None,
    };
    let time = attached.in_simulation(seen.departs).as_ps();
    let up = seen.direction == Direction::Upstream;
    (time, up, PyBytes::new(py, &out).unbind(), seen.tlp.to_string(), purpose)
}
