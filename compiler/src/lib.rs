//! From a topology's YAML to a plan. Pure: no clock, no environment, no processes, no sockets.

pub mod plan;
