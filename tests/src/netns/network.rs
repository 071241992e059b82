//! The bridge, the hosts, and what can be wrong between them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{INSIDE, ask, namespace, run};
use crate::wait;

/// Hosts that addresses are made for.
const HOSTS_MAX: u64 = 200;
const BRIDGE: &str = "bridge0";
/// The test itself: clients, and proxies on their way to the nodes behind them.
const OWN_ADDRESS: &str = "10.77.2.1";
const PORTS: [u16; 3] = [7311, 7312, 7313];
/// Of so many packets every one is lost, between hosts that lose some.
const LOST_IN_100: u8 = 10;
/// Where packets between nodes pass.
const HOOKS: [&str; 3] = ["input", "forward", "output"];
/// Longest that a host takes to come up.
const PATIENCE: Duration = Duration::from_secs(10);

/// A network; gone when dropped, since nothing else holds its hosts.
#[derive(Debug)]
pub struct Network {
    hosts: BTreeMap<u64, Host>,
}

/// A namespace, as long as there is a process in it.
#[derive(Debug)]
struct Host {
    /// Ends when its input does.
    keeper: Child,
}

/// Where a node is.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// On its host, for clients.
    pub client: SocketAddr,
    /// At the test, where a proxy takes what other nodes send.
    pub raft: SocketAddr,
    /// On its host, where the proxy passes that on.
    pub behind: SocketAddr,
    /// On its host, for `/readyz`.
    pub http: SocketAddr,
}

/// Packets that get lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Between nodes, all.
    Cut,
    /// Between nodes, some.
    Lossy,
    /// From clients to nodes, all.
    Requests,
    /// From nodes to clients, all.
    Answers,
}

impl Lost {
    const ALL: [Self; 4] = [Self::Cut, Self::Lossy, Self::Requests, Self::Answers];

    /// Of the set of those who lose them, and of what counts them.
    const fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Lossy => "lossy",
            Self::Requests => "requests",
            Self::Answers => "answers",
        }
    }

    /// What the set consists of.
    const fn elements(self) -> &'static str {
        match self {
            Self::Cut | Self::Lossy => "ipv4_addr . ipv4_addr",
            Self::Requests | Self::Answers => "ipv4_addr",
        }
    }

    /// Which packets they are. Clients and the proxies' connections to nodes have the same address, and other ports.
    fn expression(self) -> String {
        let [client, ..] = PORTS;
        match self {
            Self::Cut => "ip saddr . ip daddr @cut".to_owned(),
            Self::Lossy => {
                format!("ip saddr . ip daddr @lossy numgen random mod 100 < {LOST_IN_100}")
            }
            Self::Requests => {
                format!("ip saddr {OWN_ADDRESS} ip daddr @requests tcp dport {client}")
            }
            Self::Answers => {
                format!("ip daddr {OWN_ADDRESS} ip saddr @answers tcp sport {client}")
            }
        }
    }
}

impl Network {
    /// A bridge, without hosts.
    pub(crate) fn start() -> Result<Self> {
        ensure!(
            std::env::var_os(INSIDE).is_some(),
            "`netns::is_inside` was not called"
        );
        run("ip", "link set lo up")?;
        run("ip", &format!("link add {BRIDGE} type bridge"))?;
        run("ip", &format!("link set {BRIDGE} up"))?;
        run("ip", &format!("addr add {OWN_ADDRESS}/16 dev {BRIDGE}"))?;
        make_rules()?;
        Ok(Self {
            hosts: BTreeMap::new(),
        })
    }

    /// Makes the host of node `id`.
    pub(crate) async fn add_host(&mut self, id: u64) -> Result<()> {
        ensure!(
            (1..=HOSTS_MAX).contains(&id),
            "host {id}: at most {HOSTS_MAX}"
        );
        let mut keeper = Command::new("unshare");
        keeper.args(["--net", "cat"]).stdin(Stdio::piped());
        let keeper = keeper.spawn().context("cannot start unshare")?;
        let pid = keeper.id().to_string();
        let host = Host { keeper };
        wait::until("a namespace of its own", PATIENCE, async || {
            ensure!(namespace(&pid)? != namespace("self")?, "it has ours");
            Ok(())
        })
        .await?;
        let (own, proxy) = (own_address(id)?, proxy_address(id)?);
        run(
            "ip",
            &format!("link add veth{id} type veth peer name eth0 netns {pid}"),
        )?;
        run("ip", &format!("link set veth{id} master {BRIDGE} up"))?;
        run("ip", &format!("addr add {proxy}/16 dev {BRIDGE}"))?;
        for command in [
            "link set lo up".to_owned(),
            format!("addr add {own}/16 dev eth0"),
            "link set eth0 up".to_owned(),
        ] {
            run("nsenter", &format!("--target {pid} --net ip {command}"))?;
        }
        self.hosts.insert(id, host);
        Ok(())
    }

    /// Where node `id` is.
    pub(crate) fn addresses(&self, id: u64) -> Result<Addresses> {
        let (own, proxy) = (own_address(id)?, proxy_address(id)?);
        let at = |address: Ipv4Addr, port| SocketAddr::new(IpAddr::V4(address), port);
        let [client, raft, http] = PORTS;
        Ok(Addresses {
            client: at(own, client),
            raft: at(proxy, raft),
            behind: at(own, raft),
            http: at(own, http),
        })
    }

    /// The program, and its first arguments, that start another one on the host of node `id`. It becomes that one.
    pub(crate) fn entry(&self, id: u64) -> Result<(PathBuf, Vec<String>)> {
        let host = self.hosts.get(&id);
        let pid = host
            .with_context(|| format!("there is no host {id}"))?
            .keeper
            .id();
        let arguments = [format!("--target={pid}"), "--net".to_owned()];
        Ok((PathBuf::from("nsenter"), arguments.to_vec()))
    }

    /// Loses everything that node `from` sends to node `to`, until [`Network::heal`].
    pub fn cut(&self, from: u64, to: u64) -> Result<()> {
        Self::add_pairs(Lost::Cut, from, to)
    }

    /// Loses one in ten packets that node `from` sends to node `to`, until [`Network::heal`].
    pub fn lose_some(&self, from: u64, to: u64) -> Result<()> {
        Self::add_pairs(Lost::Lossy, from, to)
    }

    /// Loses everything that clients send to node `id`, until [`Network::heal`]; nodes still reach it.
    pub fn lose_requests(&self, id: u64) -> Result<()> {
        Self::add(Lost::Requests, &own_address(id)?.to_string())
    }

    /// Loses everything that node `id` sends to clients, until [`Network::heal`].
    pub fn lose_answers(&self, id: u64) -> Result<()> {
        Self::add(Lost::Answers, &own_address(id)?.to_string())
    }

    /// Packets that have got lost since the last [`Network::heal`].
    pub fn lost(&self, lost: Lost) -> Result<u64> {
        let name = lost.name();
        let said = ask("nft", &format!("-j list counter bridge toka {name}"))?;
        let said: Value = serde_json::from_slice(&said)?;
        let found = said["nftables"].as_array();
        let found = found.and_then(|all| {
            all.iter()
                .find_map(|one| one["counter"]["packets"].as_u64())
        });
        found.with_context(|| format!("nft does not count {name}: {said}"))
    }

    /// Ends all cuts and losses, and counts them from now on.
    pub fn heal(&self) -> Result<()> {
        for lost in Lost::ALL {
            run("nft", &format!("flush set bridge toka {}", lost.name()))?;
        }
        run("nft", "reset counters table bridge toka")
    }

    /// Lets so many kilobits a second through to node `id`; `None`: as many as come.
    pub fn limit(&self, id: u64, kilobits_per_s: Option<u32>) -> Result<()> {
        match kilobits_per_s {
            Some(rate) => run(
                "tc",
                &format!(
                    "qdisc replace dev veth{id} root tbf rate {rate}kbit burst 4kb latency 200ms"
                ),
            ),
            None => run("tc", &format!("qdisc del dev veth{id} root")),
        }
    }

    /// How often something for node `id` had to wait, or was lost, since [`Network::limit`] was set.
    pub fn held_up(&self, id: u64) -> Result<u64> {
        let said = ask("tc", &format!("-s -j qdisc show dev veth{id}"))?;
        let said: Value = serde_json::from_slice(&said)?;
        let mut limits = said.as_array().into_iter().flatten();
        let limit = limits.find(|limit| limit["kind"] == "tbf");
        let limit = limit.with_context(|| format!("node {id} has no limit: {said}"))?;
        let count = |name: &str| limit[name].as_u64().unwrap_or(0);
        Ok(count("overlimits") + count("drops"))
    }

    /// A node reaches another one's proxy, and is answered by it; only clients' requests that it forwards, and
    /// those of a node that joins, go straight there.
    fn add_pairs(lost: Lost, from: u64, to: u64) -> Result<()> {
        let (from_own, to_own) = (own_address(from)?, own_address(to)?);
        let (from_proxy, to_proxy) = (proxy_address(from)?, proxy_address(to)?);
        let pairs =
            format!("{from_own} . {to_proxy}, {from_proxy} . {to_own}, {from_own} . {to_own}");
        Self::add(lost, &pairs)
    }

    fn add(lost: Lost, elements: &str) -> Result<()> {
        let set = lost.name();
        run(
            "nft",
            &format!("add element bridge toka {set} {{ {elements} }}"),
        )
    }
}

/// What can get lost, of which nothing does so far.
fn make_rules() -> Result<()> {
    run("nft", "add table bridge toka")?;
    for lost in Lost::ALL {
        let (name, elements) = (lost.name(), lost.elements());
        run(
            "nft",
            &format!("add set bridge toka {name} {{ type {elements}; }}"),
        )?;
        run("nft", &format!("add counter bridge toka {name}"))?;
    }
    for hook in HOOKS {
        run(
            "nft",
            &format!(
                "add chain bridge toka {hook} {{ type filter hook {hook} priority 0; policy accept; }}"
            ),
        )?;
        for lost in Lost::ALL {
            let (expression, name) = (lost.expression(), lost.name());
            run(
                "nft",
                &format!("add rule bridge toka {hook} {expression} counter name {name} drop"),
            )?;
        }
    }
    Ok(())
}

impl Drop for Host {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// Of the host of node `id`.
fn own_address(id: u64) -> Result<Ipv4Addr> {
    Ok(Ipv4Addr::new(10, 77, 0, u8::try_from(id)?))
}

/// At the test, of the proxy in front of node `id`.
fn proxy_address(id: u64) -> Result<Ipv4Addr> {
    Ok(Ipv4Addr::new(10, 77, 1, u8::try_from(id)?))
}
