//! Pins of a design under a simulator that has loaded this module.

use std::cell::RefCell;
use std::rc::Rc;

use pyo3::prelude::*;
use rtl_model::pins::{Pins, PortDirection};

use super::InputError;
use crate::vpi::{self, Edges, Vpi, VpiError, VpiPins};

pub(super) fn raise(error: VpiError) -> PyErr {
    InputError::new_err(error.to_string())
}

/// Flip-flops beside a design: what stands on an output goes to an input, one clock later.
#[pyclass(unsendable, module = "virtio_testbench._native")]
pub(crate) struct Repeater {
    edges: Edges<vpi::Repeater>,
}

#[pymethods]
impl Repeater {
    #[new]
    #[pyo3(signature = (module, clock, pairs))]
    fn new(module: &str, clock: &str, pairs: Vec<(String, String)>) -> PyResult<Self> {
        let vpi = Vpi::find().map_err(raise)?;
        let pins = VpiPins::of_module(&vpi, module).map_err(raise)?;
        let repeater = vpi::Repeater::new(&pins, &pairs).map_err(raise)?;
        let pins = Rc::new(RefCell::new(pins));
        Ok(Self { edges: Edges::attach(&vpi, pins, clock, repeater).map_err(raise)? })
    }

    /// Rising edges seen.
    #[getter]
    fn edges(&self) -> u64 {
        self.edges.edges()
    }

    /// What ended it early, or `None`.
    #[getter]
    fn failure(&self) -> Option<String> {
        self.edges.failure()
    }

    /// Ports of the module: name, `input` or `output`, width in bits.
    #[getter]
    fn ports(&self) -> Vec<(String, &'static str, u32)> {
        self.edges.with(|_, pins| {
            let port = |port: &rtl_model::pins::PortInfo| {
                let way = match port.direction {
                    PortDirection::Input => "input",
                    PortDirection::Output => "output",
                };
                (port.name.clone(), way, port.bits)
            };
            pins.ports().iter().map(port).collect()
        })
    }

    /// Values that had an X or Z: the first hundred as (port, time in ps), and how many in all.
    #[getter]
    fn unknown(&self) -> (Vec<(String, u64)>, u64) {
        self.edges.with(|repeater, _| {
            let (first, all) = repeater.unknown();
            let first = first.iter().map(|seen| (seen.port.clone(), seen.time.as_ps()));
            (first.collect(), all)
        })
    }

    /// Removes the callbacks. What was written stays on the pins.
    fn stop(&mut self) {
        self.edges.stop();
    }

    /// Callbacks on value changes that the simulator has of this module, of every object.
    #[staticmethod]
    fn live_callbacks() -> usize {
        Vpi::find().map_or(0, |vpi| vpi.live_callbacks())
    }
}
