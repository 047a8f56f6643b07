//! A stage, as Python sees it.

use std::{
    os::fd::RawFd,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
};

use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyBytes, PyString},
};

use crate::{failure::raised, record::Record};

/// The longest that a wait goes on without a look at what Python wants: a signal, another thread. Milliseconds.
const LOOK_UP: i64 = 100;

/// A stage of a topology: an inbox and an outbox.
///
/// A record counts as done when the next one is asked for; by then all that it caused must have been sent.
#[pyclass(frozen, module = "waldo")]
pub struct Stage {
    /// `None` once it is finished. Nobody keeps it locked while he waits for Python's own lock.
    inner: Mutex<Option<waldo_sdk::Stage>>,
}

/// Text is sent as UTF-8, so that keys and payloads needn't be encoded by hand.
#[derive(FromPyObject)]
enum Bytes<'py> {
    #[pyo3(transparent, annotation = "bytes")]
    Plain(Bound<'py, PyBytes>),
    #[pyo3(transparent, annotation = "str")]
    Text(Bound<'py, PyString>),
}

impl Bytes<'_> {
    fn get(&self) -> PyResult<&[u8]> {
        match self {
            Self::Plain(bytes) => Ok(bytes.as_bytes()),
            Self::Text(text) => text.to_str().map(str::as_bytes),
        }
    }
}

type Inner<'a> = MutexGuard<'a, Option<waldo_sdk::Stage>>;

fn opened<'a>(inner: &'a mut Inner<'_>) -> PyResult<&'a mut waldo_sdk::Stage> {
    inner.as_mut().ok_or_else(|| PyValueError::new_err("the stage is finished"))
}

impl Stage {
    /// The stage. Another thread of Python's that has it may need Python's lock before it gives it back.
    fn lock(&self, py: Python<'_>) -> Inner<'_> {
        loop {
            match self.inner.try_lock() {
                Ok(inner) => return inner,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    py.detach(|| drop(self.inner.lock().unwrap_or_else(PoisonError::into_inner)));
                }
            }
        }
    }

    /// Does what may wait, without Python's lock.
    fn waiting<R: Send>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&mut waldo_sdk::Stage) -> waldo_sdk::Result<R> + Send,
    ) -> PyResult<R> {
        py.detach(|| {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            opened(&mut inner).and_then(|stage| act(stage).map_err(raised))
        })
    }

    fn of_place<R>(&self, py: Python<'_>, get: impl FnOnce(&waldo_sdk::wiring::Place) -> R) -> PyResult<R> {
        Ok(get(opened(&mut self.lock(py))?.place()))
    }

    fn of_wiring<R>(&self, py: Python<'_>, get: impl FnOnce(&waldo_sdk::wiring::Wiring) -> R) -> PyResult<R> {
        Ok(get(opened(&mut self.lock(py))?.wiring()))
    }
}

#[pymethods]
#[allow(clippy::needless_pass_by_value, reason = "Python's arguments come by value")]
impl Stage {
    /// Opens the stage that the launcher started this process for: binds its inbox, connects its outputs, and says that
    /// it is ready.
    #[new]
    fn open(py: Python<'_>) -> PyResult<Self> {
        let inner = py.detach(waldo_sdk::Stage::open).map_err(raised)?;
        Ok(Self { inner: Mutex::new(Some(inner)) })
    }

    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    /// The next record; ends once the stage is asked to stop and its inbox is dry.
    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Record>> {
        self.receive(py)
    }

    /// The next record; waits for one. None once the stage is asked to stop and its inbox is dry.
    fn receive(&self, py: Python<'_>) -> PyResult<Option<Record>> {
        loop {
            if let Some(record) = self.try_receive(py)? {
                return Ok(Some(record));
            }
            if self.stopping(py)? {
                return Ok(None);
            }
            self.waiting(py, |stage| stage.wait_for_input(LOOK_UP))?;
            py.check_signals()?;
        }
    }

    /// The next record if one is there, else None. The record received before counts as done.
    fn try_receive(&self, py: Python<'_>) -> PyResult<Option<Record>> {
        let record = opened(&mut self.lock(py))?.try_receive().map_err(raised)?;
        Ok(record.map(Record::from))
    }

    /// Sends a record; waits while there is no room for it. `key` is used where the flow's key rule is `sender`; for
    /// other rules it is found in the payload.
    #[pyo3(signature = (flow, key, payload))]
    fn send(&self, py: Python<'_>, flow: &str, key: Bytes<'_>, payload: Bytes<'_>) -> PyResult<()> {
        let (key, payload) = (key.get()?, payload.get()?);
        let sent = opened(&mut self.lock(py))?.try_send(flow, key, payload).map_err(raised)?;
        if sent { Ok(()) } else { self.waiting(py, |stage| stage.send(flow, key, payload)) }
    }

    /// Sends a record if there is room for it, and a source may send; answers whether it did.
    #[pyo3(signature = (flow, key, payload))]
    fn try_send(&self, py: Python<'_>, flow: &str, key: Bytes<'_>, payload: Bytes<'_>) -> PyResult<bool> {
        opened(&mut self.lock(py))?.try_send(flow, key.get()?, payload.get()?).map_err(raised)
    }

    /// Sends what is in batches, for a source that knows that it has no more for now; else a record waits for company
    /// for up to 1 ms.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        self.waiting(py, waldo_sdk::Stage::flush)
    }

    /// Counts the record in hand as done now, without asking for the next.
    fn done(&self, py: Python<'_>) -> PyResult<()> {
        opened(&mut self.lock(py))?.done();
        Ok(())
    }

    /// Leaves with nothing in hand: sends everything, waits until receivers have confirmed it, and closes. Once is enough.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| {
            let stage = self.inner.lock().unwrap_or_else(PoisonError::into_inner).take();
            stage.map_or(Ok(()), waldo_sdk::Stage::finish).map_err(raised)
        })
    }

    /// Closes at once: the record in hand doesn't count as done. For a program that leaves by an error.
    fn close(&self, py: Python<'_>) {
        py.detach(|| drop(self.inner.lock().unwrap_or_else(PoisonError::into_inner).take()));
    }

    /// Whether the stage is asked to stop.
    #[getter]
    fn stopping(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(opened(&mut self.lock(py))?.stopping())
    }

    /// Descriptors that become readable when there may be input or a wish to stop: see `waldo.aio`.
    fn _descriptors(&self, py: Python<'_>) -> PyResult<Vec<RawFd>> {
        opened(&mut self.lock(py))?.descriptors().map_err(raised)
    }

    /// Takes back what made a descriptor readable.
    fn _woke(&self, py: Python<'_>) -> PyResult<()> {
        opened(&mut self.lock(py))?.woke();
        Ok(())
    }

    /// The topology's name.
    #[getter]
    fn topology(&self, py: Python<'_>) -> PyResult<String> {
        self.of_place(py, |place| place.topology.clone())
    }

    /// The namespace's name.
    #[getter]
    fn namespace(&self, py: Python<'_>) -> PyResult<String> {
        self.of_place(py, |place| place.namespace.clone())
    }

    /// The server's name.
    #[getter]
    fn server(&self, py: Python<'_>) -> PyResult<String> {
        self.of_place(py, |place| place.server.clone())
    }

    /// The stage's name.
    #[getter]
    fn name(&self, py: Python<'_>) -> PyResult<String> {
        self.of_wiring(py, |wiring| wiring.stage.clone())
    }

    /// Which of the stage's instances on this server this is, from 0.
    #[getter]
    fn instance(&self, py: Python<'_>) -> PyResult<u32> {
        self.of_wiring(py, |wiring| wiring.instance)
    }

    /// The flows that it receives, by name.
    #[getter]
    fn inputs(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.of_wiring(py, |wiring| wiring.inputs.iter().map(|input| input.flow.clone()).collect())
    }

    /// The flows that it may send, by name. A rollout may change them.
    #[getter]
    fn outputs(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.of_wiring(py, |wiring| wiring.outputs.iter().map(|output| output.flow.clone()).collect())
    }

    /// Where to keep what must outlive the process.
    #[getter]
    fn state_directory(&self, py: Python<'_>) -> PyResult<PathBuf> {
        self.of_place(py, |place| place.state.clone())
    }
}
