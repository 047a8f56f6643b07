//! From a plan to running processes: launcher, portal, spool, idle proof.

pub mod agent;
pub mod bridge;
pub mod cluster;
pub mod control;
pub mod exec;
pub mod idle;
pub mod launcher;
pub mod ledger;
pub mod paths;
pub mod portal;
pub mod programs;
pub mod rates;
pub mod rollout;
pub mod spool;
pub mod ssh;
pub mod sys;
