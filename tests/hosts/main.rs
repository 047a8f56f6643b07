//! Several hosts, each with systemd as process 1 and sshd: what waldo promises on servers. Needs root and a few packages, which
//! `scripts/setup` installs; without them every test here says that it was skipped.

mod bootstrap;
mod elsewhere;
mod fleet;
mod machines;
mod units;
