//! A lock in a task of its own: one order after the other, answers come back.

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Done;
use crate::lock::{Answer, Claim, HolderId, Lock, LockError, Released, Standing};

/// What is asked of a lock.
#[derive(Debug)]
pub(super) enum Order {
    Acquire(Box<Claim>),
    Alive(HolderId),
    Release(HolderId),
    /// Tell when it makes sense to ask again. The next order ends it.
    Change,
}

/// What it answers.
#[derive(Debug)]
pub enum Heard {
    /// To asking for it.
    Acquired(Result<Answer, LockError>),
    /// To a sign of life.
    Alive(Result<Standing, LockError>),
    /// To giving it back.
    Released(Result<Released, LockError>),
    /// It makes sense to ask again.
    Changed(Result<(), LockError>),
}

/// A lock in a task. Dropping this ends it, after what it is at.
#[derive(Debug)]
pub(super) struct Locker {
    orders: UnboundedSender<(u64, Order)>,
}

impl Locker {
    /// Starts the task. Answers go to `results`.
    pub(super) fn start(lock: Box<dyn Lock>, results: UnboundedSender<Done>) -> Self {
        let (orders, receive) = unbounded_channel();
        tokio::spawn(serve(lock, receive, results));
        Self { orders }
    }

    /// Sends an order. Its answer has the same number.
    pub(super) fn order(&self, number: u64, order: Order) {
        // The task ends with this end of the channel only.
        let _ = self.orders.send((number, order));
    }
}

async fn serve(
    mut lock: Box<dyn Lock>,
    mut orders: UnboundedReceiver<(u64, Order)>,
    results: UnboundedSender<Done>,
) {
    let mut next = None;
    loop {
        let order = match next.take() {
            Some(order) => Some(order),
            None => orders.recv().await,
        };
        let Some((number, order)) = order else {
            return;
        };
        let heard = match order {
            Order::Acquire(claim) => Heard::Acquired(lock.acquire(&claim).await),
            Order::Alive(id) => Heard::Alive(lock.alive(&id).await),
            Order::Release(id) => Heard::Released(lock.release(&id).await),
            Order::Change => tokio::select! {
                changed = lock.changed() => Heard::Changed(changed),
                order = orders.recv() => match order {
                    Some(order) => {
                        next = Some(order);
                        continue;
                    }
                    None => return,
                },
            },
        };
        // Nobody is left to hear it when the daemon ends.
        let _ = results.send(Done::Lock(number, heard));
    }
}
