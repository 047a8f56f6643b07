//! How long things take, and how bad the net is.

use fastrand::Rng;

use crate::world::Moment;

pub struct Weather {
    /// Of 256 messages between deployer and launchers, how many are lost, and how many are heard twice.
    lost: u8,
    doubled: u8,
    /// The longest that a message usually takes, and of 256 how many take much longer.
    delay: Moment,
    late: u8,
    link: Moment,
    handler: Moment,
    /// Of 256 handlers, how many take very long.
    slow: u8,
    pause: Moment,
    start: Moment,
    slow_store: u8,
}

impl Weather {
    pub fn new(rng: &mut Rng) -> Self {
        let bad = rng.u8(..4) == 0;
        Self {
            lost: if bad { rng.u8(..60) } else { 0 },
            doubled: if rng.bool() { rng.u8(..60) } else { 0 },
            delay: rng.u64(1..30),
            late: if rng.u8(..3) == 0 { rng.u8(..30) } else { 0 },
            link: rng.u64(1..60),
            handler: rng.u64(1..40),
            slow: if rng.u8(..6) == 0 { rng.u8(1..6) } else { 0 },
            pause: rng.u64(2..120),
            start: rng.u64(2..300),
            slow_store: if rng.u8(..8) == 0 { 60 } else { 0 },
        }
    }

    /// Nothing goes wrong any more.
    pub fn clears(&mut self) {
        (self.lost, self.doubled, self.late, self.slow, self.slow_store) = (0, 0, 0, 0, 0);
    }

    pub fn copies(&self, rng: &mut Rng) -> usize {
        match rng.u8(..) {
            dice if dice < self.lost => 0,
            dice if dice > u8::MAX - self.doubled => 2,
            _ => 1,
        }
    }

    pub fn control(&self, rng: &mut Rng) -> Moment {
        if rng.u8(..) < self.late { rng.u64(..4_000) } else { rng.u64(..=self.delay) }
    }

    pub fn link(&self, rng: &mut Rng) -> Moment {
        if rng.u8(..) < self.late { rng.u64(..2_000) } else { rng.u64(..=self.link) }
    }

    pub fn handler(&self, rng: &mut Rng) -> Moment {
        if rng.u8(..) < self.slow { rng.u64(..8_000) } else { rng.u64(..=self.handler) }
    }

    pub fn pause(&self, rng: &mut Rng) -> Moment {
        rng.u64(..=self.pause)
    }

    pub fn start(&self, rng: &mut Rng) -> Moment {
        1 + rng.u64(..=self.start)
    }

    pub fn store(&self, rng: &mut Rng) -> Moment {
        if rng.u8(..) < self.slow_store { rng.u64(..9_000) } else { rng.u64(..20) }
    }
}
