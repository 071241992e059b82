//! `toka dev`: a local cluster in one process, to try things out.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use toka_ledger::dir::DataDir;
use toka_ledger::disk::SystemDisk;
use toka_server::config::{Config, ConfigFile, InitialMember};
use toka_server::node::{Node, Outside};

use super::serve::terminated;
use crate::cli::Dev;
use crate::failure::Failure;
use crate::log::start_log;

/// First port of the first node; every node takes three.
const FIRST_PORT: u16 = 7311;
/// Between the ports of two nodes.
const PORTS_A_NODE: u16 = 10;
/// Between the first ports that are tried.
const PORTS_A_TRY: u16 = 100;
/// All below 32768, where the system takes the ports of outgoing connections from: such a port could be
/// taken while its node is down.
const PORT_TRIES: u16 = 200;

struct Ports {
    client: SocketAddr,
    raft: SocketAddr,
    http: SocketAddr,
}

pub(crate) async fn run(flags: Dev, data: Option<PathBuf>) -> Result<()> {
    start_log("warn", false);
    let temporary = match data {
        Some(_) => None,
        None => Some(tempfile::TempDir::with_prefix("toka-dev-")?),
    };
    let root = match (&data, &temporary) {
        (Some(data), _) => data.clone(),
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => unreachable!("one of the two is there"),
    };
    if DataDir::read(&SystemDisk, &root).is_ok_and(|mode| mode.is_some()) {
        bail!(Failure::Usage(format!(
            "{} is the directory of one vault or node; `toka dev` needs one for several nodes",
            root.display()
        )));
    }
    let ports = ports(&root, flags.nodes)?;
    let members = members(&ports);
    // Before anything is started, so that Ctrl-C removes the temporary directory from now on.
    let signals: Vec<_> = ports.iter().map(|_| terminated()).collect();
    let starting = (1..).zip(&ports).map(|(id, ports)| {
        let config = config(id, ports, &root, &members);
        async { Ok(Node::start(config?, Outside::system()).await?) }
    });
    let nodes = all_or_none(futures::future::join_all(starting).await).await?;
    welcome(&ports, data.as_deref());
    let ends = nodes.into_iter().zip(signals);
    let ends = ends.map(|(node, signal)| node.without_hand_over().run_until(signal));
    for end in futures::future::join_all(ends).await {
        end?;
    }
    drop(temporary);
    Ok(())
}

/// The nodes, if every one has started; else those that have are stopped.
async fn all_or_none(started: Vec<Result<Node>>) -> Result<Vec<Node>> {
    let (nodes, failed): (Vec<_>, Vec<_>) = started.into_iter().partition(Result::is_ok);
    let nodes = nodes.into_iter().flatten();
    match failed.into_iter().find_map(Result::err) {
        None => Ok(nodes.collect()),
        Some(error) => {
            futures::future::join_all(nodes.map(Node::halt)).await;
            Err(error)
        }
    }
}

fn config(id: u64, ports: &Ports, root: &Path, members: &[InitialMember]) -> Result<Config> {
    let layer = ConfigFile {
        node_id: Some(id),
        data: Some(root.join(format!("node-{id}"))),
        listen: Some(ports.client),
        raft_listen: Some(ports.raft),
        http_listen: Some(ports.http),
        initial_members: Some(members.to_vec()),
        ..ConfigFile::default()
    };
    Ok(Config::merge(
        layer,
        ConfigFile::default(),
        ConfigFile::default(),
    )?)
}

/// The ports of an earlier run on this data; else the default ones, or the next that are free.
fn ports(root: &Path, nodes: u64) -> Result<Vec<Ports>> {
    std::fs::create_dir_all(root).with_context(|| format!("cannot create {}", root.display()))?;
    let file = root.join("ports");
    // Members are known by their addresses, so a cluster keeps them for as long as its data.
    if let Ok(text) = std::fs::read_to_string(&file) {
        let known = text
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<Vec<SocketAddr>, _>>();
        let known = known.with_context(|| format!("{} is damaged", file.display()))?;
        anyhow::ensure!(
            known.len() as u64 == nodes * 3,
            "{} holds a cluster of {} nodes; say --nodes {}",
            root.display(),
            known.len() / 3,
            known.len() / 3
        );
        return Ok(grouped(&known));
    }
    let addresses = (0..PORT_TRIES)
        .find_map(|attempt| free(nodes, FIRST_PORT + attempt * PORTS_A_TRY))
        .context("no free ports on 127.0.0.1")?;
    let text: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    std::fs::write(&file, text.join("\n"))
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(grouped(&addresses))
}

/// The addresses of all nodes, from port `first` on, if all are free.
fn free(nodes: u64, first: u16) -> Option<Vec<SocketAddr>> {
    let wanted = (0..nodes).flat_map(|node| {
        let first = first + PORTS_A_NODE * u16::try_from(node).expect("at most 7 nodes");
        (first..first + 3).map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
    });
    let wanted: Vec<_> = wanted.collect();
    // All are held at once, so that none is counted twice.
    let held = wanted
        .iter()
        .map(TcpListener::bind)
        .collect::<Result<Vec<_>, _>>();
    held.ok().map(|_| wanted)
}

fn grouped(addresses: &[SocketAddr]) -> Vec<Ports> {
    addresses
        .chunks_exact(3)
        .map(|three| Ports {
            client: three[0],
            raft: three[1],
            http: three[2],
        })
        .collect()
}

fn members(ports: &[Ports]) -> Vec<InitialMember> {
    (1..)
        .zip(ports)
        .map(|(node_id, ports)| InitialMember {
            node_id,
            member: toka_raft::Member::new(ports.raft.to_string(), ports.client.to_string()),
        })
        .collect()
}

fn welcome(ports: &[Ports], data: Option<&Path>) {
    let clients: Vec<_> = ports.iter().map(|ports| ports.client.to_string()).collect();
    let flag = match clients.first().map(String::as_str) {
        Some(crate::target::DEFAULT_ENDPOINT) => String::new(),
        _ => format!(" --endpoint {}", clients.join(",")),
    };
    eprintln!("\nA cluster of {} nodes is running.", ports.len());
    for (id, ports) in (1_u64..).zip(ports) {
        eprintln!(
            "  node {id}: clients {}, nodes {}, http {}",
            ports.client, ports.raft, ports.http
        );
    }
    if let Some(ports) = ports.first() {
        eprintln!("Its console, for browsers: http://{}/console/", ports.http);
    }
    match data {
        Some(data) => eprintln!("Its data stay in {}.", data.display()),
        None => eprintln!("Its data are removed when it ends (--data DIR keeps them)."),
    }
    eprintln!(
        "Try, in another terminal:\n\n  toka{flag} commit auth.login '{{\"user_id\":\"alice\"}}'\n  \
         toka{flag} watch --from beginning\n  toka{flag} cluster status\n\nCtrl-C stops it."
    );
}
