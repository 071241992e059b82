//! Every input that is kept, once: what of the fuzz targets can be run by the ordinary toolchain, without a sanitizer.

use std::path::Path;

/// Runs what is in `corpus/NAME`.
fn replay(name: &str, run: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let inputs = std::fs::read_dir(&dir).expect("there is a corpus for each target");
    let mut count = 0;
    for input in inputs {
        let path = input.expect("the directory can be read").path();
        // Shown if the next line fails.
        println!("{}", path.display());
        run(&std::fs::read(&path).expect("an input can be read"));
        count += 1;
    }
    assert!(count > 0, "{} is empty", dir.display());
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                replay(stringify!($name), crate::$name::run);
            }
        )*

        #[test]
        fn every_corpus_has_a_target() {
            let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
            for corpus in std::fs::read_dir(corpora).expect("there are corpora") {
                let name = corpus.expect("the directory can be read").file_name();
                let is_known = [$(stringify!($name)),*].iter().any(|target| name == *target);
                assert!(is_known, "{}", name.display());
            }
        }
    };
}

targets! {
    apply
    client_messages
    commands
    credentials
    damage
    files
    log_crashes
    otlp
    peer_messages
    pictures
    raft_codec
    raft_segments
    rows
    texts
    wire
}
