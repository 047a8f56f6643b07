//! Stages in C: the Rust SDK behind functions of C. `waldo.h` is made from this file by cbindgen.
//!
//! A stage belongs to one thread at a time. Why a function has failed is said by [`waldo_error`], for the thread that called it.

use std::{
    cell::RefCell,
    ffi::{CStr, CString, c_char, c_int, c_void},
    os::unix::ffi::OsStrExt,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr, slice,
};

use waldo_sdk::{Error, Record, Stage};

/// It couldn't be done: `waldo_error` says why.
pub const WALDO_FAILED: c_int = -1;
/// A source wants to send, but is asked to stop: it is to finish, and to exit with status 0.
pub const WALDO_STOPPED: c_int = -2;

/// A stage of a topology: an inbox and an outbox.
#[allow(non_camel_case_types, reason = "a name of C")]
pub struct waldo_stage {
    inner: Stage,
    /// Whose bytes the caller has.
    in_hand: Option<(Record, CString)>,
    name: CString,
    state_directory: CString,
}

/// A record. What it points to stays until the next one is asked for, or the stage is finished or closed.
#[repr(C)]
#[allow(non_camel_case_types, reason = "a name of C")]
pub struct waldo_record {
    /// The flow's name.
    pub flow: *const c_char,
    /// The key.
    pub key: *const u8,
    /// How long the key is; 0 if there is none. Bytes.
    pub key_length: usize,
    /// The payload: any bytes, and nothing behind them.
    pub payload: *const u8,
    /// How long the payload is. Bytes.
    pub payload_length: usize,
}

thread_local! {
    static ERROR: RefCell<CString> = RefCell::default();
}

fn text(bytes: &[u8]) -> CString {
    // A name with a zero in it ends there, as names in C do.
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    CString::new(&bytes[..end]).unwrap_or_default()
}

fn fail(why: &str) -> c_int {
    ERROR.with_borrow_mut(|error| *error = text(why.as_bytes()));
    WALDO_FAILED
}

/// Does something for C, which no panic must reach.
fn guarded(act: impl FnOnce() -> Result<c_int, Error>) -> c_int {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(Ok(answer)) => answer,
        Ok(Err(Error::Stopped)) => {
            fail("asked to stop");
            WALDO_STOPPED
        }
        Ok(Err(error)) => fail(&error.to_string()),
        Err(_) => fail("waldo itself has failed: what it wrote to stderr says where"),
    }
}

/// Bytes of the caller's.
///
/// # Safety
/// `start` points to `length` bytes, or `length` is 0.
unsafe fn bytes<'a>(start: *const c_void, length: usize) -> &'a [u8] {
    if start.is_null() || length == 0 {
        return &[];
    }
    // SAFETY: as the caller says.
    unsafe { slice::from_raw_parts(start.cast(), length) }
}

/// Why the last function that failed in this thread did. Good until the next one fails.
#[unsafe(no_mangle)]
pub extern "C" fn waldo_error() -> *const c_char {
    ERROR.with_borrow(|error| error.as_ptr())
}

/// Opens the stage that the launcher started this process for: binds its inbox, connects its outputs, and says that it is
/// ready. NULL if it can't be.
#[unsafe(no_mangle)]
pub extern "C" fn waldo_open() -> *mut waldo_stage {
    let mut opened = ptr::null_mut();
    guarded(|| {
        let inner = Stage::open()?;
        let name = text(inner.wiring().stage.as_bytes());
        let state_directory = text(inner.state_directory().as_os_str().as_bytes());
        opened = Box::into_raw(Box::new(waldo_stage { inner, in_hand: None, name, state_directory }));
        Ok(0)
    });
    opened
}

/// Waits for the next record: 1 if there is one, 0 once the stage is asked to stop and its inbox is dry, or `WALDO_FAILED`.
/// The record that was received before counts as done: by now all that it caused has been sent.
///
/// # Safety
/// `stage` is open, and `record` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn waldo_receive(stage: *mut waldo_stage, record: *mut waldo_record) -> c_int {
    // SAFETY: as the caller says.
    let (stage, record) = unsafe { (&mut *stage, &mut *record) };
    guarded(|| stage.inner.receive().map(|received| hand_out(&mut stage.in_hand, received, record)))
}

/// The same without waiting: 0 if there is none now.
///
/// # Safety
/// As for `waldo_receive`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn waldo_try_receive(stage: *mut waldo_stage, record: *mut waldo_record) -> c_int {
    // SAFETY: as the caller says.
    let (stage, record) = unsafe { (&mut *stage, &mut *record) };
    guarded(|| stage.inner.try_receive().map(|received| hand_out(&mut stage.in_hand, received, record)))
}

fn hand_out(in_hand: &mut Option<(Record, CString)>, received: Option<Record>, record: &mut waldo_record) -> c_int {
    let before = in_hand.take();
    let Some(received) = received else { return 0 };
    // Most records come from the flow of the one before.
    let flow = before.map(|(_, flow)| flow).filter(|flow| flow.as_bytes() == received.flow().as_bytes());
    let (received, flow) = in_hand.insert((received.clone(), flow.unwrap_or_else(|| text(received.flow().as_bytes()))));
    *record = waldo_record {
        flow: flow.as_ptr(),
        key: received.key().as_ptr(),
        key_length: received.key().len(),
        payload: received.payload().as_ptr(),
        payload_length: received.payload().len(),
    };
    1
}

/// Sends a record; waits while there is no room for it. 0, `WALDO_FAILED`, or `WALDO_STOPPED` for a source that is asked to
/// stop. The key is used where the flow's key rule is `sender`; for other rules it is found in the payload.
///
/// # Safety
/// `stage` is open, `flow` ends with a zero, and the others are as long as they are said to be. NULL is as good as empty.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn waldo_send(
    stage: *mut waldo_stage,
    flow: *const c_char,
    key: *const c_void,
    key_length: usize,
    payload: *const c_void,
    payload_length: usize,
) -> c_int {
    // SAFETY: as the caller says.
    let (stage, flow) = unsafe { (&mut *stage, CStr::from_ptr(flow)) };
    // SAFETY: as the caller says.
    let (key, payload) = unsafe { (bytes(key, key_length), bytes(payload, payload_length)) };
    guarded(|| stage.inner.send(&flow.to_string_lossy(), key, payload).map(|()| 0))
}

/// Sends what is in batches, for a source that knows that it has no more for now; else a record waits for company for up to
/// 1 ms. 0 or `WALDO_FAILED`.
///
/// # Safety
/// `stage` is open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn waldo_flush(stage: *mut waldo_stage) -> c_int {
    // SAFETY: as the caller says.
    let stage = unsafe { &mut *stage };
    guarded(|| stage.inner.flush().map(|()| 0))
}

/// Whether the stage is asked to stop.
///
/// # Safety
/// `stage` is open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn waldo_stopping(stage: *const waldo_stage) -> bool {
    // SAFETY: as the caller says.
    unsafe { &*stage }.inner.stopping()
}

/// The stage's name.
///
/// # Safety
/// `stage` is open; the name is there as long.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn waldo_name(stage: *const waldo_stage) -> *const c_char {
    // SAFETY: as the caller says.
    unsafe { &*stage }.name.as_ptr()
}

/// Where to keep what must outlive the process: a directory.
///
/// # Safety
/// `stage` is open; the path is there as long.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn waldo_state_directory(stage: *const waldo_stage) -> *const c_char {
    // SAFETY: as the caller says.
    unsafe { &*stage }.state_directory.as_ptr()
}

/// Leaves with nothing in hand: sends everything, waits until receivers have confirmed it, and closes. 0 or `WALDO_FAILED`;
/// the stage is gone either way.
///
/// # Safety
/// `stage` is open, or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn waldo_finish(stage: *mut waldo_stage) -> c_int {
    if stage.is_null() {
        return 0;
    }
    // SAFETY: it was made by `waldo_open`, and nobody has it any more.
    let stage = unsafe { Box::from_raw(stage) };
    guarded(|| stage.inner.finish().map(|()| 0))
}

/// Closes at once: the record in hand doesn't count as done. For a program that leaves by an error.
///
/// # Safety
/// As for `waldo_finish`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn waldo_close(stage: *mut waldo_stage) {
    if !stage.is_null() {
        // SAFETY: it was made by `waldo_open`, and nobody has it any more.
        let stage = unsafe { Box::from_raw(stage) };
        guarded(move || {
            drop(stage);
            Ok(0)
        });
    }
}
