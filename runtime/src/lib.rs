//! From a plan to running processes: launcher, portal, spool, idle proof.

pub mod exec;
pub mod idle;
pub mod portal;
pub mod spool;
pub mod sys;
