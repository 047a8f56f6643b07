//! What a stage program of waldo links.
//!
//! The wire types ([`wiring`], [`guide`], [`wire`], [`page`], [`control`]) are shared with waldo's own compiler,
//! launcher and portal; [`Stage`] is what a program uses.

pub mod ack;
mod batch;
mod connection;
pub mod control;
mod error;
pub mod exit;
pub mod frame;
pub mod guide;
pub mod inbox;
mod key;
pub mod leaving;
pub mod link;
pub mod outbox;
pub mod outlet;
pub mod page;
pub mod service;
pub mod socket;
pub mod stage;
pub mod wire;
pub mod wiring;

pub use error::{Error, Result};
pub use inbox::Record;
pub use stage::Stage;
