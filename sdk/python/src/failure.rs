//! Exceptions.

use pyo3::{
    PyErr, create_exception,
    exceptions::{PyException, PySystemExit},
};

create_exception!(waldo, Failure, PyException, "The SDK can't go on, or refuses a record; the text says why.");
create_exception!(
    waldo,
    Stopped,
    PySystemExit,
    "A source wants to send, but is asked to stop. Nobody has to catch it: the program then leaves cleanly."
);

/// The exception for an error of the SDK.
#[allow(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
pub fn raised(error: waldo_sdk::Error) -> PyErr {
    match error {
        waldo_sdk::Error::Stopped => Stopped::new_err(()),
        error => Failure::new_err(error.to_string()),
    }
}
