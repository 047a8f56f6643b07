//! A record, as Python sees it.

use pyo3::{prelude::*, types::PyBytes};

/// One record, taken from the inbox.
#[pyclass(frozen, module = "waldo")]
pub struct Record {
    inner: waldo_sdk::Record,
}

impl From<waldo_sdk::Record> for Record {
    fn from(inner: waldo_sdk::Record) -> Self {
        Self { inner }
    }
}

#[pymethods]
impl Record {
    /// The flow's name.
    #[getter]
    fn flow(&self) -> &str {
        self.inner.flow()
    }

    /// The key; empty for an unkeyed flow.
    #[getter]
    fn key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.inner.key())
    }

    /// The payload.
    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.inner.payload())
    }

    fn __repr__(&self) -> String {
        let shown = |bytes: &[u8]| format!("b\"{}\"", bytes.escape_ascii());
        let Self { inner } = self;
        format!("Record({:?}, {}, {})", inner.flow(), shown(inner.key()), shown(inner.payload()))
    }
}
