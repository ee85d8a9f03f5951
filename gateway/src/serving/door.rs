//! The doors: bound last, closed first.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::admit::ConnectionCaps;
use crate::config::Config;
use crate::console::Console;
use crate::listener::{self, Tls};
use crate::pipeline::Pipeline;

/// The bound addresses.
pub(super) struct Doors {
    data: TcpListener,
    console: Option<TcpListener>,
    admin: TcpListener,
}

impl Doors {
    /// Binds the addresses; that of the console only where it has a name.
    pub(super) async fn bind(config: &Config) -> anyhow::Result<Doors> {
        let bind = |address| async move {
            let bound = TcpListener::bind(address).await;
            bound.with_context(|| format!("cannot listen on `{address}`"))
        };
        let console = match &config.console {
            Some(console) => Some(bind(console.address).await?),
            None => None,
        };
        Ok(Doors {
            console,
            data: bind(config.listener.data).await?,
            admin: bind(config.listener.admin).await?,
        })
    }

    /// Says on standard output where the doors are: whoever started the gateway
    /// waits for this line.
    pub(super) fn announce(&self, config: &Config) -> anyhow::Result<()> {
        use std::io::Write as _;
        let (data, admin) = (self.data.local_addr()?, self.admin.local_addr()?);
        let url = &config.gateway.public_url;
        let mut stdout = std::io::stdout().lock();
        write!(stdout, "ready data={data} admin=http://{admin} url={url}")?;
        if let (Some(bound), Some(door)) = (&self.console, &config.console) {
            let (console, url) = (bound.local_addr()?, &door.url);
            write!(stdout, " console={console} console-url={url}")?;
        }
        writeln!(stdout)?;
        stdout.flush()?;
        tracing::info!(%data, %admin, url, "ready");
        Ok(())
    }

    /// Serves until `stop` turns true and requests in flight have ended.
    pub(super) async fn run(
        self,
        pipeline: Arc<Pipeline>,
        console: Option<Arc<Console>>,
        tls: Tls,
        caps: ConnectionCaps,
        stop: watch::Receiver<bool>,
    ) {
        let settings = Arc::new(pipeline.config.listener.clone());
        let data = {
            let pipeline = Arc::clone(&pipeline);
            move |peer, request| Arc::clone(&pipeline).handle(peer, request)
        };
        let admin = {
            let pipeline = Arc::clone(&pipeline);
            move |request| {
                let answer = super::admin::answer(&pipeline, &request);
                async move { answer }
            }
        };
        // Health stays up while the data door drains, so that a balancer sees it.
        let (tell, admin_stop) = watch::channel(false);
        let admin = tokio::spawn(listener::serve_plain(self.admin, admin, admin_stop));
        tokio::spawn(tls.clone().watch(Arc::clone(&settings), stop.clone()));
        let metrics = Arc::clone(&pipeline.metrics);
        let approving = match (self.console, console) {
            (Some(listener), Some(console)) => {
                let door = move |peer, request| Arc::clone(&console).handle(peer, request);
                let (tls, settings) = (tls.clone(), Arc::clone(&settings));
                let (metrics, stop) = (Arc::clone(&metrics), stop.clone());
                // Its own: a flood of the data door must not keep anybody from stopping it.
                let caps = ConnectionCaps::new(&pipeline.config.limits);
                Some(tokio::spawn(listener::serve(
                    listener, door, tls, settings, caps, metrics, stop,
                )))
            }
            _ => None,
        };
        listener::serve(self.data, data, tls, settings, caps, metrics, stop).await;
        if let Some(approving) = approving {
            let _ = approving.await;
        }
        let _ = tell.send(true);
        let _ = tokio::time::timeout(Duration::from_secs(1), admin).await;
    }
}
