//! The pipeline, with encoders that count and misbehave.

use std::sync::Mutex;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;
use smart_embedder::summarize::{Flatten, Llm, flatten, llm};
use smart_embedder::{Encoder, Error, SmartEmbedder, event};

/// Answers with its own vectors, and notes the batches.
struct Fake {
    model_id: &'static str,
    batches: &'static Mutex<Vec<usize>>,
    vectors: fn(&[String]) -> Vec<Vec<f32>>,
}

impl Fake {
    fn new(vectors: fn(&[String]) -> Vec<Vec<f32>>) -> Self {
        Self {
            model_id: "fake",
            batches: Box::leak(Box::default()),
            vectors,
        }
    }

    /// `[length of the text, 1]`, not even normalised.
    fn lengths() -> Self {
        Self::new(|texts| {
            texts
                .iter()
                .map(|text| vec![text.len() as f32, 1.0])
                .collect()
        })
    }
}

impl Encoder for Fake {
    fn model_id(&self) -> &str {
        self.model_id
    }

    fn dimension(&self) -> Option<usize> {
        Some(2)
    }

    fn batch_texts_max(&self) -> usize {
        3
    }

    fn batches_in_flight(&self) -> usize {
        2
    }

    fn encode<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Vec<f32>>, Error>> {
        async move {
            self.batches.lock().expect("no panic").push(texts.len());
            Ok((self.vectors)(texts))
        }
        .boxed()
    }
}

fn texts(lengths: impl IntoIterator<Item = usize>) -> Vec<String> {
    lengths
        .into_iter()
        .map(|length| "x".repeat(length))
        .collect()
}

#[tokio::test]
async fn batches_are_split_and_duplicates_encoded_once() {
    let fake = Fake::lengths();
    let batches = fake.batches;
    let embedder = SmartEmbedder::builder().encoder(fake).build();
    let texts = texts([1, 2, 1, 3, 4, 2, 5, 1]);
    let vectors = embedder.embed_texts(&texts).await.expect("no failure");
    let lengths: Vec<f32> = vectors.iter().map(|vector| vector[0]).collect();
    assert_eq!(lengths, [1.0, 2.0, 1.0, 3.0, 4.0, 2.0, 5.0, 1.0]);
    assert_eq!(*batches.lock().expect("no panic"), [3, 2]);
}

#[tokio::test]
async fn cache_is_bounded_and_a_call_larger_than_it_is_whole() {
    let fake = Fake::lengths();
    let batches = fake.batches;
    let embedder = SmartEmbedder::builder()
        .encoder(fake)
        .cache_entries(2)
        .build();
    let many = embedder
        .embed_texts(&texts(1..=6))
        .await
        .expect("no failure");
    assert_eq!((many.len(), embedder.cached()), (6, 2));
    embedder.embed_texts(&texts([5, 6])).await.expect("cached");
    assert_eq!(batches.lock().expect("no panic").len(), 2);
    embedder.embed_texts(&texts([1])).await.expect("no failure");
    assert_eq!(batches.lock().expect("no panic").len(), 3);
}

#[tokio::test]
async fn no_text_is_no_call() {
    let fake = Fake::lengths();
    let batches = fake.batches;
    let embedder = SmartEmbedder::builder().encoder(fake).build();
    assert_eq!(
        embedder.embed_texts(&[]).await.expect("nothing"),
        Vec::<Vec<f32>>::new()
    );
    assert!(batches.lock().expect("no panic").is_empty());
}

#[tokio::test]
async fn encoder_that_breaks_its_promise_is_found_out_and_not_cached() {
    type Case = (fn(&[String]) -> Vec<Vec<f32>>, fn(&Error) -> bool);
    let cases: [Case; 3] = [
        (|_| vec![], |e| matches!(e, Error::Count { actual: 0, .. })),
        (
            |_| vec![vec![1.0]],
            |e| matches!(e, Error::Dimension { actual: 1, .. }),
        ),
        (
            |_| vec![vec![1.0, f32::NAN]],
            |e| matches!(e, Error::NotFinite { .. }),
        ),
    ];
    for (vectors, is_expected) in cases {
        let embedder = SmartEmbedder::builder().encoder(Fake::new(vectors)).build();
        let error = embedder
            .embed_text("x")
            .await
            .expect_err("a broken promise");
        assert!(is_expected(&error), "{error:?}");
        assert_eq!(embedder.cached(), 0);
    }
}

#[derive(Serialize)]
struct Login<'a> {
    user: &'a str,
}

#[tokio::test]
async fn typed_event_and_its_payload_have_the_same_vector() {
    let embedder = SmartEmbedder::default();
    let login = Login { user: "alice" };
    let typed = embedder
        .embed_event("auth.login", &login)
        .await
        .expect("no failure");
    let value = event::from_payload(b"\x81\xa4user\xa5alice").expect("MessagePack");
    let events = [("auth.login".to_owned(), value)];
    let stored = embedder.embed_values(&events).await.expect("no failure");
    assert_eq!(stored, std::slice::from_ref(&typed));
    let many = embedder
        .embed_events([("auth.login", &login), ("auth.logout", &login)])
        .await;
    let many = many.expect("no failure");
    assert_eq!(many[0], typed);
    assert_ne!(many[1], typed);
}

#[tokio::test]
async fn embedding_runs_in_tasks_of_its_own() {
    let embedder = SmartEmbedder::default();
    let tasks = [0, 1].map(|_| {
        let embedder = embedder.clone();
        tokio::spawn(async move {
            let user = String::from("alice");
            embedder
                .embed_event("auth.login", &Login { user: &user })
                .await
        })
    });
    let [a, b] = tasks;
    let (a, b) = (a.await.expect("no panic"), b.await.expect("no panic"));
    assert_eq!(a.expect("no failure"), b.expect("no failure"));
}

#[test]
fn model_id_names_the_summarizer_unless_it_is_the_default() {
    let default = SmartEmbedder::builder().encoder(Fake::lengths()).build();
    assert_eq!(default.model_id(), "fake");
    let short = flatten::Config {
        depth_max: 1,
        ..flatten::Config::default()
    };
    let builder = SmartEmbedder::builder().encoder(Fake::lengths());
    let short = builder.summarizer(Flatten::new(short)).build();
    assert_eq!(short.model_id(), "fake+flatten-v1(1,32,1024,2048)");
    let mut plus = Fake::lengths();
    plus.model_id = "fake+flatten-v1(1,32,1024,2048)";
    let plus = SmartEmbedder::builder().encoder(plus).build();
    assert_eq!(plus.model_id(), "fake%2Bflatten-v1(1,32,1024,2048)");
    assert!(plus.is_comparable(plus.model_id()) && !plus.is_comparable("fake"));
    assert!(!default.is_comparable(plus.model_id()));
    // A text's vector depends on the encoder alone.
    assert!(short.is_comparable("fake") && default.is_comparable(short.model_id()));
    assert!(!short.is_comparable("fake2"));
}

#[test]
fn model_id_names_the_prompt_of_a_language_model() {
    let id = |prompt: &str| {
        let config = llm::Config {
            prompt: prompt.to_owned(),
            ..llm::Config::default()
        };
        let llm = Llm::new("http://127.0.0.1:1/v1", "small", None, config).expect("valid");
        let builder = SmartEmbedder::builder().encoder(Fake::lengths());
        builder.summarizer(llm).build().model_id().to_owned()
    };
    assert_ne!(id("a"), id("b"));
    assert!(id("a").starts_with("fake+llm/small/"), "{}", id("a"));
}
