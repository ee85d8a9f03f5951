//! `vaultgate-sim up`: the emulator as a program of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use vaultgate_sim::{IDENTITY_HEADER, Sim, SimHandle, SimOptions, TENANT, Tls};

/// Azure Backup emulator and development identity provider.
#[derive(Parser)]
#[command(name = "vaultgate-sim", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve until interrupted.
    Up(Up),
}

#[derive(clap::Args)]
struct Up {
    /// Folder for certificates and the journal.
    #[arg(long)]
    dir: PathBuf,
    /// Port of the HTTPS origin; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Port of the plain-HTTP listener; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    http_port: u16,
    /// Write the addresses as `NAME=value` lines to this file once both ports are bound.
    #[arg(long)]
    env_file: Option<PathBuf>,
    /// How fast Azure's jobs run.
    #[arg(long, default_value_t = 1.0)]
    time_scale: f64,
    /// Offer HTTP/1.1 only.
    #[arg(long)]
    no_http2: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Verb::Up(up) = Cli::parse().verb;
    std::fs::create_dir_all(&up.dir)
        .with_context(|| format!("cannot make `{}`", up.dir.display()))?;
    let options = SimOptions {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, up.port)),
        http_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, up.http_port)),
        tls: Some(Tls::Dev(up.dir.clone())),
        time_scale: up.time_scale,
        journal: Some(up.dir.join("journal.jsonl")),
        http2: !up.no_http2,
    };
    let sim = Sim::start(options).await?;
    let lines = environment(&sim, &up.dir);
    if let Some(path) = &up.env_file {
        write_whole(path, &lines)?;
    }
    tell(&lines);
    tokio::signal::ctrl_c()
        .await
        .context("cannot wait for the interrupt")?;
    sim.shutdown().await;
    Ok(())
}

fn environment(sim: &SimHandle, dir: &Path) -> String {
    let ca = sim
        .ca_pem()
        .map(|path| path.display().to_string())
        .unwrap_or_default();
    let pairs = [
        ("SIM_AZURE_URL", sim.azure_url.clone()),
        ("SIM_ISSUER_ENTRA", sim.idp_issuer_entra.clone()),
        ("SIM_ISSUER_OIDC", sim.idp_issuer_oidc.clone()),
        ("SIM_IMDS_URL", sim.imds_url.clone()),
        ("SIM_KEYVAULT_URL", sim.keyvault_url.clone()),
        ("SIM_CONTROL_URL", sim.control_url.clone()),
        ("SIM_TENANT", TENANT.to_owned()),
        ("SIM_CA", ca),
        (
            "SIM_JOURNAL",
            dir.join("journal.jsonl").display().to_string(),
        ),
        (
            "SIM_IDENTITY_ENDPOINT",
            format!("{}/msi/token", sim.imds_url),
        ),
        ("SIM_IDENTITY_HEADER", IDENTITY_HEADER.to_owned()),
    ];
    pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect()
}

/// Whoever waits for the file must never read half of it.
fn write_whole(path: &Path, text: &str) -> Result<()> {
    let part = path.with_extension("part");
    std::fs::write(&part, text).with_context(|| format!("cannot write `{}`", part.display()))?;
    std::fs::rename(&part, path).with_context(|| format!("cannot write `{}`", path.display()))
}

#[expect(
    clippy::print_stdout,
    reason = "the program's one answer to whoever started it"
)]
fn tell(lines: &str) {
    print!("{lines}");
}
