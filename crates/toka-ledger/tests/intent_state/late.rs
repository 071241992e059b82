//! A macro-clustering that is late holds no reader up.

use super::*;

/// Threads whose work begins when it is let go.
#[derive(Debug, Default)]
struct HeldThreads(Arc<(Mutex<bool>, Condvar)>);

impl HeldThreads {
    fn let_go(&self) {
        let (is_free, changed) = &*self.0;
        *is_free.lock().expect("no panic") = true;
        changed.notify_all();
    }
}

impl Threads for HeldThreads {
    fn spawn(
        &self,
        name: &str,
        body: Box<dyn FnOnce() + Send + 'static>,
    ) -> std::io::Result<Box<dyn JoinThread>> {
        let gate = Arc::clone(&self.0);
        let held = move || {
            let (is_free, changed) = &*gate;
            let is_free = is_free.lock().expect("no panic");
            drop(changed.wait_while(is_free, |is_free| !*is_free));
            body();
        };
        SystemThreads.spawn(name, Box::new(held))
    }
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "a writer and a reader of the same ledger, at the same time"
)]
fn readers_do_not_wait_for_a_macro_clustering_that_is_late() {
    let commands = stream();
    let threads = Arc::new(HeldThreads::default());
    let mut replica = Replica::open(Arc::new(MemoryEngine::new()), Arc::clone(&threads) as _);
    // Up to the first one that runs beside `apply`: few enough events for the next to be in time.
    let mut done = 0;
    while replica.ledger.reader().intent_usage().micro_clusters < 40 {
        replica.apply(&commands[done..=done]);
        done += 1;
    }
    let reader = replica.ledger.reader();
    let rest = commands[done..].to_vec();
    let applying = std::thread::spawn(move || {
        replica.apply(&rest);
        replica.ledger.position().state_digest
    });
    let (sender, answers) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        // Long enough for `apply` to come to where it waits.
        for _ in 0..300 {
            sender
                .send(reader.intents().len())
                .expect("somebody listens");
            std::thread::yield_now();
        }
    });
    for _ in 0..300 {
        let told = answers.recv_timeout(std::time::Duration::from_secs(20));
        assert!(told.expect("readers wait for `apply`") > 0);
    }
    assert!(!applying.is_finished(), "it waits for nothing");
    threads.let_go();
    reading.join().expect("no panic");
    let expected = Replica::new().apply_in(&commands, 1);
    assert_eq!(
        applying.join().expect("no panic"),
        expected.ledger.position().state_digest
    );
}
