//! What a stage program of waldo links.
//!
//! The wire types ([`wiring`], [`guide`], [`wire`], [`page`], [`control`]) are shared with waldo's own compiler,
//! launcher and portal; [`Stage`] is what a program uses.

pub mod control;
pub mod guide;
pub mod page;
pub mod wire;
pub mod wiring;
