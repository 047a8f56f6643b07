//! A process says in its counters page with which status it exits.
//!
//! A launcher that has taken over from a dead one isn't the parent of its processes, so the system doesn't tell it how
//! they end. The C library calls what was registered with `on_exit(3)` with the status when a process returns from its
//! main function or exits, in whatever language it is written. One that a signal or `_exit` ends says nothing.
//! C libraries other than GNU's don't have it: there, the launcher knows no more than that the process has ended.

use std::sync::OnceLock;

use crate::page::Page;

struct Told {
    page: Page,
    incarnation: u64,
    /// A child of this process that exits without another program having taken its place isn't meant.
    pid: u32,
}

static TOLD: OnceLock<Told> = OnceLock::new();

/// Lets `page` say how this process exits. Counts for the first page only: a process is one incarnation.
pub fn tell(page: &Page, incarnation: u64) {
    if TOLD.set(Told { page: page.clone(), incarnation, pid: std::process::id() }).is_ok() {
        register();
    }
}

#[cfg(target_env = "gnu")]
fn register() {
    use std::ffi::{c_int, c_void};

    unsafe extern "C" {
        fn on_exit(function: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
    }
    extern "C" fn exits(status: c_int, _: *mut c_void) {
        if let Some(told) = TOLD.get()
            && told.pid == std::process::id()
        {
            // As `wait(2)` tells it.
            told.page.set_exit_status(told.incarnation, status & 0xff);
        }
    }
    // SAFETY: the function only touches a static that is never dropped, and doesn't unwind. That there is no room for it
    // means that nothing is said.
    let _ = unsafe { on_exit(exits, std::ptr::null_mut()) };
}

#[cfg(not(target_env = "gnu"))]
fn register() {}
