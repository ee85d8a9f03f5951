//! Parts of the side-by-side benchmark: a fixed upstream, the raw-hyper floor that
//! every figure is a ratio to (with layers that can be switched on), an external
//! authorizer, a load generator, a minter of tokens and a writer of records.

mod authz;
mod connection;
mod cpu;
mod floor;
mod layers;
mod load;
mod mint;
mod policy;
mod record;
mod tls;
mod token;
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
    /// Answers every request with the same kilobyte of JSON
    Upstream {
        #[arg(long)]
        listen: SocketAddr,
        /// Serve plain HTTP here as well
        #[arg(long)]
        plain: Option<SocketAddr>,
        #[arg(long)]
        cert: PathBuf,
        #[arg(long)]
        key: PathBuf,
    },
    /// Passes requests from TLS to the upstream, through the layers that are named
    Floor(floor::Floor),
    /// Answers whether a request may pass, for a proxy that asks
    Authz {
        #[arg(long)]
        listen: SocketAddr,
        #[command(flatten)]
        layers: layers::Named,
    },
    /// Sends GETs over keep-alive connections and prints one JSON object
    Load(load::Load),
    /// Mints tokens of many callers
    Mint(mint::Mint),
    /// Fills a decision log with copies of a gateway's records
    Fill(record::Fill),
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    match Cli::parse().part {
        Part::Upstream {
            listen,
            plain,
            cert,
            key,
        } => runtime.block_on(upstream::serve(listen, plain, &cert, &key)),
        Part::Floor(floor) => runtime.block_on(floor.serve()),
        Part::Authz { listen, layers } => {
            let layers = layers.build()?;
            runtime.block_on(authz::serve(listen, layers))
        }
        Part::Load(load) => runtime.block_on(load.run()),
        Part::Mint(mint) => mint.run(),
        Part::Fill(fill) => fill.run(),
    }
}
