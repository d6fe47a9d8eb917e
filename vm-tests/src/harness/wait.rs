//! Waiting for what comes by itself.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// A look that is a request takes an emulated machine 5 ms.
const LONGEST_PAUSE: Duration = Duration::from_millis(160);

/// Looks until something is there, twice as long after each look as before it; `None` when it was not within the limit.
pub fn eventually<T>(limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let deadline = Instant::now() + limit;
    let mut pause = FIRST_PAUSE;
    loop {
        let found = look()?;
        if found.is_some() || Instant::now() > deadline {
            return Ok(found);
        }
        thread::sleep(pause);
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_with_what_was_waited_for_or_with_the_limit() {
        let mut looks = 0;
        let mut third = || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        };
        assert_eq!(eventually(Duration::from_mins(1), &mut third).unwrap(), Some(3));
        assert_eq!(eventually(Duration::from_millis(20), || Ok(None::<()>)).unwrap(), None);
        assert!(
            eventually(Duration::from_mins(1), || -> Result<Option<()>> { anyhow::bail!("broken") }).is_err()
        );
    }
}
