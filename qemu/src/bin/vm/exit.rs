//! Every way out of the program: the terminal and the files are put in order
//! first, and QEMU dies with this process.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

/// `--timeout` passed.
pub const TIMED_OUT: i32 = 124;
/// The machine could not be built, booted or reached.
pub const FAILED: i32 = 125;

type Task = Box<dyn FnOnce() + Send>;

static TASKS: Mutex<Vec<Task>> = Mutex::new(Vec::new());

/// Runs `task` before the program ends, last added first.
pub fn before(task: impl FnOnce() + Send + 'static) {
    let mut tasks = TASKS.lock().unwrap_or_else(PoisonError::into_inner);
    tasks.push(Box::new(task));
}

/// Runs what [`before`] was given. Tasks run once.
pub fn clean_up() {
    let mut tasks = TASKS.lock().unwrap_or_else(PoisonError::into_inner);
    while let Some(task) = tasks.pop() {
        task();
    }
}

/// Cleans up and ends the program.
pub fn now(code: i32) -> ! {
    clean_up();
    let _ = std::io::stdout().flush();
    std::process::exit(code);
}

/// Ends the program after a time.
pub fn after(limit: Duration) {
    thread::spawn(move || {
        thread::sleep(limit);
        clean_up();
        eprintln!("vm: --timeout of {} s passed", limit.as_secs());
        now(TIMED_OUT);
    });
}

/// Cleans up when the program is told to end.
///
/// Call before any thread is started: the signals are blocked in this thread
/// and those it starts, and taken by one of their own.
pub fn on_signals() {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    if signals.thread_block().is_err() {
        return;
    }
    thread::spawn(move || {
        if let Ok(signal) = signals.wait() {
            now(128 + signal as i32);
        }
    });
}
