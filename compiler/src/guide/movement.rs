//! How few slots must change their server between two slot tables.

/// How many slots one server has in the old table, and how many it may have in the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Slots in the old table; 0 for a server that wasn't in it.
    pub before: usize,
    /// The fewest that it may have in the new table; 0 for a server that leaves.
    pub fewest: usize,
    /// The most that it may have in the new table; 0 for a server that leaves.
    pub most: usize,
}

impl Share {
    /// The share of a server whose count in the new table is given.
    pub fn exactly(before: usize, after: usize) -> Self {
        Self { before, fewest: after, most: after }
    }
}

/// The least number of slots that change their server on the way from the old table to *any* table that gives every server at
/// least its fewest and at most its most. One entry for every server of either table.
///
/// A slot that changes its server leaves one and enters another, so there are as many changes as slots that enter, and as slots
/// that leave. Servers below their fewest must be entered, those above their most must be left; the greater of both sums is
/// needed, and enough: what is missing on the other side can be taken from or given to servers that stay within their bounds, as
/// long as there is a table within the bounds at all.
///
/// With [`Share::exactly`] this is the least for a table of known counts: the sum of what servers gain.
pub fn least(shares: impl IntoIterator<Item = Share>) -> usize {
    let (entering, leaving) = shares.into_iter().fold((0, 0), |(entering, leaving), share| {
        (entering + share.fewest.saturating_sub(share.before), leaving + share.before.saturating_sub(share.most))
    });
    entering.max(leaving)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(before: usize, fewest: usize, most: usize) -> Share {
        Share { before, fewest, most }
    }

    #[test]
    fn with_known_counts_the_least_is_what_servers_gain() {
        assert_eq!(least([Share::exactly(10, 7), Share::exactly(10, 8), Share::exactly(0, 5)]), 5);
        assert_eq!(least([Share::exactly(10, 10), Share::exactly(4, 4)]), 0);
    }

    #[test]
    fn bounds_need_not_be_left_without_reason() {
        assert_eq!(least([share(10, 9, 10), share(10, 9, 11)]), 0);
        // One must give 2, and someone takes them; the other way round one must get 3, and someone gives them.
        assert_eq!(least([share(10, 7, 8), share(10, 10, 13)]), 2);
        assert_eq!(least([share(10, 7, 10), share(10, 13, 13)]), 3);
    }

    /// By trying every table of a few slots.
    #[test]
    fn no_table_within_the_bounds_moves_less() {
        let old = [0_usize, 0, 0, 1, 1, 2];
        for bounds in 0..4_usize.pow(6) {
            let bound = |server: usize, which: usize| bounds / 4_usize.pow((2 * server + which) as u32) % 4;
            let shares: Vec<Share> = (0..3)
                .map(|server| {
                    let before = old.iter().filter(|&&owner| owner == server).count();
                    share(before, bound(server, 0), bound(server, 0) + bound(server, 1))
                })
                .collect();
            let tables =
                (0..3_usize.pow(6)).map(|number| [0, 1, 2, 3, 4, 5].map(|slot| number / 3_usize.pow(slot) % 3));
            let fewest = tables
                .filter(|table| {
                    shares.iter().enumerate().all(|(server, share)| {
                        let count = table.iter().filter(|&&owner| owner == server).count();
                        (share.fewest..=share.most).contains(&count)
                    })
                })
                .map(|table| table.iter().zip(old).filter(|(after, before)| **after != *before).count())
                .min();
            if let Some(fewest) = fewest {
                assert_eq!(least(shares.iter().copied()), fewest, "{shares:?}");
            }
        }
    }
}
