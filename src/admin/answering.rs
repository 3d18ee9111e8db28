//! Whether this process answers operators: during an upgrade two processes have
//! the same listening sockets, and only one of them may accept on them.

use tokio::sync::watch;

/// Follows a switch; without one it is always on.
#[derive(Debug, Clone, Default)]
pub(super) struct Answering(Option<watch::Receiver<bool>>);

impl Answering {
    pub(super) fn follow(switch: watch::Receiver<bool>) -> Self {
        Self(Some(switch))
    }

    /// Waits until this process answers.
    pub(super) async fn begins(&mut self) {
        self.is(true).await;
    }

    /// Waits until it does not answer any more.
    pub(super) async fn ends(&mut self) {
        self.is(false).await;
    }

    async fn is(&mut self, wanted: bool) {
        match &mut self.0 {
            // A switch that nobody can turn any more stays as it is.
            Some(switch) => {
                if switch.wait_for(|&on| on == wanted).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            None if wanted => {}
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, task::Poll};

    use super::*;

    async fn is_ready(future: impl Future<Output = ()>) -> bool {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
    }

    #[test]
    fn it_follows_the_switch_and_is_on_without_one() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let mut always = Answering::default();
            assert!(is_ready(always.begins()).await && !is_ready(always.ends()).await);
            let (switch, followed) = watch::channel(false);
            let mut answering = Answering::follow(followed);
            assert!(!is_ready(answering.begins()).await && is_ready(answering.ends()).await);
            switch.send_replace(true);
            assert!(is_ready(answering.begins()).await && !is_ready(answering.ends()).await);
            drop(switch);
            assert!(is_ready(answering.begins()).await && !is_ready(answering.ends()).await);
        });
    }
}
