//! Work with a stack of its own on the simulator's thread: it goes on when it is let, and pauses where it likes.
//!
//! ```text
//!   simulator's stack  ── go_on() ─┐            ┌─▶ … ── go_on() ─┐            ┌─▶
//!   stack of its own               └─▶ … pause() ┘                └─▶ … pause() ┘
//! ```
//!
//! A driver is code that goes from top to bottom and waits within its calls; a simulator calls and wants its
//! thread back. A thread for each would cost two changes of threads an edge. Here a change costs some
//! nanoseconds, nothing need be sent between threads, and all order is that of the program.
#![expect(unsafe_code, reason = "whoever pauses finds the stack that it is on by a pointer")]

use std::cell::Cell;
use std::io;
use std::ptr::{NonNull, null};
use std::rc::Rc;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

/// Bytes of its stack; memory is taken as it is used.
const STACK_BYTES: usize = 8 << 20;

thread_local! {
    /// Somebody is on a stack of his own.
    static ASIDE: Cell<bool> = const { Cell::new(false) };
}

/// The way back to the simulator's stack.
#[derive(Debug, Clone)]
pub struct Pause(Rc<Way>);

#[derive(Debug)]
struct Way {
    /// Where the work's own stack is left; nobody's while it does not run.
    yielder: Cell<*const Yielder<(), ()>>,
    runs: Cell<bool>,
}

impl Pause {
    /// Lets the simulator go on until the work is let go on. Called when the work does not run, as by what it
    /// drops at its end, this does nothing.
    pub fn pause(&self) {
        let Some(yielder) = NonNull::new(self.0.yielder.get().cast_mut()) else { return };
        if !self.0.runs.get() {
            return;
        }
        // SAFETY: `runs` only while `Aside::go_on` is under way, and of all works of a thread only one is
        // then, so that this is called on the very stack that the yielder belongs to; it lives as long as the
        // work does.
        unsafe { yielder.as_ref() }.suspend(());
    }
}

/// Work that is done a piece at a time. When this goes, what the work holds is dropped as by a panic, from
/// where it paused.
pub struct Aside {
    work: Coroutine<(), (), ()>,
    way: Rc<Way>,
}

impl Aside {
    /// Work that has not begun.
    ///
    /// # Errors
    /// There is no memory for its stack.
    pub fn new(work: impl FnOnce(&Pause) + 'static) -> io::Result<Self> {
        let way = Rc::new(Way { yielder: Cell::new(null()), runs: Cell::new(false) });
        let pause = Pause(way.clone());
        let stack = DefaultStack::new(STACK_BYTES)?;
        // Only what is small can be handed over to another stack.
        let work: Box<dyn FnOnce(&Pause)> = Box::new(work);
        let work = Coroutine::with_stack(stack, move |yielder, ()| {
            pause.0.yielder.set(yielder);
            work(&pause);
        });
        Ok(Self { work, way })
    }

    /// It is done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.work.done()
    }

    /// Lets it go on to where it pauses, or to its end: then this does nothing any more.
    ///
    /// # Panics
    /// When the work does; and when this is called by some other work, which has a stack of its own already.
    pub fn go_on(&mut self) {
        if self.work.done() {
            return;
        }
        assert!(!ASIDE.replace(true), "work cannot let other work go on");
        self.way.runs.set(true);
        let end = End(&self.way);
        let paused = self.work.resume(());
        drop(end);
        if let CoroutineResult::Return(()) = paused {
            self.way.yielder.set(null());
        }
    }
}

impl std::fmt::Debug for Aside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aside").field("done", &self.is_done()).finish_non_exhaustive()
    }
}

/// Whatever happens, a piece ends.
struct End<'w>(&'w Way);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.runs.set(false);
        ASIDE.set(false);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn pieces_come_one_at_a_time_and_in_order() {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let log = seen.clone();
        let mut work = Aside::new(move |pause| {
            for piece in 0..3 {
                log.borrow_mut().push(piece);
                pause.pause();
            }
        })
        .unwrap();
        for pieces in 1..=3 {
            work.go_on();
            assert_eq!(seen.borrow().len(), pieces);
            assert!(!work.is_done());
        }
        work.go_on();
        work.go_on();
        assert!(work.is_done());
        assert_eq!(*seen.borrow(), [0, 1, 2]);
    }

    #[test]
    fn what_unfinished_work_holds_goes_with_it() {
        let held = Rc::new(());
        let holds = held.clone();
        let mut work = Aside::new(move |pause| {
            let _holds = holds;
            loop {
                pause.pause();
            }
        })
        .unwrap();
        work.go_on();
        assert_eq!(Rc::strong_count(&held), 2);
        drop(work);
        assert_eq!(Rc::strong_count(&held), 1);
    }

    #[test]
    fn a_panic_of_the_work_comes_to_whoever_let_it_go_on() {
        let mut work = Aside::new(|pause| {
            pause.pause();
            panic!("on purpose");
        })
        .unwrap();
        work.go_on();
        let panic = catch_unwind(AssertUnwindSafe(|| work.go_on())).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
        assert!(work.is_done());
        Aside::new(|_| {}).unwrap().go_on();
    }

    #[test]
    fn two_works_take_turns() {
        let seen = Rc::new(RefCell::new(String::new()));
        let work = |name: char| {
            let seen = seen.clone();
            Aside::new(move |pause| {
                for _ in 0..2 {
                    seen.borrow_mut().push(name);
                    pause.pause();
                }
            })
            .unwrap()
        };
        let (mut a, mut b) = (work('a'), work('b'));
        for _ in 0..3 {
            a.go_on();
            b.go_on();
        }
        assert_eq!(*seen.borrow(), "abab");
    }
}
