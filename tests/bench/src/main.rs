//! Parts of the side-by-side benchmark: a fixed upstream, the raw-hyper floor
//! that every figure is a ratio to, and a load generator. All on loopback.

mod floor;
mod load;
mod tls;
mod upstream;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "vaultgate-bench")]
struct Cli {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Answers every request over TLS with the same kilobyte of JSON
    Upstream {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        cert: PathBuf,
        #[arg(long)]
        key: PathBuf,
    },
    /// Passes requests from TLS to TLS and does nothing else
    Floor {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        cert: PathBuf,
        #[arg(long)]
        key: PathBuf,
        #[arg(long)]
        ca: PathBuf,
        /// Authority of the upstream, such as `localhost:9001`
        #[arg(long)]
        upstream: String,
    },
    /// Sends GETs over keep-alive connections and prints one JSON object
    Load {
        #[arg(long)]
        url: String,
        #[arg(long)]
        ca: PathBuf,
        /// File holding the bearer token
        #[arg(long)]
        token: PathBuf,
        #[arg(long, default_value_t = 32)]
        connections: usize,
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// Requests a second in all; as fast as it goes when left out
        #[arg(long)]
        rate: Option<f64>,
    },
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match Cli::parse().part {
            Part::Upstream { listen, cert, key } => upstream::serve(listen, &cert, &key).await,
            Part::Floor {
                listen,
                cert,
                key,
                ca,
                upstream,
            } => floor::serve(listen, &cert, &key, &ca, upstream).await,
            Part::Load {
                url,
                ca,
                token,
                connections,
                seconds,
                rate,
            } => load::run(&url, &ca, &token, connections, seconds, rate).await,
        }
    })
}
