//! Pictures of a plan: what flows where, at three levels of detail, in three formats.
//!
//! [`picture`] says what is to be seen, which [`topology`], [`servers`] and [`processes`] take from a plan; [`dot`] and
//! [`mermaid`] write it down for other programs; [`layout`] finds places for everything, and [`svg`] draws it there.

pub mod dot;
pub mod layout;
mod loops;
pub mod mermaid;
pub mod picture;
mod processes;
mod servers;
pub mod svg;
mod topology;

pub use picture::{Level, Picture};
