//! What traffic runs on, and the book that is kept of it: the simulated bench, or a machine of somebody else's.

use host_driver::device::Removed;
use host_driver::{BlkDriver, Counters, DriverError};
use pcie_sim::address::PhysAddr;
use pcie_sim::host::{Bus, Host};
use pcie_sim::time::{Instant, Span};

use super::outcome::named;
use crate::report::{RunError, RunResult};
use crate::scenario::config::RunConfig;

/// A machine with a driver's device in it, and what is noted of the run.
pub(super) trait Stand {
    /// What the driver runs on.
    type Host: Host;

    /// How long it may go without any progress before it is given up, in the driver's time.
    fn stall(&self) -> Span;

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
                self.stalled(format!("{}, and nothing comes", waiting()));
                false
            }
            Ok(_) => true,
            Err(error) => {
                self.driver_error(&error);
                false
            }
        }
    }

    /// Nothing moves any more: `message` says for what the driver waits.
    fn stalled(&mut self, message: String) {
        self.violation("BENCH-STALLED", message);
    }

    /// The driver cannot go on.
    fn driver_error(&mut self, error: &DriverError) {
        let rule = match error {
            DriverError::Transport(error) => named(error, "DRIVER-ERROR"),
            _ => "DRIVER-ERROR",
        };
        self.violation(rule, error.to_string());
    }

    /// Does with the card of a disk, whose traffic is over, what the run asks for besides. A machine of somebody
    /// else's is not asked.
    ///
    /// # Errors
    /// When the bench itself is at fault.
    fn exercise(&mut self, config: &RunConfig, driver: &mut BlkDriver) -> Result<(), RunError> {
        let _ = (config, driver);
        Ok(())
    }

    /// The same of a card whose driver has gone.
    fn exercise_alone(&mut self, config: &RunConfig) {
        let _ = config;
    }
}
