//! The ports of a module in a simulator, by number; what is written is held back until told.

use std::rc::Rc;

use pcie_sim::time::Instant;
use rtl_model::pins::{Known, Pins, PortDirection, PortId, PortInfo};

use super::VpiError;
use super::sys::{Handle, Scratch, Vpi, code};

/// One port.
struct Port {
    handle: Handle,
    /// What stands on it because of us; nothing yet when empty.
    held: Vec<u32>,
    /// What is to stand on it.
    next: Vec<u32>,
    waiting: bool,
}

/// The ports of a module.
///
/// Outputs are read from the simulator at once. Inputs are written by `put`, all together.
pub struct VpiPins {
    vpi: Rc<Vpi>,
    module: String,
    infos: Vec<PortInfo>,
    ports: Vec<Port>,
    waiting: Vec<PortId>,
    scratch: Scratch,
}

impl std::fmt::Debug for VpiPins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VpiPins").field("module", &self.module).field("ports", &self.infos).finish()
    }
}

impl VpiPins {
    /// All ports of a module that are inputs or outputs, in the order in which the simulator tells them.
    ///
    /// # Errors
    /// [`VpiError::NoSuchObject`] when there is no such module, or none of its ports can be seen.
    pub fn of_module(vpi: &Rc<Vpi>, module: &str) -> Result<Self, VpiError> {
        let unknown = || VpiError::NoSuchObject { name: module.to_owned() };
        let scope = vpi.by_name(module, None).ok_or_else(unknown)?;
        let mut pins = Self {
            vpi: vpi.clone(),
            module: module.to_owned(),
            infos: Vec::new(),
            ports: Vec::new(),
            waiting: Vec::new(),
            scratch: Scratch::default(),
        };
        // Some simulators tell of ports, others give a direction to what the port is connected to.
        for kind in [code::PORT, code::NET, code::REG] {
            // Who tells of ports has told all, and may complain when a net is asked for its direction.
            if !pins.ports.is_empty() {
                break;
            }
            for object in vpi.all(kind, &scope) {
                let direction = vpi.get(code::DIRECTION, Some(&object));
                let Some(name) = vpi.text(code::NAME, &object) else { continue };
                if pins.find(&name).is_none() {
                    pins.add(name, direction, &scope);
                }
            }
        }
        if pins.ports.is_empty() { Err(unknown()) } else { Ok(pins) }
    }

    fn add(&mut self, name: String, direction: i32, scope: &Handle) {
        let direction = match direction {
            code::INPUT => PortDirection::Input,
            code::OUTPUT => PortDirection::Output,
            _ => return,
        };
        // A port has no value of its own: what it is connected to inside has.
        let Some(handle) = self.vpi.by_name(&name, Some(scope)) else { return };
        let bits = handle.bits();
        let Ok(id) = u32::try_from(self.ports.len()) else { return };
        self.infos.push(PortInfo { name, id: PortId(id), direction, bits });
        let next = vec![0; words(bits)];
        self.ports.push(Port { handle, held: Vec::new(), next, waiting: false });
    }

    /// The port of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&PortInfo> {
        self.infos.iter().find(|info| info.name == name)
    }

    /// The port of that name, which goes that way.
    ///
    /// # Errors
    /// [`VpiError::NoSuchPort`], [`VpiError::WrongWay`].
    pub fn port(&self, name: &str, direction: PortDirection) -> Result<&PortInfo, VpiError> {
        let module = self.module.clone();
        let info = self.find(name).ok_or_else(|| {
            let has: Vec<&str> = self.infos.iter().map(|info| info.name.as_str()).collect();
            let (module, name) = (module.clone(), name.to_owned());
            VpiError::NoSuchPort { module, name, has: has.join(", ") }
        })?;
        if info.direction == direction {
            return Ok(info);
        }
        let wanted = match direction {
            PortDirection::Input => "input",
            PortDirection::Output => "output",
        };
        Err(VpiError::WrongWay { module, name: name.to_owned(), wanted })
    }

    /// The simulated time.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::from_ps(self.vpi.now_ps())
    }

    /// What a port is connected to.
    pub(super) fn handle(&self, port: PortId) -> &Handle {
        &self.ports[port.0 as usize].handle
    }

    /// Something is held back.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Puts what is held back onto the ports.
    pub(super) fn put(&mut self) {
        for PortId(port) in self.waiting.drain(..) {
            let port = &mut self.ports[port as usize];
            port.waiting = false;
            if port.held != port.next {
                self.vpi.write(&port.handle, &port.next, &mut self.scratch);
                port.held.clone_from(&port.next);
            }
        }
    }
}

/// Words that hold so many bits.
fn words(bits: u32) -> usize {
    bits.div_ceil(32) as usize
}

/// Ports are the simulator's own numbers; one that came from elsewhere is a mistake of the adapter, and panics
/// as an index does.
impl Pins for VpiPins {
    fn ports(&self) -> &[PortInfo] {
        &self.infos
    }

    fn read(&mut self, port: PortId) -> (u32, Known) {
        let mut word = [0];
        let known = self.read_wide(port, &mut word);
        (word[0], known)
    }

    fn write(&mut self, port: PortId, value: u32) {
        self.write_wide(port, &[value]);
    }

    fn read_wide(&mut self, port: PortId, words: &mut [u32]) -> Known {
        let bits = self.infos[port.0 as usize].bits;
        let at = &self.ports[port.0 as usize];
        // Never more than the simulator has.
        let shown = words.len().min(at.next.len());
        let (has, beyond) = words.split_at_mut(shown);
        beyond.fill(0);
        let known = self.vpi.read(&at.handle, has);
        if let (Some(last), true) = (has.last_mut(), shown == at.next.len()) {
            *last &= mask(bits);
        }
        known
    }

    fn write_wide(&mut self, port: PortId, words: &[u32]) {
        let at = &mut self.ports[port.0 as usize];
        for (next, word) in at.next.iter_mut().zip(words) {
            *next = *word;
        }
        if let Some(last) = at.next.last_mut() {
            *last &= mask(self.infos[port.0 as usize].bits);
        }
        if !at.waiting {
            at.waiting = true;
            self.waiting.push(port);
        }
    }
}

/// The bits of the last word that belong to a port.
fn mask(bits: u32) -> u32 {
    match bits % 32 {
        0 => u32::MAX,
        rest => (1 << rest) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_a_port_has_the_bits_that_are_left() {
        assert_eq!([1, 8, 31, 32, 33, 512].map(words), [1, 1, 1, 1, 2, 16]);
        let masks = [1, 8, 31, 32, 33, 512].map(mask);
        assert_eq!(masks, [1, 0xff, 0x7fff_ffff, u32::MAX, 1, u32::MAX]);
    }
}
