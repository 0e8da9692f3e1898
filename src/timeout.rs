//! Waiting, but not for ever. What is there at once costs no look at the clock.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;
use tokio::time::{error::Elapsed, timeout};

/// What comes, if it comes within that time. What is not there when it is first asked is asked once more at once, and has
/// its time from then on.
///
/// # Errors
/// When it does not.
pub(crate) async fn within<F: Future>(patience: Duration, coming: F) -> Result<F::Output, Elapsed> {
    let mut coming = pin!(coming);
    if let Poll::Ready(came) = poll!(coming.as_mut()) {
        return Ok(came);
    }
    timeout(patience, coming).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_there_needs_no_time_and_what_never_comes_ends() {
        assert_eq!(within(Duration::ZERO, async { 1 }).await, Ok(1));
        let moment = tokio::time::sleep(Duration::from_millis(1));
        assert_eq!(within(Duration::from_secs(60), moment).await, Ok(()));
        let never = std::future::pending::<()>();
        assert!(within(Duration::from_millis(1), never).await.is_err());
    }
}
