//! VPI as C has it, and as the rest of this crate may use it. Everything `unsafe` of the crate is here.
//!
//! What holds it together:
//! - a simulator calls and is called on one thread, the one that first asks for it, which is a test's own:
//!   [`Vpi`] and all that comes of it is neither `Send` nor `Sync`, and other threads get none;
//! - a [`Handle`] is made by the simulator that frees it, and not used after the end of the simulation
//!   ([`Vpi::is_over`]);
//! - what a callback points at is owned by the [`Subscription`] until it is removed, or, of one that comes
//!   once, by the callback itself.
#![expect(unsafe_code, reason = "a simulator is called, and calls back, through C")]

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{NonNull, null_mut};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use rtl_model::pins::Known;

use super::VpiError;

/// Object types and properties. IEEE 1800-2017 Annex K.
pub(super) mod code {
    use std::ffi::c_int;

    pub(crate) const NET: c_int = 36;
    pub(crate) const PORT: c_int = 44;
    pub(crate) const REG: c_int = 48;
    pub(crate) const NAME: c_int = 2;
    pub(crate) const SIZE: c_int = 4;
    pub(crate) const TIME_PRECISION: c_int = 12;
    pub(crate) const DIRECTION: c_int = 20;
    pub(crate) const INPUT: c_int = 1;
    pub(crate) const OUTPUT: c_int = 2;
}

const VECTOR_VALUE: c_int = 9;
const INTEGER_VALUE: c_int = 6;
const SIMULATED_TIME: c_int = 2;
const NO_TIME: c_int = 3;
const NO_DELAY: c_int = 1;
const VALUE_CHANGE: c_int = 1;
const READ_WRITE_SYNCH: c_int = 6;
const END_OF_SIMULATION: c_int = 12;

/// `vpiHandle`.
type RawHandle = *mut c_void;

/// `s_vpi_time`.
#[repr(C)]
struct Time {
    kind: c_int,
    high: u32,
    low: u32,
    real: f64,
}

/// `s_vpi_vecval`: a 0, 1, Z, X is 0/0, 1/0, 0/1, 1/1.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct VectorWord {
    aval: u32,
    bval: u32,
}

/// The union in `s_vpi_value`, as far as it is used.
#[repr(C)]
union AnyValue {
    integer: c_int,
    vector: *mut VectorWord,
    /// The widest members are a double and a pointer.
    _real: f64,
}

/// `s_vpi_value`.
#[repr(C)]
struct Value {
    format: c_int,
    value: AnyValue,
}

/// `s_cb_data`.
#[repr(C)]
struct CallbackData {
    reason: c_int,
    routine: Option<unsafe extern "C" fn(*mut CallbackData) -> c_int>,
    object: RawHandle,
    time: *mut Time,
    value: *mut Value,
    index: c_int,
    user_data: *mut c_char,
}

/// The functions of a simulator.
struct Functions {
    register_cb: unsafe extern "C" fn(*mut CallbackData) -> RawHandle,
    remove_cb: unsafe extern "C" fn(RawHandle) -> c_int,
    handle_by_name: unsafe extern "C" fn(*mut c_char, RawHandle) -> RawHandle,
    iterate: unsafe extern "C" fn(c_int, RawHandle) -> RawHandle,
    scan: unsafe extern "C" fn(RawHandle) -> RawHandle,
    get: unsafe extern "C" fn(c_int, RawHandle) -> c_int,
    get_str: unsafe extern "C" fn(c_int, RawHandle) -> *mut c_char,
    get_value: unsafe extern "C" fn(RawHandle, *mut Value),
    put_value: unsafe extern "C" fn(RawHandle, *mut Value, *mut Time, c_int) -> RawHandle,
    get_time: unsafe extern "C" fn(RawHandle, *mut Time),
    free_object: unsafe extern "C" fn(RawHandle) -> c_int,
}

/// The symbol of that name in this process.
fn symbol(name: &CStr) -> *mut c_void {
    // SAFETY: the name ends in a zero; looking a symbol up has no effect.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}

impl Functions {
    fn find() -> Result<Self, VpiError> {
        macro_rules! find {
            ($($field:ident: $name:literal),* $(,)?) => {
                Self { $($field: {
                    const NAME: &CStr = $name;
                    let found = symbol(NAME);
                    if found.is_null() {
                        let missing = NAME.to_str().unwrap_or("vpi");
                        return Err(VpiError::NoSimulator { missing });
                    }
                    // SAFETY: a function of this name has this type, says IEEE 1800-2017 Annex K; a pointer to
                    // a function and one to data have the same size wherever there is `dlsym`.
                    unsafe { std::mem::transmute_copy(&found) }
                }),* }
            };
        }
        Ok(find! {
            register_cb: c"vpi_register_cb",
            remove_cb: c"vpi_remove_cb",
            handle_by_name: c"vpi_handle_by_name",
            iterate: c"vpi_iterate",
            scan: c"vpi_scan",
            get: c"vpi_get",
            get_str: c"vpi_get_str",
            get_value: c"vpi_get_value",
            put_value: c"vpi_put_value",
            get_time: c"vpi_get_time",
            free_object: c"vpi_free_object",
        })
    }
}

/// The simulator of this process.
pub struct Vpi {
    functions: Functions,
    over: Cell<bool>,
    /// Picoseconds of one step of its time, or, below 1 ps, steps in one.
    step: Cell<Step>,
    live: Cell<usize>,
}

/// How long the simulator's unit of time is.
#[derive(Debug, Clone, Copy)]
enum Step {
    Picoseconds(u64),
    PerPicosecond(u64),
}

impl Step {
    /// Of a precision given as a power of ten of a second: -12 is a picosecond.
    fn of_precision(exponent: c_int) -> Self {
        let power = |exponent: c_int| 10_u64.saturating_pow(exponent.unsigned_abs().min(19));
        match exponent + 12 {
            coarse @ 0.. => Self::Picoseconds(power(coarse)),
            fine => Self::PerPicosecond(power(fine)),
        }
    }
}

impl std::fmt::Debug for Vpi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vpi").field("over", &self.over).field("live", &self.live).finish()
    }
}

/// Some thread has it.
static TAKEN: AtomicBool = AtomicBool::new(false);

thread_local! {
    static FOUND: std::cell::RefCell<Option<Rc<Vpi>>> = const { std::cell::RefCell::new(None) };
}

impl Vpi {
    /// The simulator that runs on this thread. The first time, its functions are looked up in the process.
    ///
    /// # Errors
    /// [`VpiError::NoSimulator`] when there is none, [`VpiError::OtherThread`] when another thread has it,
    /// [`VpiError::Over`] after its end.
    pub fn find() -> Result<Rc<Self>, VpiError> {
        FOUND.with_borrow_mut(|found| {
            let vpi = match found {
                Some(vpi) => vpi.clone(),
                None => {
                    let functions = Functions::find()?;
                    if TAKEN.swap(true, Ordering::Relaxed) {
                        return Err(VpiError::OtherThread);
                    }
                    let vpi = Self::new(functions);
                    *found = Some(vpi.clone());
                    vpi
                }
            };
            if vpi.is_over() { Err(VpiError::Over) } else { Ok(vpi) }
        })
    }

    fn new(functions: Functions) -> Rc<Self> {
        let step = Cell::new(Step::Picoseconds(1));
        let vpi = Rc::new(Self { functions, over: Cell::new(false), step, live: Cell::new(0) });
        vpi.step.set(Step::of_precision(vpi.get(code::TIME_PRECISION, None)));
        // A simulator that refuses this one never tells of its end; then its process ends with it.
        vpi.once(END_OF_SIMULATION, vpi.clone());
        vpi
    }

    /// The simulation has ended: its objects are gone.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Callbacks that the simulator has of us on value changes.
    #[must_use]
    pub fn live_callbacks(&self) -> usize {
        self.live.get()
    }

    /// The simulated time, in whole picoseconds.
    #[must_use]
    pub fn now_ps(&self) -> u64 {
        let mut time = Time { kind: SIMULATED_TIME, high: 0, low: 0, real: 0.0 };
        // SAFETY: the simulator fills in the structure; no object stands for the simulation's own time.
        unsafe { (self.functions.get_time)(null_mut(), &raw mut time) };
        let steps = u64::from(time.high) << 32 | u64::from(time.low);
        match self.step.get() {
            Step::Picoseconds(each) => steps.saturating_mul(each),
            Step::PerPicosecond(of) => steps / of,
        }
    }

    fn handle(self: &Rc<Self>, raw: RawHandle) -> Option<Handle> {
        NonNull::new(raw).map(|raw| Handle { raw, vpi: self.clone() })
    }

    /// The object of that name, in a scope or in all of the design.
    pub(super) fn by_name(self: &Rc<Self>, name: &str, scope: Option<&Handle>) -> Option<Handle> {
        let name = CString::new(name).ok()?;
        let scope = scope.map_or(null_mut(), Handle::raw);
        // SAFETY: the name ends in a zero, and is not changed though its type in C would allow it; the scope
        // is a live object or none.
        self.handle(unsafe { (self.functions.handle_by_name)(name.as_ptr().cast_mut(), scope) })
    }

    /// A property of an object, or of the simulation.
    pub(super) fn get(&self, property: c_int, of: Option<&Handle>) -> c_int {
        let of = of.map_or(null_mut(), Handle::raw);
        // SAFETY: a live object, or none where the property is the simulation's.
        unsafe { (self.functions.get)(property, of) }
    }

    /// A property of an object that is text.
    pub(super) fn text(&self, property: c_int, of: &Handle) -> Option<String> {
        // SAFETY: a live object; what comes back ends in a zero and is copied before the next call.
        unsafe {
            let text = (self.functions.get_str)(property, of.raw()).cast_const();
            (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
        }
    }

    /// All objects of a kind in a scope.
    pub(super) fn all(self: &Rc<Self>, kind: c_int, scope: &Handle) -> Vec<Handle> {
        let mut found = Vec::new();
        // SAFETY: the scope is a live object.
        let iterator = unsafe { (self.functions.iterate)(kind, scope.raw()) };
        if iterator.is_null() {
            return found;
        }
        // SAFETY: an iterator is good until it has given null, and by then has freed itself.
        while let Some(next) = self.handle(unsafe { (self.functions.scan)(iterator) }) {
            found.push(next);
        }
        found
    }

    /// Reads an object of as many bits as `words` holds, or fewer; bits that are X or Z become zeros.
    pub(super) fn read(&self, of: &Handle, words: &mut [u32]) -> Known {
        let mut value = Value { format: VECTOR_VALUE, value: AnyValue { vector: null_mut() } };
        // SAFETY: a live object; with this format the simulator answers by a pointer to one vector word for
        // each 32 bits of the object, which it leaves alone until the next call. Callers ask for as many words
        // as the object has (`Handle::words`), and copy them at once.
        let read = unsafe {
            (self.functions.get_value)(of.raw(), &raw mut value);
            let first = value.value.vector.cast_const();
            if first.is_null() || value.format != VECTOR_VALUE {
                &[]
            } else {
                std::slice::from_raw_parts(first, words.len())
            }
        };
        if read.len() != words.len() {
            words.fill(0);
            return Known::Not;
        }
        let mut unknown = 0;
        for (word, VectorWord { aval, bval }) in words.iter_mut().zip(read) {
            *word = aval & !bval;
            unknown |= bval;
        }
        if unknown == 0 { Known::All } else { Known::Not }
    }

    /// Writes an object, at once.
    pub(super) fn write(&self, to: &Handle, words: &[u32], scratch: &mut Scratch) {
        scratch.0.clear();
        scratch.0.extend(words.iter().map(|&aval| VectorWord { aval, bval: 0 }));
        let vector = scratch.0.as_mut_ptr();
        let mut value = Value { format: VECTOR_VALUE, value: AnyValue { vector } };
        // SAFETY: a live object, and as many vector words as it has; the simulator copies them. Without a
        // delay there is neither a time nor an event to return.
        unsafe {
            (self.functions.put_value)(to.raw(), &raw mut value, null_mut(), NO_DELAY);
        }
    }

    /// Calls `target` at each change of a signal, until what is returned goes.
    pub(super) fn on_change(
        self: &Rc<Self>,
        signal: &Handle,
        target: Rc<dyn Called>,
    ) -> Option<Subscription> {
        let kept = Box::into_raw(Box::new(Kept {
            target,
            time: Time { kind: NO_TIME, high: 0, low: 0, real: 0.0 },
            value: Value { format: INTEGER_VALUE, value: AnyValue { integer: 0 } },
        }));
        // SAFETY: `kept` was just boxed; only the places of its parts are taken.
        let (time, value) = unsafe { (&raw mut (*kept).time, &raw mut (*kept).value) };
        let mut data = CallbackData {
            reason: VALUE_CHANGE,
            routine: Some(changed),
            object: signal.raw(),
            time,
            value,
            index: 0,
            user_data: kept.cast(),
        };
        // SAFETY: a live object. Simulators copy the structure; what it points at stays until the callback is
        // removed.
        let raw = unsafe { (self.functions.register_cb)(&raw mut data) };
        let Some(raw) = NonNull::new(raw) else {
            // SAFETY: nobody has been told of it.
            drop(unsafe { Box::from_raw(kept) });
            return None;
        };
        self.live.set(self.live.get() + 1);
        Some(Subscription { raw, vpi: self.clone(), kept })
    }

    /// Calls `target` once, when everything of this time step has settled and signals may still be written.
    /// Whether the simulator will.
    pub(super) fn on_settled(&self, target: Rc<dyn Called>) -> bool {
        self.once(READ_WRITE_SYNCH, target)
    }

    fn once(&self, reason: c_int, target: Rc<dyn Called>) -> bool {
        let mut time = Time { kind: SIMULATED_TIME, high: 0, low: 0, real: 0.0 };
        let target = Box::into_raw(Box::new(target));
        let mut data = CallbackData {
            reason,
            routine: Some(settled),
            object: null_mut(),
            time: &raw mut time,
            value: null_mut(),
            index: 0,
            user_data: target.cast(),
        };
        // SAFETY: simulators copy structure and time; `target` is the callback's own, until it is called. The
        // handle is of no more use: it is given back, which leaves the callback where it is (IEEE 1800-2017
        // §38.36).
        unsafe {
            let raw = (self.functions.register_cb)(&raw mut data);
            if raw.is_null() {
                drop(Box::from_raw(target));
                return false;
            }
            (self.functions.free_object)(raw);
        }
        true
    }
}

impl Called for Vpi {
    fn changed(self: Rc<Self>, _: bool) {}

    fn settled(self: Rc<Self>) {
        self.over.set(true);
    }

    fn failed(&self, _: String) {}
}

/// Room for one value on its way to the simulator.
#[derive(Default)]
pub(super) struct Scratch(Vec<VectorWord>);

/// An object of the simulator.
pub(super) struct Handle {
    raw: NonNull<c_void>,
    vpi: Rc<Vpi>,
}

impl Handle {
    fn raw(&self) -> RawHandle {
        self.raw.as_ptr()
    }

    /// Its width in bits, at least 1.
    pub(super) fn bits(&self) -> u32 {
        u32::try_from(self.vpi.get(code::SIZE, Some(self))).unwrap_or(1).max(1)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.vpi.is_over() {
            // SAFETY: the simulator made it, and nobody else has it.
            unsafe { (self.vpi.functions.free_object)(self.raw()) };
        }
    }
}

/// Who is called.
pub(super) trait Called {
    /// A signal has changed; `high` when it is 1 now.
    fn changed(self: Rc<Self>, high: bool);
    /// The time step has settled.
    fn settled(self: Rc<Self>);
    /// One of the two panicked.
    fn failed(&self, why: String);
}

/// What a callback on value changes points at.
struct Kept {
    target: Rc<dyn Called>,
    time: Time,
    value: Value,
}

/// A callback on value changes. It is removed when this goes.
pub(super) struct Subscription {
    raw: NonNull<c_void>,
    vpi: Rc<Vpi>,
    kept: *mut Kept,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.vpi.live.set(self.vpi.live.get() - 1);
        if !self.vpi.is_over() {
            // SAFETY: the simulator made it; it comes no more, and its handle is freed with it.
            unsafe { (self.vpi.functions.remove_cb)(self.raw.as_ptr()) };
        }
        // SAFETY: boxed by `on_change`; the callback that pointed at it is gone.
        drop(unsafe { Box::from_raw(self.kept) });
    }
}

/// Calls, and keeps a panic from going through the simulator's frames.
fn guarded(target: &Rc<dyn Called>, call: impl FnOnce(Rc<dyn Called>)) {
    let called = catch_unwind(AssertUnwindSafe(|| call(target.clone())));
    if let Err(panic) = called {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        target.failed(text.unwrap_or_else(|| "panicked".to_owned()));
    }
}

unsafe extern "C" fn changed(data: *mut CallbackData) -> c_int {
    // SAFETY: registered by `on_change`, so `user_data` is its `Kept`, which lives as long as the callback; a
    // clone of the target is taken before anything is called that might remove it. A simulator hands over the
    // value in the format asked for, an integer.
    let (target, high) = unsafe {
        let data = &*data;
        let kept = data.user_data.cast_const().cast::<Kept>();
        let value = data.value.cast_const();
        let high = !value.is_null() && (*value).value.integer == 1;
        ((*kept).target.clone(), high)
    };
    guarded(&target, |target| target.changed(high));
    0
}

unsafe extern "C" fn settled(data: *mut CallbackData) -> c_int {
    // SAFETY: registered by `once`, which left one boxed target to this one call.
    let target = unsafe { Box::from_raw((*data).user_data.cast::<Rc<dyn Called>>()) };
    guarded(&target, |target| target.settled());
    0
}

const _: () = assert!(size_of::<Value>() == 16 && size_of::<Time>() == 24);
const _: () = assert!(size_of::<CallbackData>() == 56);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_no_simulator_is_told_from_one() {
        let missing = Vpi::find().unwrap_err();
        assert_eq!(missing, VpiError::NoSimulator { missing: "vpi_register_cb" });
    }

    /// IEEE 1800-2017 §38.9: the precision is a power of ten of a second.
    #[test]
    fn a_step_of_simulated_time_is_its_precision() {
        assert!(matches!(Step::of_precision(-9), Step::Picoseconds(1_000)));
        assert!(matches!(Step::of_precision(-12), Step::Picoseconds(1)));
        assert!(matches!(Step::of_precision(-15), Step::PerPicosecond(1_000)));
        assert!(matches!(Step::of_precision(0), Step::Picoseconds(1_000_000_000_000)));
    }

    #[test]
    fn a_callback_that_panics_is_stopped_before_the_simulators_frames() {
        struct Panics(Cell<Option<String>>);
        impl Called for Panics {
            fn changed(self: Rc<Self>, high: bool) {
                assert!(high, "on purpose");
            }
            fn settled(self: Rc<Self>) {}
            fn failed(&self, why: String) {
                self.0.set(Some(why));
            }
        }
        let panics = Rc::new(Panics(Cell::new(None)));
        let target: Rc<dyn Called> = panics.clone();
        guarded(&target, |target| target.changed(true));
        assert_eq!(panics.0.take(), None);
        guarded(&target, |target| target.changed(false));
        assert_eq!(panics.0.take().as_deref(), Some("on purpose"));
    }
}
