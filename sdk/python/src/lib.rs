//! The Python package `waldo`: what it does that mustn't be slow, or is the SDK's.
//!
//! There is one implementation of the protocol, the Rust SDK; this makes Python objects of it. What is Python without
//! loss stands in `waldo/*.py`.

mod failure;
mod record;
mod stage;

#[pyo3::pymodule]
mod _waldo {
    #[pymodule_export]
    use crate::{
        failure::{Failure, Stopped},
        record::Record,
        stage::Stage,
    };
}
