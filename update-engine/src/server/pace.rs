//! A server that sends too slowly is given up.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::{Instant, timeout};

use super::fetch::{FetchError, FetchStream};

/// How slow a server may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Bytes that must arrive in every `window`.
    pub bytes: u64,
    /// Time spent waiting for the server. Time that the receiver takes, for example
    /// to write to a disk, does not count.
    pub window: Duration,
}

impl Default for Pace {
    /// 32 KiB in 30 seconds: a mobile link on a bad day, and not an endless trickle.
    fn default() -> Self {
        Self {
            bytes: 32 * 1024,
            window: Duration::from_secs(30),
        }
    }
}

/// What is known about the current window.
struct Window {
    pace: Pace,
    waited: Duration,
    arrived: u64,
    file: String,
}

impl Window {
    /// Counts what arrived after `waited`; enough bytes begin a new window.
    fn count(&mut self, waited: Duration, bytes: &Bytes) {
        self.waited += waited;
        self.arrived += bytes.len() as u64;
        if self.arrived >= self.pace.bytes {
            self.waited = Duration::ZERO;
            self.arrived = 0;
        }
    }

    fn too_slow(&self) -> FetchError {
        FetchError::TooSlow {
            file: self.file.clone(),
            bytes: self.arrived,
            seconds: self.pace.window.as_secs(),
        }
    }
}

/// Passes bytes on while they keep the pace, and fails once they do not. The end of
/// the stream may come at any time.
pub(crate) fn keep(inner: FetchStream, pace: Pace, file: &str) -> FetchStream {
    let window = Window {
        pace,
        waited: Duration::ZERO,
        arrived: 0,
        file: file.to_string(),
    };
    Box::pin(stream::unfold(Some((inner, window)), async |state| {
        let (mut inner, mut window) = state?;
        let left = window.pace.window.saturating_sub(window.waited);
        let asked = Instant::now();
        match timeout(left, inner.next()).await {
            Err(_) => Some((Err(window.too_slow()), None)),
            Ok(None) => None,
            Ok(Some(Err(error))) => Some((Err(error), None)),
            Ok(Some(Ok(bytes))) => {
                window.count(asked.elapsed(), &bytes);
                Some((Ok(bytes), Some((inner, window))))
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;

    use super::*;

    const PACE: Pace = Pace {
        bytes: 1000,
        window: Duration::from_secs(10),
    };

    /// Sends `size` bytes after every `pause`, `times` times. The clock of these
    /// tests only moves when everybody waits for it.
    fn sender(size: usize, pause: Duration, times: usize) -> FetchStream {
        Box::pin(stream::iter(0..times).then(move |_| async move {
            tokio::time::sleep(pause).await;
            Ok(Bytes::from(vec![0; size]))
        }))
    }

    async fn received(stream: FetchStream) -> Result<usize, FetchError> {
        stream.try_fold(0, async |sum, b| Ok(sum + b.len())).await
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_trickle_is_given_up_after_one_window() {
        let begun = Instant::now();
        let slow = sender(99, Duration::from_secs(1), usize::MAX);
        let error = received(keep(slow, PACE, "metadata/timestamp.json")).await;
        let text = error.unwrap_err().to_string();
        assert!(text.contains("metadata/timestamp.json"), "{text}");
        assert!(text.contains("in 10 seconds"), "{text}");
        assert_eq!(begun.elapsed(), PACE.window);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_given_up_after_one_window() {
        let begun = Instant::now();
        let silent: FetchStream = Box::pin(stream::pending());
        assert!(received(keep(silent, PACE, "x")).await.is_err());
        assert_eq!(begun.elapsed(), PACE.window);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_but_sufficient_server_is_heard_to_the_end() {
        let steady = sender(101, Duration::from_secs(1), 500);
        assert_eq!(received(keep(steady, PACE, "x")).await.unwrap(), 50_500);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_receiver_is_not_the_servers_fault() {
        let fast = keep(sender(10, Duration::from_millis(1), 100), PACE, "x");
        let sum = fast.try_fold(0, async |sum, bytes| {
            tokio::time::sleep(PACE.window * 2).await;
            Ok(sum + bytes.len())
        });
        assert_eq!(sum.await.unwrap(), 1000);
    }
}
