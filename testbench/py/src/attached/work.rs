//! What the bench does beside the design, from top to bottom, an edge at a time.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use pcie_sim::time::Span;
use rtl_model::CardConfig;
use testbench::bench::session::{Command, Session};
use testbench::bench::{inspect, run_with};
use testbench::card::{CardChoice, Plugged, RtlCard, in_slot};
use testbench::report::{RunError, RunReport, Violation};
use testbench::scenario::Scenario;
use testbench::scenario::config::RunConfig;
use testbench::verb::Failure;

use super::{Ask, Desk, Plan, Reply, quiet};
use crate::vpi::design::Clockwork;
use crate::vpi::{Pause, VpiDesign, VpiPins};

/// How many cycles may pass before what is asked anew is heard, while something is under way.
const HEARD_AFTER: u64 = 16;

/// The work.
pub(super) struct Work<'w> {
    pub(super) pause: &'w Pause,
    pub(super) desk: &'w Desk,
    pub(super) pins: &'w Rc<RefCell<VpiPins>>,
    pub(super) clockwork: Rc<Clockwork>,
    pub(super) plan: &'w Plan,
}

impl Work<'_> {
    /// For ever: measures the clock, then does what is asked.
    pub(super) fn go(&self) {
        let period = self.measure();
        self.clockwork.expect(period);
        let scenario = self.scenario(period);
        loop {
            let Some((id, ask)) = self.desk.next() else {
                self.pause.pause();
                continue;
            };
            self.clockwork.expect(period);
            let reply = match (&scenario, ask) {
                (Err(failure), _) => Some(Reply::Failed(failure.clone())),
                (Ok(scenario), Ask::Run) => Some(self.runs(scenario)),
                (Ok(scenario), Ask::Report) => self.session(scenario, period, id, None),
                (Ok(scenario), Ask::Command(command)) => {
                    self.session(scenario, period, id, Some(command))
                }
            };
            if let Some(reply) = reply {
                self.desk.reply(id, reply);
            }
            self.desk.forget();
            // The next machine finds the design as this one did.
            let _ = quiet(&self.plan.manifest, self.pins);
        }
    }

    /// From one edge to the next.
    fn measure(&self) -> Span {
        let now = || self.pins.borrow().now();
        let first = now();
        self.pause.pause();
        now().since(first)
    }

    /// The scenario, as far as this card can run it.
    fn scenario(&self, period: Span) -> Result<Scenario, Failure> {
        let mut manifest = self.plan.manifest.clone();
        manifest.clock.period = period;
        let card = CardChoice::Rtl(Arc::new(RtlCard::new(manifest)));
        let mut scenario = self.plan.scenario.clone();
        card.adapt(&mut scenario.runs)?;
        scenario.runs.iter_mut().for_each(|run| run.under_test = card.clone());
        Ok(scenario)
    }

    fn plug(&self, run: &RunConfig, _: CardConfig) -> Result<Plugged, RunError> {
        let CardChoice::Rtl(card) = &run.under_test else {
            return Err(RunError::internal("a run on pins has no manifest"));
        };
        let design = VpiDesign::new(self.pins, self.pause, &self.clockwork);
        Ok(Plugged::on_pins(in_slot(card.manifest(), design)?))
    }

    /// Every run of the scenario, one after the other.
    fn runs(&self, scenario: &Scenario) -> Reply {
        let each = || -> Result<String, Failure> {
            if let (Some(_), [_, _, ..]) = (&self.plan.trace, &*scenario.runs) {
                return Err(one_run(scenario, "a trace is of one run"));
            }
            let mut results = Vec::new();
            for run in &scenario.runs {
                inspect(&run.workload)?;
                let run = RunConfig { trace: self.plan.trace.clone(), ..run.clone() };
                let result = run_with(&run, &|run, card| self.plug(run, card))?;
                self.tell(result.violations.iter().cloned());
                results.push(result);
                self.desk.forget();
            }
            text(&RunReport::new(scenario, &results, 0.0))
        };
        each().map_or_else(Reply::Failed, Reply::Report)
    }

    /// One machine by hand, until its report is asked for.
    fn session(
        &self,
        scenario: &Scenario,
        period: Span,
        id: u64,
        first: Option<Command>,
    ) -> Option<Reply> {
        let failed = |failure: Failure| Some(Reply::Failed(failure));
        let [run] = &*scenario.runs else {
            return failed(one_run(scenario, "commands are for one machine"));
        };
        let run = RunConfig { trace: self.plan.trace.clone(), ..run.clone() };
        let plug = |run: &RunConfig, card: CardConfig| self.plug(run, card);
        let mut session = match Session::new(&run, self.plan.patience, &plug) {
            Ok(session) => session,
            Err(error) => return failed(error.into()),
        };
        let mut end = None;
        match first {
            Some(command) => session.give(id, command),
            None => end = Some(id),
        }
        let end = loop {
            self.tell(session.news().into_iter());
            for (id, outcome) in session.done() {
                self.desk.reply(id, Reply::Outcome(outcome));
            }
            if let Some(end) = end {
                break end;
            }
            match self.desk.next() {
                Some((id, Ask::Command(command))) => session.give(id, command),
                Some((id, Ask::Report)) => end = Some(id),
                Some((id, Ask::Run)) => {
                    let why =
                        "a whole scenario needs a machine of its own: ask for the report first";
                    self.desk.reply(id, Reply::Failed(Failure::Input(why.to_owned())));
                }
                None => session.turn(if session.is_busy() { period * HEARD_AFTER } else { period }),
            }
        };
        let ended = session.finish().map_err(Failure::from).and_then(|result| {
            self.tell(result.violations.iter().cloned());
            let scenario = Scenario { runs: vec![run], ..scenario.clone() };
            text(&RunReport::new(&scenario, &[result], 0.0))
        });
        self.desk.reply(end, ended.map_or_else(Reply::Failed, Reply::Report));
        None
    }

    /// Findings, and what there is to say of the clock.
    fn tell(&self, violations: impl Iterator<Item = Violation>) {
        if let Some((time, took)) = self.clockwork.uneven() {
            let message = format!(
                "{} rose {} ps after it had before, where it should every {} ps",
                self.plan.manifest.clock.port,
                took.as_ps(),
                self.clockwork.period().as_ps()
            );
            let violation = Violation { rule: "PIN-CLOCK".to_owned(), time, message };
            self.desk.find(violation, time);
        }
        for violation in violations {
            let time = self.clockwork.in_simulation(violation.time);
            self.desk.find(violation, time);
        }
    }
}

fn text(report: &RunReport) -> Result<String, Failure> {
    report.to_text().map_err(|error| Failure::Internal(error.to_string()))
}

fn one_run(scenario: &Scenario, why: &str) -> Failure {
    let names: Vec<_> = scenario.runs.iter().map(RunConfig::name).collect();
    let names = names.join(", ");
    Failure::Input(format!("{why}, and the scenario has several: choose one by `only`: {names}"))
}
