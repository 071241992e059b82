//! Who works with the cluster: clients of all kinds, each on a machine of its own.

use std::sync::Arc;

use super::Cluster;
use crate::client::{Client, Subscriber};
use crate::consumer::{Book, Consumer, Keeper};
use crate::hand::{Hand, count};
use crate::host::client_endpoint;
use crate::outside::entropy;
use crate::random::Random;
use crate::streamer::Streamer;
use crate::warden::Warden;

const CLIENTS: u64 = 4;
const SUBSCRIBERS: usize = 2;
/// Of one group, where nodes have servers.
const CONSUMERS: u64 = 2;
/// Of tokens and roles, where nodes have servers.
const WARDENS: u64 = 2;
/// With a stream of commits each, where nodes have servers.
const STREAMERS: u64 = 2;

impl Cluster {
    pub(super) fn start_clients(&mut self) {
        for n in 1..=CLIENTS {
            let random = self.random.fork();
            let mut client = Client::new(self.hand(&format!("client {n}"), random));
            if self.has_servers {
                client.remote = Some(self.remote(&format!("client-{n}")));
            }
            self.clients.spawn(client.run());
        }
        for n in 0..SUBSCRIBERS {
            let random = self.random.fork();
            let mut subscriber = Subscriber::new(&self.world, &self.workload, random);
            if self.has_servers {
                subscriber.remote = Some(self.remote(&format!("subscriber-{n}")));
            }
            self.clients.spawn(subscriber.run());
        }
        if self.has_servers {
            self.start_consumers();
            self.start_wardens();
            self.start_streamers();
        }
    }

    fn start_streamers(&mut self) {
        for n in 1..=STREAMERS {
            let name = format!("streamer-{n}");
            let entropy = self.apart.fork();
            let client = self.remote_with(&name, entropy);
            let random = self.apart.fork();
            let streamer = Streamer::new(self.hand(&name, random), client);
            // Nobody is done before it is: it commits.
            count(&self.workload.busy);
            self.clients.spawn(streamer.run());
        }
    }

    fn start_wardens(&mut self) {
        for n in 1..=WARDENS {
            let name = format!("warden-{n}");
            let entropy = self.apart.fork();
            let client = self.remote_with(&name, entropy);
            let random = self.apart.fork();
            let warden = Warden::new(self.hand(&name, random), client);
            count(&self.workload.consuming);
            self.clients.spawn(warden.run());
        }
    }

    fn start_consumers(&mut self) {
        let book = Book::default();
        for n in 1..=CONSUMERS {
            let name = format!("consumer-{n}");
            let client = self.remote(&name);
            let random = self.random.fork();
            let consumer = Consumer {
                hand: self.hand(&name, random),
                client,
                book: book.clone(),
            };
            count(&self.workload.consuming);
            self.clients.spawn(consumer.run());
        }
        let client = self.remote("keeper");
        let random = self.random.fork();
        let keeper = Keeper {
            hand: self.hand("keeper", random),
            client,
        };
        count(&self.workload.consuming);
        self.clients.spawn(keeper.run());
    }

    fn hand(&self, name: &str, random: Random) -> Hand {
        Hand::new(name, &self.world, &self.workload, random)
    }

    /// A client on a machine of its own, which knows the first nodes.
    fn remote(&mut self, name: &str) -> toka_client::Client {
        let random = self.random.fork();
        self.remote_with(name, random)
    }

    fn remote_with(&self, name: &str, random: Random) -> toka_client::Client {
        let endpoints: Vec<String> = self
            .hosts
            .values()
            .map(|host| client_endpoint(&host.name))
            .collect();
        let client = toka_client::Client::builder()
            .entropy(entropy(random))
            .transport(Arc::new(self.world.network.transport(name)));
        let client = self.clients.block_on(client.connect(endpoints));
        client.expect("endpoints are given")
    }
}
