//! The extension module `virtio_testbench._native`. What people use is the package around it.

// `unreachable_pub` and PyO3's macros disagree about what is reachable.
mod bench;
mod plan;
mod ports;
mod verbs;
mod watched;

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use testbench::verb::Failure;

create_exception!(
    virtio_testbench,
    Error,
    PyException,
    "The bench could not do what it was asked to."
);
create_exception!(
    virtio_testbench,
    InputError,
    Error,
    "What was given is wrong: the text says file, line and key, or the option. Exit status 2 of `vtb`."
);
create_exception!(
    virtio_testbench,
    InternalError,
    Error,
    "The bench failed. Exit status 3 of `vtb`."
);

/// The command's message as an exception.
pub(crate) fn raise(failure: &Failure) -> PyErr {
    let text = failure.to_string();
    match failure {
        Failure::Input(_) => InputError::new_err(text),
        Failure::Internal(_) | Failure::Cancelled => InternalError::new_err(text),
    }
}

/// The module, as Python fills it on import.
#[pymodule(gil_used = true)]
mod _native {
    #[pymodule_export]
    use super::bench::Bench;
    #[pymodule_export]
    use super::plan::design;
    #[pymodule_export]
    use super::ports::Repeater;
    #[pymodule_export]
    use super::verbs::{
        compare, compare_held, compare_text, lspci, run, run_text, schema, soak, soak_scenario,
        study, study_text,
    };
    #[pymodule_export]
    use super::{Error, InputError, InternalError};
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        testbench::parallel::keep_panics_quiet();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
