//! Who is called at each rising edge of a clock, and how that ends.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use rtl_model::pins::PortDirection;

use super::sys::{Called, Subscription, Vpi};
use super::{VpiError, VpiPins};

/// What acts on pins, once an edge.
pub trait Adapter {
    /// A rising edge has come. What is read stood there as it came; what is written stands from just behind it.
    fn edge(&mut self, pins: &Rc<RefCell<VpiPins>>);

    /// What is to be called once the edge is dealt with, when nothing of it is in use any more: then everything
    /// may be asked and stopped.
    fn news(&mut self) -> Option<Rc<dyn Fn()>> {
        None
    }

    /// It has come to an end that nobody asked for; who is to be told.
    fn failed(&mut self) -> Option<Rc<dyn Fn()>> {
        None
    }
}

/// What the callbacks share.
struct State<A> {
    vpi: Rc<Vpi>,
    pins: Rc<RefCell<VpiPins>>,
    adapter: RefCell<A>,
    edges: Cell<u64>,
    /// The end of the time step will be told.
    settles: Cell<bool>,
    stopped: Cell<bool>,
    failure: RefCell<Option<String>>,
}

/// An adapter on the clock of a design. When this goes, so does every callback.
pub struct Edges<A> {
    state: Rc<State<A>>,
    subscription: Option<Subscription>,
}

impl<A: Adapter + 'static> Edges<A> {
    /// Calls `adapter` at each rising edge of the input `clock`.
    ///
    /// # Errors
    /// [`VpiError::NoSuchPort`], [`VpiError::WrongWay`] for the clock; [`VpiError::Refused`].
    pub fn attach(
        vpi: &Rc<Vpi>,
        pins: Rc<RefCell<VpiPins>>,
        clock: &str,
        adapter: A,
    ) -> Result<Self, VpiError> {
        let clock_id = pins.borrow().port(clock, PortDirection::Input)?.id;
        let state = Rc::new(State {
            vpi: vpi.clone(),
            pins,
            adapter: RefCell::new(adapter),
            edges: Cell::new(0),
            settles: Cell::new(false),
            stopped: Cell::new(false),
            failure: RefCell::new(None),
        });
        let subscription = vpi.on_change(state.pins.borrow().handle(clock_id), state.clone());
        match subscription {
            Some(subscription) => Ok(Self { state, subscription: Some(subscription) }),
            None => Err(VpiError::Refused { name: clock.to_owned() }),
        }
    }

    /// Rising edges seen.
    #[must_use]
    pub fn edges(&self) -> u64 {
        self.state.edges.get()
    }

    /// What ended it, if not [`Edges::stop`]: the adapter's panic, or a refusal of the simulator.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.state.failure.borrow().clone()
    }

    /// Looks at the adapter, between edges.
    pub fn with<T>(&self, look: impl FnOnce(&A, &VpiPins) -> T) -> T {
        look(&self.state.adapter.borrow(), &self.state.pins.borrow())
    }

    /// The adapter, between edges, to be changed.
    pub fn change<T>(&self, change: impl FnOnce(&mut A) -> T) -> T {
        change(&mut self.state.adapter.borrow_mut())
    }

    /// Removes the callbacks. What was written stays on the pins; what was held back is dropped.
    pub fn stop(&mut self) {
        self.state.stopped.set(true);
        self.subscription = None;
    }
}

impl<A> Drop for Edges<A> {
    fn drop(&mut self) {
        self.state.stopped.set(true);
    }
}

impl<A: Adapter + 'static> Called for State<A> {
    fn changed(self: Rc<Self>, high: bool) {
        if !high || self.stopped.get() {
            return;
        }
        self.edges.set(self.edges.get() + 1);
        self.adapter.borrow_mut().edge(&self.pins);
        let waits = self.pins.borrow().is_waiting();
        if waits && !self.settles.replace(true) && !self.vpi.on_settled(self.clone()) {
            self.failed("the simulator refused a callback at the end of the time step".to_owned());
        }
        let news = self.adapter.borrow_mut().news();
        if let Some(tell) = news {
            tell();
        }
    }

    fn settled(self: Rc<Self>) {
        self.settles.set(false);
        if !self.stopped.get() {
            self.pins.borrow_mut().put();
        }
    }

    fn failed(&self, why: String) {
        self.stopped.set(true);
        self.failure.borrow_mut().get_or_insert(why);
        let told = self.adapter.try_borrow_mut().ok().and_then(|mut adapter| adapter.failed());
        if let Some(tell) = told {
            tell();
        }
    }
}
