//! `[[fault]]`: what a scenario wants to go wrong, as it is written, and as a plan.

use pcie_sim::endpoint::Direction;
use pcie_sim::fault::{Fault, FaultKind, When};
use rtl_model::source::Duration;
use serde::de;
use serde::{Deserialize, Deserializer};

/// One `[[fault]]` of a scenario.
///
/// ```toml
/// [[fault]]
/// kind = "completion-lost"
/// direction = "down"          # the one in which a card's own DMA meets it, when there is none
/// when = { packet = 10 }      # or { after = "20 us" }; any packet, when there is none
/// probability = 0.5           # 1, when there is none
/// times = 3                   # 1, or without limit when there is a probability
/// delay = "5 us"              # for what comes late, and for a retraining
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultLine {
    /// What goes wrong.
    pub kind: Kind,
    /// For packets that go this way.
    pub direction: Option<Way>,
    /// Which packets may be hit, counted from the start of the traffic.
    #[serde(default)]
    pub when: WhenLine,
    /// The chance of each of them, 0 to 1.
    pub probability: Option<f64>,
    /// It strikes so often at most.
    pub times: Option<u64>,
    /// How late what is late comes.
    pub delay: Option<Duration>,
}

/// Which packets may be hit.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhenLine {
    /// This one of those that the fault is about; the first is 1.
    pub packet: Option<u64>,
    /// Those that leave so long after the traffic began.
    pub after: Option<Duration>,
}

/// The name of a fault.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kind(pub FaultKind);

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// From the host to the card.
    Down,
    /// From the card to the host.
    Up,
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        FaultKind::of_name(&name).map(Self).ok_or_else(|| {
            let names = FaultKind::ALL.map(FaultKind::name).join(", ");
            de::Error::custom(format!("there is no fault `{name}`; there are: {names}"))
        })
    }
}

impl FaultLine {
    /// What a plan makes of it; why it cannot, with the key's name.
    pub fn resolve(&self) -> Result<Fault, (&'static str, String)> {
        let kind = self.kind.0;
        let usual = Fault::once(kind);
        let direction = match self.direction {
            Some(Way::Down) => Direction::Downstream,
            Some(Way::Up) => Direction::Upstream,
            None => usual.direction,
        };
        if !kind.fits(direction) {
            let why = format!("`{}` strikes only packets that go up", kind.name());
            return Err(("fault.direction", why));
        }
        let probability = self.probability.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&probability) {
            let why = format!("{probability} is not a probability: 0 to 1");
            return Err(("fault.probability", why));
        }
        let drawn = self.probability.is_some();
        Ok(Fault {
            kind,
            direction,
            when: self.when()?,
            chance_ppm: (probability * 1e6).round() as u32,
            times: self.times.unwrap_or(if drawn { u64::MAX } else { 1 }),
            delay: self.delay.map_or(usual.delay, |delay| delay.0),
        })
    }

    fn when(&self) -> Result<When, (&'static str, String)> {
        match (self.when.packet, self.when.after) {
            (None, None) => Ok(When::Always),
            (Some(0), None) => Err(("fault.when", "packets are counted from 1".to_owned())),
            (Some(packet), None) => Ok(When::Packet(packet)),
            (None, Some(after)) => Ok(When::After(after.0)),
            (Some(_), Some(_)) => {
                Err(("fault.when", "`packet` and `after` exclude each other".to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pcie_sim::time::Span;

    use super::*;

    fn line(text: &str) -> Result<FaultLine, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    fn resolved(text: &str) -> Result<Fault, (&'static str, String)> {
        line(text).expect("it reads").resolve()
    }

    #[test]
    fn a_line_with_nothing_but_a_kind_strikes_the_first_packet_once() {
        let usual = Fault::once(FaultKind::CompletionLost);
        assert_eq!(resolved("kind = 'completion-lost'"), Ok(usual));
    }

    #[test]
    fn a_line_says_which_packets_how_often_and_how_late() {
        let fault = resolved(
            "kind = 'delayed'\ndirection = 'up'\nwhen = { after = '20 us' }\nprobability = 0.25\n\
             delay = '700ns'",
        );
        let expected = Fault {
            direction: Direction::Upstream,
            when: When::After(Span::from_us(20)),
            chance_ppm: 250_000,
            times: u64::MAX,
            delay: Span::from_ns(700),
            ..Fault::once(FaultKind::Delayed)
        };
        assert_eq!(fault, Ok(expected));
        let third = resolved("kind = 'ack-lost'\nwhen = { packet = 3 }").map(|fault| fault.when);
        assert_eq!(third, Ok(When::Packet(3)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_key() {
        let key = |text: &str| resolved(text).expect_err("it is refused").0;
        assert_eq!(key("kind = 'poisoned'\nprobability = 1.5"), "fault.probability");
        assert_eq!(key("kind = 'iommu-fault'\ndirection = 'down'"), "fault.direction");
        assert_eq!(key("kind = 'poisoned'\nwhen = { packet = 0 }"), "fault.when");
        assert_eq!(key("kind = 'poisoned'\nwhen = { packet = 1, after = '1 us' }"), "fault.when");
        let unknown = line("kind = 'gremlin'").expect_err("no such fault");
        assert!(unknown.contains("gremlin") && unknown.contains("completion-tag"), "{unknown}");
        assert!(line("kind = 'poisoned'\ndelay = '5 hours'").is_err());
    }
}
