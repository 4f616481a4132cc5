//! How long to wait before asking again.

use std::time::Duration;

use super::error::RegistryError;

/// How often something is asked for, and how long it takes until the second time; each time
/// after that twice as long.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// Pauses between attempts, and when there have been enough.
#[derive(Debug, Default)]
pub struct Pauses {
    attempts: u32,
}

impl Pauses {
    /// There was progress: what fails next fails for the first time.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Waits until it may be tried again; the error if it makes no sense.
    pub async fn after(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        self.attempts += 1;
        match error.is_passing() {
            Some(least) if self.attempts < ATTEMPTS => {
                let pause = PAUSE * 2u32.pow(self.attempts - 1);
                tokio::time::sleep(pause.max(least)).await;
                Ok(())
            }
            _ => Err(error),
        }
    }
}
