//! What was recorded is served again, and nothing else.

use std::io;

use super::*;

async fn ask(context: &mut Context) -> Result<(u64, [u8; 16], String), HandlerError> {
    let at = context.unix_ms()?;
    let random = context.random()?;
    let reply = context.reply("model", || async { Ok::<_, io::Error>("yes".to_owned()) });
    Ok((at, random, reply.await?))
}

async fn recorded() -> ((u64, [u8; 16], String), Vec<Input>) {
    let mut live = Context::live(&Seams::system(), 1);
    let told = ask(&mut live).await.expect("told");
    (told, live.into_inputs())
}

#[tokio::test]
async fn a_replay_is_told_what_was_recorded() {
    let (told, inputs) = recorded().await;
    let mut replay = Context::replaying(inputs.clone());
    let again = ask(&mut replay).await.expect("told again");
    assert_eq!(again, told);
    assert_eq!(replay.left(), 0);
    assert_eq!(replay.into_inputs(), inputs);
}

#[tokio::test]
async fn a_replay_asks_nobody() {
    let (_, inputs) = recorded().await;
    let mut replay = Context::replaying(inputs[2..].to_vec());
    let reply: Result<String, _> = replay
        .reply("model", || async { Err(io::Error::other("asked")) })
        .await;
    assert_eq!(reply.expect("from the record"), "yes");
}

#[tokio::test]
async fn who_asks_for_something_else_is_told_what_was_recorded_instead() {
    let (_, inputs) = recorded().await;
    let mut replay = Context::replaying(inputs);
    let error = replay.random().expect_err("the time was asked for first");
    assert!(
        matches!(&error, HandlerError::Diverged { recorded: Some(recorded), .. } if recorded == "the time"),
        "{error}"
    );
}

#[tokio::test]
async fn who_asks_for_more_than_was_recorded_has_diverged() {
    let mut replay = Context::replaying(Vec::new());
    let error = replay.unix_ms().expect_err("nothing was recorded");
    assert!(
        matches!(&error, HandlerError::Diverged { recorded: None, .. }),
        "{error}"
    );
}

#[test]
fn inputs_are_bounded() {
    let mut live = Context::live(&Seams::system(), 1);
    for _ in 0..INPUTS_MAX {
        live.random().expect("within the bound");
    }
    let error = live.random().expect_err("one more");
    assert!(matches!(error, HandlerError::TooManyInputs { max, .. } if max == INPUTS_MAX));
}

#[test]
fn inputs_come_back_as_they_were_written() {
    let inputs = vec![
        Input::UnixMs(7),
        Input::Random(Blob(vec![1; 16])),
        Input::Refused(Refusal {
            reasons: vec![Reason::Other("why".to_owned())],
        }),
    ];
    let bytes = rmp_serde::to_vec_named(&inputs).expect("written");
    let read: Vec<Input> = rmp_serde::from_slice(&bytes).expect("read");
    assert_eq!(read, inputs);
}

#[tokio::test]
async fn a_failure_is_recorded_and_comes_again() {
    let mut live = Context::live(&Seams::system(), 1);
    let failed: Result<String, _> = live
        .reply("model", || async { Err(io::Error::other("away")) })
        .await;
    assert!(failed.is_err_and(|error| error.is_retryable()));
    let at = live.unix_ms().expect("told");
    let mut replay = Context::replaying(live.into_inputs());
    let again: Result<String, _> = replay
        .reply("model", || async { Ok::<_, io::Error>("yes".to_owned()) })
        .await;
    assert_eq!(again.expect_err("as it was").to_string(), "away");
    assert_eq!(replay.unix_ms().expect("told again"), at);
}

#[tokio::test]
async fn an_input_that_was_not_asked_for_is_left_over() {
    let (_, inputs) = recorded().await;
    let left = inputs.len();
    let mut replay = Context::replaying(inputs);
    assert!(replay.random().is_err());
    assert_eq!(replay.left(), left);
}
