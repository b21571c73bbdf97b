//! Services on threads of their own.

use std::io;

use actix_rt::Arbiter;
use anyhow::{Context as _, anyhow};
use tokio::sync::oneshot;

/// Starts a service on a thread of its own. The future resolves when it ends.
pub fn start<F, S>(name: &'static str, serve: F) -> impl Future<Output = anyhow::Result<()>> + Unpin
where
    F: FnOnce() -> S + Send + 'static,
    S: Future<Output = io::Result<()>> + 'static,
{
    let arbiter = Arbiter::new();
    let (ended, end) = oneshot::channel();
    arbiter.spawn_fn(move || {
        actix_rt::spawn(async move { ended.send(serve().await) });
    });
    Box::pin(async move {
        let result = end.await.map_err(|_| anyhow!("the {name} panicked"))?;
        arbiter.stop();
        result.with_context(|| format!("the {name} failed"))
    })
}
