#![allow(dead_code)]
#[path = "../replica_cluster/harness.rs"]
mod harness;
use harness::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn bench() {
    let cluster = Arc::new(Cluster::started(Options::default()).await);
    let leader = cluster.leader().await;
    let term = cluster.replica(leader).term();
    for clients in [1, 64, 512] {
        let done = Arc::new(AtomicU64::new(0));
        let errors = Arc::new(AtomicU64::new(0));
        let before = cluster.replica(leader).status().applied_index.unwrap();
        let until = Instant::now() + Duration::from_secs(5);
        let begin = Instant::now();
        let mut tasks = Vec::new();
        for c in 0..clients {
            let (done, errors) = (done.clone(), errors.clone());
            let replica = cluster.replica(leader).clone();
            tasks.push(tokio::spawn(async move {
                let mut latencies = Vec::new();
                let mut n = 0;
                while Instant::now() < until {
                    n += 1;
                    let t = Instant::now();
                    let name = format!("{clients}-{c}-{n}-{}", "x".repeat(240));
                    match replica.commit(event(&name)).await {
                        Ok(_) => { done.fetch_add(1, Ordering::Relaxed); latencies.push(t.elapsed()); }
                        Err(e) => { if errors.fetch_add(1, Ordering::Relaxed) == 0 { eprintln!("{e}"); } tokio::time::sleep(Duration::from_millis(20)).await; }
                    }
                }
                latencies
            }));
        }
        let mut all = Vec::new();
        for t in tasks { all.extend(t.await.unwrap()); }
        all.sort();
        let secs = begin.elapsed().as_secs_f64();
        let after = cluster.replica(leader).status().applied_index.unwrap();
        let n = done.load(Ordering::Relaxed);
        eprintln!("clients {clients}: {:.0}/s p50 {:?} p99 {:?} max {:?} errors {} entries {} ({:.1} commits each)", n as f64 / secs, all[all.len()/2], all[all.len()*99/100], all[all.len()-1], errors.load(Ordering::Relaxed), after - before, n as f64 / (after-before) as f64);
    }
    eprintln!("terms {term} -> {}", cluster.replica(leader).term());
}
