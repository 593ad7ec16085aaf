//! Thresholds: what a scenario demands of its figures, and how they stood.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::json::RunFigures;
use crate::scenario::Threshold;

/// How one result stood against one threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// The result's name.
    pub result: String,
    /// The figure, as a path in the result: `latency_ns.p99`.
    pub figure: String,
    /// What it was; null when the result has no such figure.
    pub value: Option<f64>,
    /// It may not be larger.
    pub at_most: Option<f64>,
    /// It may not be smaller.
    pub at_least: Option<f64>,
    /// It is there, and within.
    pub held: bool,
}

impl Verdict {
    /// Every threshold against every result it is for. One that is for none, or names no figure, is not
    /// held: a demand that nothing meets must not look like one that was met.
    pub(super) fn all(thresholds: &[Threshold], results: &[RunFigures]) -> Vec<Self> {
        let mut verdicts = Vec::new();
        for threshold in thresholds {
            let before = verdicts.len();
            let of = results.iter().filter(|result| result.name.contains(&threshold.of));
            verdicts.extend(
                of.map(|result| Self::new(threshold, &result.name, value(result, threshold))),
            );
            if verdicts.len() == before {
                verdicts.push(Self::new(threshold, &threshold.of, None));
            }
        }
        verdicts
    }

    fn new(threshold: &Threshold, result: &str, value: Option<f64>) -> Self {
        let within = |value: f64| {
            threshold.at_most.is_none_or(|most| value <= most)
                && threshold.at_least.is_none_or(|least| value >= least)
        };
        Self {
            result: result.to_owned(),
            figure: threshold.figure.clone(),
            value,
            at_most: threshold.at_most,
            at_least: threshold.at_least,
            held: value.is_some_and(within),
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} is ", self.result, self.figure)?;
        match self.value {
            Some(value) => write!(f, "{value}")?,
            None => f.write_str("no figure of any result")?,
        }
        let most = self.at_most.map(|most| format!("at most {most}"));
        let least = self.at_least.map(|least| format!("at least {least}"));
        let wanted: Vec<String> = [least, most].into_iter().flatten().collect();
        write!(f, ", wanted {}", wanted.join(" and "))
    }
}

fn value(result: &RunFigures, threshold: &Threshold) -> Option<f64> {
    let whole = serde_json::to_value(result).ok()?;
    let pointer = format!("/{}", threshold.figure.replace('.', "/"));
    whole.pointer(&pointer)?.as_f64()
}
