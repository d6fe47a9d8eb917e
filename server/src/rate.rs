//! Limits of how often something may happen.

use std::time::{Duration, Instant};

/// A token bucket: so many at once, and so many a minute for ever.
#[derive(Debug)]
pub(crate) struct Rate {
    burst: f64,
    per_second: f64,
    left: f64,
    filled: Instant,
}

impl Rate {
    /// Full at `now`. Half a minute's worth may come at once.
    pub(crate) fn per_minute(count: u32, now: Instant) -> Self {
        let count = f64::from(count);
        let burst = (count / 2.0).ceil();
        Self { burst, per_second: count / 60.0, left: burst, filled: now }
    }

    /// Takes one, or says after which time there will be one.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.left = self.burst.min(self.left + passed * self.per_second);
        self.filled = now;
        if self.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - self.left) / self.per_second));
        }
        self.left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_rate() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut rate = Rate::per_minute(6, start);
        for _ in 0..3 {
            assert_eq!(rate.take(at(0)), Ok(()));
        }
        let wait = |left: Result<(), Duration>| left.map_err(|wait| wait.as_secs_f64().round());
        assert_eq!(wait(rate.take(at(0))), Err(10.0));
        assert_eq!(wait(rate.take(at(4_000))), Err(6.0));
        assert_eq!(rate.take(at(10_001)), Ok(()));
        assert!(rate.take(at(10_002)).is_err());
        // Idle time does not add up beyond the burst.
        for _ in 0..3 {
            assert_eq!(rate.take(at(3_600_000)), Ok(()));
        }
        assert!(rate.take(at(3_600_000)).is_err());
    }
}
