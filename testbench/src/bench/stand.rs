//! What traffic runs on, and the book that is kept of it: the simulated bench, or a machine of somebody else's.

use host_driver::device::Removed;
use host_driver::{Counters, DriverError};
use pcie_sim::address::PhysAddr;
use pcie_sim::host::{Bus, Host};
use pcie_sim::time::{Instant, Span};

use crate::report::{RunError, RunResult};

/// A machine with a driver's device in it, and what is noted of the run.
pub(super) trait Stand {
    /// What the driver runs on.
    type Host: Host;

    /// How long it may go without any progress before it is given up, in the driver's time.
    const STALL: Span;

    /// What the driver runs on.
    fn host(&mut self) -> &mut Self::Host;

    /// Memory for the traffic's own buffers, given back at the end.
    ///
    /// # Errors
    /// Too little RAM is [`RunError::Input`].
    fn buffers(&mut self, bytes: u64) -> Result<PhysAddr, RunError>;

    /// Lets the traffic go on unless somebody has called the run off.
    ///
    /// # Errors
    /// [`RunError::Cancelled`].
    fn check(&self) -> Result<(), RunError>;

    /// The CPU has worked for the traffic since `begun`; `what` is for those who look at waves.
    fn worked(&mut self, begun: Instant, what: &'static str);

    /// A request is done, and the driver knows it so long after it was handed over.
    fn done(&mut self, took: Span);

    /// So many bytes of payload were carried.
    fn carried(&mut self, bytes: u64);

    /// Something does not hold.
    fn violation(&mut self, rule: &str, message: String);

    /// The traffic has ended, with the driver's counters there.
    fn end(&mut self, after: Counters);

    /// The result, after the driver has let the device go.
    ///
    /// # Errors
    /// When the bench itself is at fault.
    fn result(self, removed: Result<Removed, DriverError>) -> Result<RunResult, RunError>;

    /// The driver has waited until `deadline` at most, and since `begun` taken what came. Whether the run
    /// can go on; if not, that is a finding, in which `waiting` says for what it waits.
    fn goes_on(
        &mut self,
        begun: Instant,
        deadline: Instant,
        taken: Result<usize, DriverError>,
        waiting: impl FnOnce() -> String,
    ) -> bool {
        self.worked(begun, "complete");
        match taken {
            Ok(0) if self.host().now() >= deadline => {
                self.violation("BENCH-STALLED", format!("{}, and nothing comes", waiting()));
                false
            }
            Ok(_) => true,
            Err(error) => {
                self.violation("DRIVER-ERROR", error.to_string());
                false
            }
        }
    }
}
